//! The real podman with Fairway as its netavark, next to the real firewalld with its default zone.

use std::io::Write;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::podman_on_fairway::{assert_nothing_is_left, fetch, fetch_from, podman, serve, set_up};
use crate::stage::{self, PROGRAM, Running, sh, succeeds, wait_for};

/// What the tests take.
const PROGRAMS: [&str; 7] = ["podman", "crun", "conmon", "nft", "firewalld", "firewall-cmd", "dbus-daemon"];

/// The table of firewalld, as recorded.
const FIREWALLD: &str = include_str!("../data/foreign/firewalld.nft");

/// Starts the system bus, through which firewalld is asked.
fn start_bus() -> Running {
    sh("mkdir -p /run/dbus");
    let mut bus = Command::new("dbus-daemon");
    let bus = Running::start(bus.args(["--system", "--nofork", "--nopidfile"]), "/run/dbus.log");
    wait_for("the system bus", || std::fs::exists("/run/dbus/system_bus_socket").unwrap());
    bus
}

fn start_firewalld() -> Running {
    let mut firewalld = Command::new("firewalld");
    firewalld.args(["--nofork", "--nopid"]).env("PYTHONDONTWRITEBYTECODE", "1");
    let firewalld = Running::start(&mut firewalld, "/run/firewalld.log");
    wait_for("firewalld", || succeeds("firewall-cmd --state"));
    assert_eq!(sh("firewall-cmd --get-default-zone"), "public");
    firewalld
}

/// Starts web servers of the LAN, at port 80, and of the host, at port 9000.
fn serve_outside() {
    sh("ip address add fd50::1/64 dev lan0 nodad && ip -n lan address add fd50::9/64 dev eth0 nodad
        mkdir /run/lan /run/host && echo lan > /run/lan/name && echo host > /run/host/name
        ip netns exec lan busybox httpd -p 80 -h /run/lan && busybox httpd -p 9000 -h /run/host");
}

/// Asserts that a published port is reached from everywhere, and that containers reach one another and the LAN.
fn assert_all_is_reached(when: &str) {
    // A reload drops new connections until its last step.
    wait_for(&format!("the LAN when {when}"), || fetch("db", "10.10.50.9").as_deref() == Some("lan"));
    let lan = "ip netns exec lan";
    for (place, address) in
        [(lan, "10.10.50.1"), (lan, "[fd50::1]"), ("", "10.10.50.1"), ("", "127.0.0.1"), ("", "[fd50::1]")]
    {
        let answer = fetch_from(place, &format!("{address}:8080"));
        assert_eq!(answer.as_deref(), Some("web"), "{address} from {place:?} when {when}");
    }
    for (url, answer) in
        [("web", "web"), ("10.10.50.9", "lan"), ("[fd50::9]", "lan"), ("10.10.50.1:8080", "web")]
    {
        assert_eq!(fetch("db", url).as_deref(), Some(answer), "{url} from a container when {when}");
    }
}

#[test]
fn containers_pass_firewalld_also_after_its_reloads() {
    stage::run(&PROGRAMS, |_| {
        set_up(PROGRAM);
        serve_outside();
        let _bus = start_bus();
        let firewalld = start_firewalld();
        podman("network create --ipv6 app");
        serve("web", "--network app -p 8080:80");
        serve("db", "--network app");
        assert_all_is_reached("firewalld runs");
        let mut unit = Command::new("/run/helpers/netavark");
        let mut unit = Running::start(unit.arg("firewalld-reload"), "/run/unit.log");
        for reload in ["--reload", "--complete-reload"] {
            sh(&format!("firewall-cmd {reload}"));
            assert_all_is_reached(reload);
            sh("/run/helpers/netavark firewall-reload");
        }
        assert_eq!(unit.0.try_wait().unwrap(), None, "a unit of podman's waits as long as firewalld runs");
        // What containers send to the host itself is for the zone to decide, and explain has the command.
        assert_eq!(fetch("db", "10.10.50.1:9000"), None);
        let explained = sh(&format!("{PROGRAM} explain db 10.10.50.1:9000 || true"));
        let (_, command) = explained.rsplit_once("that is a rule of firewalld: ").unwrap();
        sh(command);
        assert_eq!(fetch("db", "10.10.50.1:9000").as_deref(), Some("host"));
        sh("firewall-cmd --remove-port=9000/tcp");
        assert_eq!(fetch("db", "10.10.50.1:9000"), None);
        sh("firewall-cmd --zone=trusted --add-source=10.89.0.0/16");
        assert_eq!(fetch("db", "10.10.50.1:9000").as_deref(), Some("host"));
        firewalld.signal(Signal::TERM);
        wait_for("the end of firewalld", || !succeeds("nft list table inet firewalld"));
        assert_all_is_reached("firewalld has ended");
        let _firewalld = start_firewalld();
        assert_all_is_reached("firewalld is started again");
        let findings = sh(&format!("{PROGRAM} doctor"));
        assert!(!findings.contains("firewalld"), "{findings}");
        podman("rm -f -t 0 web db");
        sh("nft delete table inet firewalld");
        assert_nothing_is_left();
    });
}

/// As firewalld 2.1 and later with `NftablesTableOwner=yes`.
#[test]
fn a_table_that_firewalld_locks_is_a_finding_with_its_command() {
    stage::run(&PROGRAMS, |_| {
        set_up(PROGRAM);
        serve_outside();
        let table = FIREWALLD.replace("table inet firewalld {", "table inet firewalld { flags owner;");
        std::fs::write("/run/locked.nft", table).unwrap();
        // The lock is that of the program's socket.
        let mut nft =
            Command::new("nft").arg("-i").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        nft.stdin.as_mut().unwrap().write_all(b"include \"/run/locked.nft\"\n").unwrap();
        let nft = Running(nft);
        wait_for("the table", || succeeds("nft list table inet firewalld"));
        podman("network create app");
        serve("web", "--network app -p 8080:80");
        assert_eq!(fetch_from("ip netns exec lan", "10.10.50.1:8080").as_deref(), Some("web"));
        assert_eq!(fetch("web", "10.10.50.9"), None);
        let command =
            "firewall-cmd --permanent --zone=trusted --add-interface=podman1 && firewall-cmd --reload";
        let findings = sh(&format!("{PROGRAM} doctor || true"));
        assert!(findings.contains(&format!("fix      {command}\n")), "{findings}");
        let explained = sh(&format!("{PROGRAM} explain web 10.10.50.9:80 || true"));
        assert!(explained.ends_with(&format!("that is a rule of firewalld: {command}")), "{explained}");
        podman("rm -f -t 0 web");
        drop(nft);
        assert_nothing_is_left();
    });
}

/// The daemon of the system places nothing in other firewalls unless it is asked to.
#[test]
fn the_command_that_doctor_names_opens_firewalld() {
    stage::run(&PROGRAMS, |_| {
        set_up(PROGRAM);
        serve_outside();
        let (_bus, _firewalld) = (start_bus(), start_firewalld());
        let _daemon = Running::start(Command::new(PROGRAM).arg("daemon"), "/run/daemon.log");
        wait_for("the daemon", || succeeds(&format!("{PROGRAM} ps")));
        podman("network create --ipv6 app");
        serve("web", "--network app -p 8080:80");
        serve("db", "--network app");
        assert_eq!(fetch("db", "10.10.50.9"), None);
        let findings = sh(&format!("{PROGRAM} doctor || true"));
        assert!(findings.contains("filter_FWD_public: the rule with handle "), "{findings}");
        let fixes = findings.lines().filter_map(|line| line.strip_prefix("fix      "));
        let fix = fixes.into_iter().find(|fix| fix.contains("firewall-cmd"));
        sh(fix.unwrap_or_else(|| panic!("no command of firewalld: {findings}")));
        assert_all_is_reached("its zone accepts");
        let findings = sh(&format!("{PROGRAM} doctor || true"));
        assert!(!findings.contains("filter_FWD_public"), "{findings}");
    });
}
