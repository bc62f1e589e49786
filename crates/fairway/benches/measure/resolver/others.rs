//! The same questions by dnsperf, to Fairway, dnsmasq and unbound, as far as they are installed.

use std::fmt::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use fairway_lab::{Place, Process, SCRATCH};

use super::{FEW, NAMES_EACH, SANDBOXES, SERVER, alias, foreign};
use crate::Failure;
use crate::figures::Table;
use crate::stage::{NEIGHBOUR, Stage};

const SECONDS: &str = "4";
const CLIENTS: &str = "20";
const FOREIGN: usize = 200_000;
/// How long a server takes to start with 10,000 names.
const STARTING: Duration = Duration::from_secs(2);
const NAMES: usize = SANDBOXES * NAMES_EACH;

/// A row for each server.
pub fn measure(stage: &Stage, sandbox: &Place) -> Result<(), Failure> {
    let questions = [
        ("100 names", write("few", (0..FEW).map(alias))?),
        ("10,000 names", write("many", (0..NAMES).map(alias))?),
        ("forwarded", write("foreign", (0..FOREIGN).map(foreign))?),
    ];
    let head: Vec<&str> = [""].into_iter().chain(questions.iter().map(|(what, _)| *what)).collect();
    let table = Table::new("Questions a second by dnsperf, 20 clients, server on one core", &head);
    let row = |what: &str, place: &Place, server: SocketAddr| -> Result<(), Failure> {
        let mut cells = vec![what.to_owned()];
        for (_, file) in &questions {
            cells.push(dnsperf(place, server, file)?);
        }
        table.row(cells);
        Ok(())
    };
    if !is_installed("dnsperf") {
        println!("dnsperf is not installed");
        return Ok(());
    }
    row("Fairway", sandbox, SERVER)?;
    let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
    for (program, port, server) in [
        ("dnsmasq", 5301, dnsmasq as fn(&Place, u16) -> Result<Process, Failure>),
        ("unbound", 5302, unbound),
    ] {
        if is_installed(program) {
            let _running = server(&stage.host, port)?;
            std::thread::sleep(STARTING);
            row(program, &stage.host, loopback(port))?;
        } else {
            println!("{program} is not installed");
        }
    }
    Ok(())
}

fn is_installed(program: &str) -> bool {
    let directories = ["/usr/local/bin", "/usr/bin", "/usr/sbin", "/usr/local/sbin", "/sbin", "/bin"];
    directories.iter().any(|directory| std::path::Path::new(directory).join(program).exists())
}

/// A file of questions as dnsperf reads them.
fn write(name: &str, names: impl Iterator<Item = String>) -> Result<String, Failure> {
    let path = format!("{SCRATCH}/questions-{name}");
    std::fs::write(&path, names.map(|name| format!("{name} A\n")).collect::<String>())?;
    Ok(path)
}

/// A program on a core of its own.
fn on_core(core: &str, program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core, program]).stdin(Stdio::null());
    command
}

fn dnsperf(place: &Place, server: SocketAddr, questions: &str) -> Result<String, Failure> {
    let (address, port) = (server.ip().to_string(), server.port().to_string());
    let mut command = on_core("1", "dnsperf");
    command.args(["-s", &address, "-p", &port, "-d", questions, "-l", SECONDS, "-c", CLIENTS, "-q", "100"]);
    let output = place.run(&mut command)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let field = |name: &str| {
        let line = text.lines().map(str::trim).find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    let (rate, lost) = (field("Queries per second:"), field("Queries lost:"));
    let rate = rate.ok_or_else(|| format!("dnsperf does not say a rate: {text}"))?;
    match lost {
        Some(lost) if lost > 0.0 => Ok(format!("{rate:.0} ({lost:.0} lost)")),
        _ => Ok(format!("{rate:.0}")),
    }
}

fn start(place: &Place, mut command: Command) -> Result<Process, Failure> {
    Ok(place.spawn(command.stdout(Stdio::null()).stderr(Stdio::null()))?)
}

fn dnsmasq(place: &Place, port: u16) -> Result<Process, Failure> {
    let hosts = format!("{SCRATCH}/dnsmasq-hosts");
    std::fs::write(&hosts, (0..NAMES).map(|it| format!("192.0.2.1 {}\n", alias(it))).collect::<String>())?;
    let mut command = on_core("0", "dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--no-resolv",
        "--no-hosts",
        "--conf-file=/dev/null",
        "--pid-file=",
    ]);
    command.args([
        "--user=root",
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
        "--dns-forward-max=10000",
    ]);
    command.args([
        format!("--addn-hosts={hosts}"),
        format!("--port={port}"),
        format!("--server={NEIGHBOUR}"),
    ]);
    start(place, command)
}

fn unbound(place: &Place, port: u16) -> Result<Process, Failure> {
    let mut text = format!(
        "server:\n interface: 127.0.0.1@{port}\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n pidfile: \"\"\n \
         use-syslog: no\n module-config: \"iterator\"\n access-control: 127.0.0.0/8 allow\n outgoing-range: 4096\n \
         num-queries-per-thread: 2048\n"
    );
    for number in 0..NAMES {
        writeln!(text, " local-data: \"{}. 1 A 192.0.2.1\"", alias(number))?;
    }
    write!(
        text,
        "remote-control:\n control-enable: no\nforward-zone:\n name: \".\"\n forward-addr: {NEIGHBOUR}\n"
    )?;
    let path = format!("{SCRATCH}/unbound.conf");
    std::fs::write(&path, text)?;
    let mut command = on_core("0", "unbound");
    command.args(["-d", "-c", &path]);
    start(place, command)
}
