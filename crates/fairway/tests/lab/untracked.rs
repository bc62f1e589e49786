//! Published ports whose packets a rule of the host keeps from conntrack: nothing is translated, and the proxy answers.

use std::os::unix::process::CommandExt;
use std::process::Command;

use fairway_lab::{Lab, Outcome, ask, ask_datagram, serve_datagrams, serve_tcp};

use crate::foreign_firewalls::run_with;
use crate::harness::{HOST, HOST6, LAN, LAN6, Sandbox, Stage};
use crate::kernel_state::relay_pid;

const PORTS: [&str; 2] = ["9000:80", "9000:80/udp"];

on_each_backend! {
    a_connection_is_carried_where_only_what_arrives_is_untracked;
}

/// Keeps what arrives for a port from conntrack, and what leaves from it if so.
fn notrack(stage: &Stage, both_ways: bool) {
    let leaving = if both_ways { "meta l4proto { tcp, udp } th sport 9000 notrack" } else { "" };
    let rules = format!(
        "table inet fast {{
            chain arriving {{ type filter hook prerouting priority raw; meta l4proto {{ tcp, udp }} th dport 9000 notrack; }}
            chain leaving {{ type filter hook output priority raw; {leaving}
            }}
        }}"
    );
    run_with(&stage.host, "nft", &["-f", "-"], &rules);
}

fn targets() -> [String; 2] {
    [format!("{HOST}:9000"), format!("[{HOST6}]:9000")]
}

fn published(lab: &Lab) -> (Stage, Sandbox) {
    let stage = Stage::new(lab, &[]);
    stage.create_network("app", |network| network.enable_ipv6 = Some(true)).unwrap();
    let sandbox = stage.sandbox("web", &["app"], &PORTS);
    (stage, sandbox)
}

fn a_connection_is_carried_where_only_what_arrives_is_untracked(lab: &Lab) {
    let (stage, sandbox) = published(lab);
    let _server = serve_tcp(&sandbox, "[::]:80").unwrap();
    notrack(&stage, false);
    for target in targets() {
        let seen = ask(&stage.lan, &target).unwrap();
        assert!(matches!(seen, Outcome::Answered { .. }), "{target}: {seen}");
    }
}

#[test]
fn datagrams_are_answered_where_neither_way_is_tracked() {
    fairway_lab::run(|lab| {
        let (stage, sandbox) = published(lab);
        let _servers =
            (serve_tcp(&sandbox, "[::]:80").unwrap(), serve_datagrams(&sandbox, "[::]:80").unwrap());
        notrack(&stage, true);
        for target in targets() {
            let seen = [ask(&stage.lan, &target).unwrap(), ask_datagram(&stage.lan, &target).unwrap()];
            assert!(seen.iter().all(|seen| matches!(seen, Outcome::Answered { .. })), "{target}: {seen:?}");
        }
    });
}

/// Whether a program of a user opens a connection from the host, and has an answer to a datagram.
fn reached_by(stage: &Stage, user: u32, target: &str) -> [bool; 2] {
    let scripts = [("tcp", ":"), ("udp", "echo x >&3 && read -t 1 -N 1 answer <&3")];
    scripts.map(|(protocol, exchange)| {
        let script = format!("exec 3<>/dev/{protocol}/{target}; {exchange}");
        let mut command = Command::new("timeout");
        command.args(["2", "bash", "-c", &script]).uid(user);
        stage.host.run(&mut command).unwrap().status.success()
    })
}

/// The user that the relay runs as.
fn relay_user() -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", relay_pid().unwrap())).unwrap();
    let line = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn the_relay_still_opens_no_connection_elsewhere() {
    fairway_lab::run(|lab| {
        let (stage, _sandbox) = published(lab);
        notrack(&stage, true);
        // In a lab of one user the relay is root, as all other programs: no rule can set it apart.
        let confined = relay_user() != 0;
        assert_eq!(confined, lab.has_other_users().unwrap());
        // Name servers of the LAN are asked from the sandboxes.
        for port in [70, 53] {
            let at = format!("[::]:{port}");
            let _servers = (serve_tcp(&stage.lan, &at).unwrap(), serve_datagrams(&stage.lan, &at).unwrap());
            for address in [LAN, LAN6] {
                let target = format!("{address}/{port}");
                assert_eq!(reached_by(&stage, relay_user(), &target), [!confined; 2], "{target}");
                assert_eq!(reached_by(&stage, 0, &target), [true, true], "{target}, by another user");
            }
        }
    });
}
