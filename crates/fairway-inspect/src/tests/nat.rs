//! NAT beyond the measured rows: ICMP errors about translated packets, and chains of one priority that disagree.

use std::net::SocketAddr;

use fairway_model::Protocol;
use fairway_ruleset::{Chain, ChainKind, Expression, Family, Hook, priority, rule};
use fairway_walk::{ConnectionWalk, Origin, Outcome, Proxy, StepKind, Topology, walk_connection};

use super::matrix_world::{DaemonFlags, MatrixWorld, add_table, named};
use super::tuple;

/// The topology of the matrix, with one more base chain in a namespace.
fn with_chain(of: &str, chain: Chain) -> Topology {
    let mut topology = MatrixWorld::new(DaemonFlags::TRANSLATED).topology(false);
    let namespace = named(&topology, of);
    add_table(&mut topology, namespace, Family::Inet, "mine", chain);
    topology
}

/// The LAN asks the host's port 8080, which is published for sandbox d1.
fn asked(topology: &Topology) -> ConnectionWalk {
    let to: SocketAddr = "10.10.50.99:8080".parse().unwrap();
    walk_connection(topology, Origin::Local(named(topology, "lan")), tuple(to), Proxy::default())
}

/// The texts of the steps of one kind in the walk of the reply.
fn of_reply(connection: &ConnectionWalk, topology: &Topology, kind: StepKind) -> Vec<String> {
    let walks = connection.records(topology);
    let reply = &walks[1];
    reply.steps.iter().filter(|step| step.kind == kind).map(|step| step.text().to_owned()).collect()
}

#[test]
fn an_icmp_error_from_behind_nat_comes_from_the_translated_address() {
    let input = Chain::base("input", ChainKind::Filter, Hook::Input, priority::FILTER);
    let topology = with_chain("d1", input.with([rule().to_port(Protocol::Tcp, 80).reject()]));
    let connection = asked(&topology);
    assert_eq!(connection.outcome(), Outcome::Unreachable);
    let tracked = of_reply(&connection, &topology, StepKind::Conntrack);
    assert!(tracked.iter().any(|text| text == "related"), "{tracked:?}");
    let translated = of_reply(&connection, &topology, StepKind::Translate);
    assert!(
        translated.iter().any(|text| text.contains("172.17.0.2") && text.contains("10.10.50.99")),
        "{translated:?}"
    );
}

#[test]
fn nat_chains_of_one_priority_that_disagree_make_the_outcome_unknown() {
    let redirect = || Expression::Redirect { port: None, flags: Default::default() };
    let prerouting = |at| Chain::base("prerouting", ChainKind::Nat, Hook::Prerouting, at);
    let port = |port| rule().to_port(Protocol::Tcp, port).expression(redirect());

    let rival = with_chain("host", prerouting(priority::DESTINATION_NAT).with([port(8080)]));
    assert_eq!(asked(&rival).outcome(), Outcome::Unknown);
    assert!(asked(&rival).sentence(&rival).contains("translate the packet differently at one priority"));

    let of_another_port = with_chain("host", prerouting(priority::DESTINATION_NAT).with([port(8090)]));
    assert_eq!(
        asked(&of_another_port).outcome(),
        asked(&with_chain("host", Chain::regular("none"))).outcome()
    );
    let later = with_chain("host", prerouting(priority::DESTINATION_NAT + 1).with([port(8080)]));
    assert_ne!(asked(&later).outcome(), Outcome::Unknown);
}
