//! The state directory is wiped, or another one is named, while links, rules and sockets of the old one live.

use std::collections::BTreeSet;
use std::time::Duration;

use fairway_api::types::{EndpointSettings, IpamConfig, NetworkCreate};
use fairway_lab::{Lab, Outcome, ask, serve_tcp};

use crate::cli::{printed, stay};
use crate::foreign_changes;
use crate::harness::{HOST, LAN, Sandbox, Stage};
use crate::kernel_state::{assert_same, kill_relay, make_anew, observe};

/// How long nothing may be repaired again.
const WATCHED: Duration = Duration::from_millis(1500);
const DATA_ROOT: &str = "/var/lib/fairway";
const OTHER_DATA_ROOT: &str = "/var/lib/other";

on_each_backend! {
    what_is_in_no_world_is_removed;
}

/// Networks of each driver, with sandboxes on them, and one of `run`. Their addresses and names are others for each
/// number, so that sandboxes of several states do not meet.
fn make_all(stage: &Stage, number: usize) -> Vec<Sandbox> {
    let network = |name: &str, driver: &str, options: &[(&str, &str)], subnet: Option<String>| {
        let ask = |network: &mut NetworkCreate| {
            network.driver = driver.to_owned();
            network.options = options.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
            network.ipam.get_or_insert_default().config =
                subnet.into_iter().map(|subnet| IpamConfig { subnet, ..Default::default() }).collect();
        };
        stage.create_network(name, ask).unwrap();
    };
    network("app", "bridge", &[("com.docker.network.bridge.name", "br-app")], None);
    network("nearby", "lan", &[("parent", "eth0")], None);
    network("alone", "macvlan", &[], None);
    network("pair", "ptp", &[], None);
    let peer = format!("192.168.7{number}.0/24@{LAN}");
    network("far", "routed", &[("fairway.peers", &peer)], Some(format!("192.168.8{number}.0/24")));
    let mut sandboxes: Vec<_> = ["app", "nearby", "alone", "pair"]
        .map(|name| stage.sandbox(&format!("{name}-{number}"), &[name], &[]))
        .into();
    let published = ["8080:80", "127.0.0.1:8081:80", "8082:80/udp"];
    sandboxes.push(stage.sandbox(&format!("published-{number}"), &["app"], &published));
    stay(stage, &format!("--name web --network app -p 808{}:80", 4 + number));
    stage.connect("bridge", "web", EndpointSettings::default()).unwrap();
    sandboxes
}

fn wipe() {
    for entry in std::fs::read_dir(DATA_ROOT).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => std::fs::remove_dir_all(entry.path()).unwrap(),
            false => std::fs::remove_file(entry.path()).unwrap(),
        }
    }
}

fn launch(stage: &mut Stage, root: &str) -> usize {
    let before = stage.daemon.log().lines().count();
    stage.daemon.launch(&["--userland-proxy=false", "--data-root", root]);
    stage.daemon.wait_until_ready();
    before
}

fn what_is_in_no_world_is_removed(lab: &Lab) {
    let mut stage = Stage::before_daemon(lab);
    let lan = crate::lan::state(&stage.host, "eth0");
    stage.host.set_sysctl("net.ipv4.ip_forward", "0").unwrap();
    launch(&mut stage, DATA_ROOT);
    // The last one has networks of its own, of the same names and on the same interface.
    for (number, root) in [DATA_ROOT, OTHER_DATA_ROOT, DATA_ROOT].into_iter().enumerate() {
        let sandboxes = make_all(&stage, number);
        stage.daemon.kill9();
        match number {
            0 => stage.host.run_in(wipe).unwrap(),
            // What the relay knows is lost, too.
            1 => kill_relay(),
            _ => {}
        }
        let before = launch(&mut stage, root);
        let log =
            |stage: &Stage| stage.daemon.log().lines().skip(before).map(str::to_owned).collect::<Vec<_>>();
        // Without the relay only its hostname is known, which is its id.
        let name = if number == 1 { "orphaned sandbox" } else { "sandbox=web" };
        let line = log(&stage).into_iter().find(|line| line.contains(name) && line.contains("pids"));
        assert!(line.is_some_and(|line| line.contains("its process runs on")), "{:#?}", log(&stage));
        for sandbox in &sandboxes {
            assert!(
                !sandbox.run_in(|| foreign_changes::has_link("eth0")).unwrap(),
                "{} has a link",
                sandbox.name()
            );
        }
        std::thread::sleep(WATCHED);
        let wrong = |line: &&String| line.contains("drift") || line.contains("failed to apply");
        assert_eq!(log(&stage).iter().find(wrong), None);
        if number < 2 {
            assert_eq!(crate::lan::state(&stage.host, "eth0"), lan, "the interface has its addresses back");
        }
        works(&stage);
        // The kernel draws the hardware address of a dummy parent.
        let settled = |stage: &Stage| -> BTreeSet<String> {
            observe(stage, &[]).into_iter().filter(|line| !line.starts_with("link dm-")).collect()
        };
        let found = settled(&stage);
        make_anew(&mut stage, &["--userland-proxy=false", "--data-root", root], &[]);
        assert_same("after the state was lost", &found, &settled(&stage));
    }
}

/// What is made now is not hindered by anything that was there.
fn works(stage: &Stage) {
    printed(stage, "network create -o com.docker.network.bridge.name=br-works works");
    let web = stage.sandbox("new", &["works"], &["8090:80", "127.0.0.1:8091:80"]);
    let server = serve_tcp(&web, "0.0.0.0:80").unwrap();
    assert_eq!(ask(&stage.lan, &format!("{HOST}:8090")).unwrap(), Outcome::answered(LAN));
    let loopback = ask(&stage.host, "127.0.0.1:8091").unwrap();
    assert!(matches!(loopback, Outcome::Answered { .. }), "{loopback}");
    drop(server);
    stage.client().detach("new").unwrap();
    printed(stage, "network rm works");
}
