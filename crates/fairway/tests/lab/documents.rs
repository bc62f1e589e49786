//! The pages of the documentation: each block of commands is run from top to bottom, and its output compared with what
//! the page shows.
//!
//! `$ ` is the prompt of the host 10.10.50.99, `lan$ ` that of its neighbor and default gateway 10.10.50.1, `peer$ `
//! that of a second host 10.10.50.98. A daemon runs on both hosts, unless the page starts one by itself; it logs to
//! /run/fairway.log. With `UPDATE_PAGES=1` output that differs is written into the page, for its author to read.

mod page;
mod shown;

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fairway_api::Client;
use fairway_lab::{Host, Lab, SCRATCH};
use page::{Block, Page};

use crate::harness::{LAN, LAN6, Stage};

/// How long a daemon may take to answer, or a server to listen, before output counts as different.
const PATIENCE: Duration = Duration::from_secs(20);

/// Commands that change nothing, and so may be repeated until a server listens or a log line is written.
const READING: [&str; 17] = [
    "curl ",
    "ip ",
    "tail ",
    "cat ",
    "grep ",
    "nft list",
    "iptables -",
    "iptables-save",
    "ls ",
    "fairway ps",
    "fairway explain",
    "fairway doctor",
    "fairway logs",
    "fairway run --rm",
    "fairway exec",
    "fairway network stats",
    "fairway store",
];

/// Makes a test of each page.
macro_rules! pages {
    ($($name:ident: $path:literal;)*) => {$(
        #[test]
        fn $name() {
            fairway_lab::run(|lab| run_page(lab, $path));
        }
    )*};
}

pages! {
    readme: "README.md";
    metrics: "docs/reference/metrics.md";
    top: "docs/reference/top.md";
    change_settings: "docs/how-to/change-settings.md";
    connect_two_hosts: "docs/how-to/connect-two-hosts.md";
    declare_networks: "docs/how-to/declare-networks.md";
    find_a_lost_packet: "docs/how-to/find-a-lost-packet.md";
    foreign_firewalls: "docs/how-to/foreign-firewalls.md";
    install: "docs/how-to/install.md";
    isolate_sandboxes: "docs/how-to/isolate-sandboxes.md";
    lan_addresses: "docs/how-to/lan-addresses.md";
    operate: "docs/how-to/operate.md";
    other_engines: "docs/how-to/other-engines.md";
    other_runtimes: "docs/how-to/other-runtimes.md";
    own_firewall_rules: "docs/how-to/own-firewall-rules.md";
    publish_ports: "docs/how-to/publish-ports.md";
    published_ports: "docs/explanation/published-ports.md";
    counters: "docs/reference/counters.md";
    declaration: "docs/reference/declaration.md";
    docker_api: "docs/reference/docker-api.md";
    doctor: "docs/reference/doctor.md";
    driver_lan: "docs/reference/driver-lan.md";
    driver_macvlan: "docs/reference/driver-macvlan.md";
    driver_ptp: "docs/reference/driver-ptp.md";
    events: "docs/reference/events.md";
    explain: "docs/reference/explain.md";
    firewall: "docs/reference/firewall.md";
    graph: "docs/reference/graph.md";
    multiple_networks: "docs/reference/multiple-networks.md";
    names: "docs/reference/names.md";
    network_options: "docs/reference/network-options.md";
    plan: "docs/reference/plan.md";
    run: "docs/reference/run.md";
    sandbox_files: "docs/reference/sandbox-files.md";
    store: "docs/reference/store.md";
    trace: "docs/reference/trace.md";
    first_network: "docs/tutorial/first-network.md";
}

/// The machines on which a page's commands run, each with the prompt that names it.
struct Machines {
    stage: Stage,
    peer: Option<Host>,
}

impl Machines {
    fn new(lab: &Lab, page: &Page) -> Machines {
        let stage = Stage::before_daemon(lab);
        let peer = page.prompts().contains("peer").then(|| {
            let peer = lab.host("peer").unwrap();
            stage.wire.join(&peer, &["10.10.50.98/24", "fd50::98/64"]).unwrap();
            peer.route("default", LAN).unwrap();
            peer.route("default", LAN6).unwrap();
            peer
        });
        let machines = Machines { stage, peer };
        machines
            .stage
            .host
            .run_in(|| std::fs::write("/etc/resolv.conf", format!("nameserver {LAN}\n")))
            .unwrap()
            .unwrap();
        let bin = Path::new(SCRATCH).join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        symlink(env!("CARGO_BIN_EXE_fairway"), bin.join("fairway")).unwrap();
        // The neighbor serves HTTP, as most neighbors do.
        machines.shell("lan", "python3 -m http.server 80 &");
        if !page.starts_daemon() {
            for host in ["", "peer"].iter().filter(|host| host.is_empty() || machines.peer.is_some()) {
                machines.shell(host, "fairway daemon 2>>/run/fairway.log &");
            }
        }
        machines
    }

    fn host(&self, prompt: &str) -> &Host {
        match prompt {
            "" => &self.stage.host,
            "lan" => &self.stage.lan,
            "peer" => self.peer.as_ref().unwrap(),
            other => panic!("no machine has the prompt {other}$"),
        }
    }

    /// Runs a command line in a shell, and returns what it printed. After a daemon was started, waits until it answers.
    fn shell(&self, prompt: &str, line: &str) -> String {
        let directory = Path::new(SCRATCH).join(if prompt.is_empty() { "host" } else { prompt });
        std::fs::create_dir_all(&directory).unwrap();
        // A file and no pipe: what goes on in the background keeps it open.
        let (script, output) = (directory.join(".script"), directory.join(".output"));
        std::fs::write(&script, format!("{line}\n")).unwrap();
        let written = std::fs::File::create(&output).unwrap();
        let mut command = Command::new("bash");
        command.arg(&script).current_dir(&directory).env_clear();
        command.env(
            "PATH",
            format!("{SCRATCH}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        );
        command.envs([("HOME", "/root"), ("NO_COLOR", "1"), ("LC_ALL", "C.UTF-8")]);
        command.stdin(Stdio::null()).stdout(written.try_clone().unwrap()).stderr(written);
        let host = self.host(prompt);
        host.spawn(&mut command).unwrap().wait().unwrap();
        let printed = std::fs::read_to_string(&output).unwrap_or_default();
        if line.contains("fairway daemon") && line.trim_end().ends_with('&') {
            let deadline = Instant::now() + PATIENCE;
            let answers = || Client::new("unix:///run/fairway.sock").unwrap().ping().is_ok();
            while Instant::now() < deadline && !host.run_in(answers).unwrap() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if line.contains("http.server") {
            std::thread::sleep(Duration::from_millis(500));
        }
        printed
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Runs all commands of a page, and fails with every difference at once.
fn run_page(lab: &Lab, path: &str) {
    let file = root().join(path);
    let mut page = Page::read(&std::fs::read_to_string(&file).unwrap());
    let machines = Machines::new(lab, &page);
    let full = lab.has_other_users().unwrap();
    let mut differences = BTreeMap::new();
    for block in page.blocks_mut() {
        run_block(&machines, block, full, &mut differences);
    }
    if differences.is_empty() {
        return;
    }
    if std::env::var_os("UPDATE_PAGES").is_some() {
        std::fs::write(&file, page.text()).unwrap();
        println!("{path} was changed: read what is new in it");
        return;
    }
    let log = machines.shell("", "cat /run/fairway.log");
    let differences: Vec<_> = differences.into_values().collect();
    panic!(
        "{path} does not show what is printed (UPDATE_PAGES=1 writes it):\n{}\nlog:\n{log}",
        differences.join("\n")
    );
}

/// Runs a block. In a lab that is not `full`, for it has no second user, the relay has no user of its own: doctor notes
/// that, which the pages do not show.
fn run_block(machines: &Machines, block: &mut Block, full: bool, differences: &mut BTreeMap<usize, String>) {
    let counts = block.counts;
    for step in &mut block.steps {
        let patience = if step.output.is_empty() { Duration::from_secs(1) } else { PATIENCE };
        let deadline = Instant::now() + patience;
        let printed = loop {
            let printed = machines.shell(&step.prompt, &step.line);
            let reads = READING.iter().any(|word| step.line.starts_with(word)) && !step.line.contains("-X ");
            let repeat = reads && Instant::now() < deadline;
            if shown::agrees(&step.output, &printed, counts) || !repeat {
                break printed;
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        let comparable = full || !step.line.contains("fairway doctor");
        if comparable && !shown::agrees(&step.output, &printed, counts) {
            let line = &step.line;
            let shown = step.output.join("\n");
            differences.insert(
                differences.len(),
                format!("$ {line}\n--- the page\n{shown}\n--- printed\n{}", printed.trim_end()),
            );
            step.output = printed.trim_end().lines().map(str::to_owned).collect();
        }
    }
}
