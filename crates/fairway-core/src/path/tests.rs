//! The walker against what was measured with Docker, row by row.

mod stage;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{Asker, Outcome, Proxy, Tuple, converse};
use stage::{Mode, Stage};

const TABLE: &str = include_str!("../../../fairway/tests/data/docker-matrix.tsv");

fn tuple(to: SocketAddr) -> Tuple {
    let source = match to {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    };
    Tuple { protocol: 6, source, destination: to.ip(), source_port: 40_000, destination_port: to.port() }
}

/// Where Fairway differs from Docker on purpose, as the end-to-end test of the matrix has it.
fn expected(mode: Mode, group: &str, path: &str, outcome: &str, source: &str) -> String {
    let published = path.ends_with(":pub") || path.ends_with("gw pub");
    if path.ends_with("no route") {
        // The neighbour on the LAN has no other way out, so that its own kernel answers.
        return "unreachable".to_owned();
    }
    if !mode.iptables && !mode.proxy && published {
        return "refused".to_owned();
    }
    if mode.iptables && !mode.proxy && !mode.bridge_netfilter && path.starts_with("samenet->") && published {
        let gateway = if group == "DFL" { "172.17.0.1" } else { "172.18.0.1" };
        return format!("answered {gateway}");
    }
    match outcome {
        "timed-out" => "nothing".to_owned(),
        other => format!("{other} {source}").trim_end().to_owned(),
    }
}

fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answered(source) => format!("answered {source}"),
        Outcome::Refused => "refused".to_owned(),
        Outcome::Unreachable => "unreachable".to_owned(),
        Outcome::Nothing => "nothing".to_owned(),
        Outcome::Left => "left".to_owned(),
        Outcome::Unknown => "unknown".to_owned(),
    }
}

fn check(mode: Mode) {
    let stage = Stage::new(mode);
    let mut wrong = String::new();
    let mut rows = 0;
    for line in TABLE.lines().filter(|line| !line.starts_with('#')).skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let &[iptables, proxy, group, path, address, port, outcome, source] = &fields[..] else {
            panic!("a row of {} fields", fields.len())
        };
        if (iptables, proxy) != (&mode.iptables.to_string()[..], &mode.proxy.to_string()[..]) {
            continue;
        }
        rows += 1;
        let with_route = group == "DIRECT" || path.ends_with("(back route)");
        let scene = stage.scene(with_route);
        let asker = stage.asker(&scene, group, path);
        let to: SocketAddr = format!("{address}:{port}").parse().unwrap();
        let conversation = converse(&scene, Asker::On(asker), tuple(to), Proxy { user: Some(61_137) });
        let (seen, expected) = (said(&conversation.outcome()), expected(mode, group, path, outcome, source));
        if seen != expected {
            wrong += &format!("{group} {path} {to}: {expected}, walked {seen}\n{conversation:#?}\n");
        }
    }
    assert_eq!(rows, 50);
    assert!(wrong.is_empty(), "{mode:?}\n{wrong}");
}

#[test]
fn the_walker_agrees_with_every_row_of_the_matrix() {
    for iptables in [true, false] {
        for proxy in [true, false] {
            for bridge_netfilter in [true, false] {
                check(Mode { iptables, proxy, bridge_netfilter });
            }
        }
    }
}
