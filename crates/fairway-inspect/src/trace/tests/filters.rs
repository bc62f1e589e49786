//! Filters of traces, and the packets that they match.

use std::net::{IpAddr, SocketAddr};

use crate::tests::matrix_world::{DaemonFlags, MatrixWorld};
use crate::trace::{Filter, filter_of_world, sandbox_table, tables};
use fairway_core::plan::plan;
use fairway_model::SandboxId;
use fairway_ruleset::TableFlags;
use fairway_walk::Tuple;

const HOST: &str = "10.10.50.99";

fn filter(from: &str, to: &str) -> Filter {
    try_filter(from, to).unwrap()
}

fn try_filter(from: &str, to: &str) -> Result<Filter, String> {
    try_both(from, to).map(|(filter, _)| filter)
}

fn try_both(from: &str, to: &str) -> Result<(Filter, Vec<SandboxId>), String> {
    let stage = MatrixWorld::new(DaemonFlags::DOCKER_DEFAULTS);
    let world = stage.world();
    let given = |text| Some(text).filter(|text: &&str| !text.is_empty());
    let own = ["10.10.50.99", "172.17.0.1", "172.18.0.1", "172.19.0.1"];
    let host: Vec<IpAddr> = own.iter().map(|text| text.parse().unwrap()).collect();
    filter_of_world(world, &plan(world), host, given(from), given(to)).map_err(|error| error.to_string())
}

fn tuple(from: &str, to: &str) -> Tuple {
    let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
    Tuple {
        protocol: 6,
        source: from.ip(),
        destination: to.ip(),
        source_port: from.port(),
        destination_port: to.port(),
    }
}

/// Which of some packets match: u1 is 172.18.0.2 and published at 8081, u2 is 172.18.0.3, o1 172.19.0.2.
fn meant(from: &str, to: &str) -> Vec<&'static str> {
    let filter = filter(from, to);
    let packets = [
        ("lan to u1's port", "10.10.50.1:4000", "10.10.50.99:8081"),
        ("lan to d1's port", "10.10.50.1:4000", "10.10.50.99:8080"),
        ("proxy to u1", "172.18.0.1:4000", "172.18.0.2:80"),
        ("u1 to lan", "172.18.0.2:4000", "10.10.50.1:443"),
        ("u2 to u1", "172.18.0.3:4000", "172.18.0.2:80"),
        ("o1 to u1 at 81", "172.19.0.2:4000", "172.18.0.2:81"),
        ("host to lan", "10.10.50.99:4000", "10.10.50.1:443"),
    ];
    let means = packets.into_iter().filter(|(_, from, to)| {
        let tuple = tuple(from, to);
        let both = [filter.means(tuple), filter.means(tuple.reversed())];
        assert_eq!(both[0], both[1], "replies match too");
        filter.begins(tuple)
    });
    means.map(|(name, ..)| name).collect()
}

#[test]
fn packets_that_a_filter_matches() {
    assert_eq!(
        meant("u1", ""),
        ["lan to u1's port", "proxy to u1", "u1 to lan", "u2 to u1", "o1 to u1 at 81"]
    );
    assert_eq!(meant("u1:80", ""), ["lan to u1's port", "proxy to u1", "u2 to u1"]);
    assert_eq!(meant("lan", "u1:80"), ["lan to u1's port", "proxy to u1"]);
    assert_eq!(meant("lan", "host:8081"), ["lan to u1's port", "proxy to u1"]);
    assert_eq!(meant("lan", HOST), ["lan to u1's port", "lan to d1's port"]);
    assert_eq!(meant("u2", "u1"), ["proxy to u1", "u2 to u1"], "through a published port");
    assert_eq!(meant("any", "u1:81"), ["o1 to u1 at 81"]);
    assert_eq!(meant("u1", "lan"), ["u1 to lan"]);
    assert_eq!(meant("10.10.50.1", "any:8080"), ["lan to d1's port"]);
    assert_eq!(meant("any:443/udp", ""), [""; 0]);
    assert_eq!(meant("u2", "u1.usr:80"), ["proxy to u1", "u2 to u1"], "by a name that it resolves");
    let all = meant("", "");
    assert!(all.len() == 6 && !all.contains(&"host to lan"), "{all:?}");
}

#[test]
fn unknown_peer_is_refused() {
    assert!(
        try_filter("missing", "")
            .unwrap_err()
            .starts_with("cannot find \"missing\": no such container, host or address: give a container")
    );
    assert!(try_filter("u1", "u2:http").unwrap_err().starts_with("invalid port in \"u2:http\""));
}

#[test]
fn sandboxes_that_are_traced() {
    let names = |from, to| {
        let stage = MatrixWorld::new(DaemonFlags::DOCKER_DEFAULTS);
        let (filter, sandboxes) = try_both(from, to).unwrap();
        let name = |place| stage.world().sandbox(sandboxes[place]).unwrap().name.clone();
        filter.containers.into_iter().map(name).collect::<Vec<_>>()
    };
    assert_eq!(names("u2", "u1"), ["u2", "u1"]);
    assert_eq!(names("lan", "host:8081"), ["u1"]);
    assert_eq!(names("u1", "")[..2], ["u1", "u2"], "neighbours may be the other side");
    assert_eq!([names("", ""), names("any:53/udp", ""), names("host", "")].map(|names| names.len()), [5; 3]);
}

#[test]
fn the_proxys_connections_are_known() {
    let filter = filter("lan", "host:8081");
    let asked = tuple("10.10.50.1:4000", "10.10.50.99:8081");
    assert!(filter.is_carried(&asked, &tuple("172.18.0.1:4000", "172.18.0.2:80")));
    assert!(!filter.is_carried(&asked, &tuple("172.18.0.3:4000", "172.18.0.2:80")), "from a neighbour");
    assert!(!filter.is_carried(&asked, &tuple("172.17.0.1:4000", "172.17.0.2:80")), "to another sandbox");
}

#[test]
fn the_rules_of_a_trace() {
    let owned = TableFlags { owner: true, ..TableFlags::default() };
    let mut text: String =
        tables(3, &filter("lan", "u1:80"), true, owned).iter().map(ToString::to_string).collect();
    text += &sandbox_table(4, owned).to_string();
    insta::assert_snapshot!(text);
}

#[test]
fn a_filter_with_many_patterns_has_few_rules() {
    let mut many = filter("u1", "any:80");
    let pattern = many.patterns[0].clone();
    for port in 0..500 {
        let ports = Some([(port, 6)].into());
        many.patterns.push(crate::trace::Pattern { ports, ..pattern.clone() });
    }
    let rules = |filter: &Filter| {
        let tables = tables(3, filter, true, TableFlags::default());
        let chains = tables.iter().flat_map(|table| &table.chains);
        chains.map(|chain| chain.rules.len()).max().unwrap()
    };
    assert!(rules(&many) < 5);
    assert!(rules(&filter("u1", "any:80")) > 1);
}
