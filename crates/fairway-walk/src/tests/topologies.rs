//! Namespaces and topologies as values.

use super::{TCP, UDP, address};
use crate::topology::listener_of;
use crate::{Interface, Listener, NetworkNamespace, RouteKind, add_interface, empty_namespace};
use fairway_ruleset::{
    Chain, ChainKind, CtKey, Expression, Family, Hook, Load, Register, Rule, Table, compat, rule,
};

fn listener(protocol: u8, at: &str, port: u16, both_families: bool) -> Listener {
    Listener {
        protocol,
        address: address(at),
        port,
        both_families,
        interface: None,
        held: false,
        owner: format!("{at} {both_families}"),
        proxy: None,
    }
}

#[test]
fn a_socket_bound_to_the_address_gets_the_packet_before_one_bound_to_all() {
    let listeners = [
        listener(TCP, "::", 80, true),
        listener(TCP, "0.0.0.0", 80, false),
        listener(TCP, "10.0.0.1", 80, false),
        listener(TCP, "fd00::1", 80, false),
        listener(TCP, "::", 81, true),
        listener(TCP, "::", 82, false),
        listener(UDP, "0.0.0.0", 53, false),
    ];
    let gets = |protocol, to: &str, port| {
        let found = listener_of(&listeners, protocol, (address(to), port), Some(2));
        found.map(|listener| listener.owner.clone()).unwrap_or_default()
    };
    assert_eq!(gets(TCP, "10.0.0.1", 80), "10.0.0.1 false");
    assert_eq!(gets(TCP, "fd00::1", 80), "fd00::1 false");
    assert_eq!(gets(TCP, "10.0.0.2", 80), "0.0.0.0 false");
    assert_eq!(gets(TCP, "fd00::2", 80), ":: true");
    assert_eq!(gets(TCP, "10.0.0.1", 81), ":: true");
    assert_eq!(gets(TCP, "10.0.0.1", 82), "");
    assert_eq!(gets(TCP, "fd00::1", 82), ":: false");
    assert_eq!(gets(UDP, "10.0.0.1", 80), "");
    assert_eq!(gets(UDP, "10.0.0.1", 53), "0.0.0.0 false");
    assert_eq!(gets(UDP, "fd00::1", 53), "");
    let host = NetworkNamespace { listeners: listeners.to_vec(), ..NetworkNamespace::default() };
    assert_eq!(host.listener(TCP, address("10.0.0.1"), 80, None), Some(&listeners[2]));
}

#[test]
fn a_socket_bound_to_an_interface_gets_what_arrives_there() {
    let bound =
        Listener { interface: Some(2), owner: "bound".to_owned(), ..listener(UDP, "0.0.0.0", 53, false) };
    let gets = |listeners: &[Listener], interface| {
        let found = listener_of(listeners, UDP, (address("10.0.0.1"), 53), interface);
        found.map(|listener| listener.owner.clone()).unwrap_or_default()
    };
    let alone = [bound.clone()];
    assert_eq!([Some(2), Some(3), None].map(|by| gets(&alone, by)), ["bound", "", "bound"]);
    let both = [listener(UDP, "0.0.0.0", 53, false), bound];
    assert_eq!([Some(2), Some(3)].map(|by| gets(&both, by)), ["bound", "0.0.0.0 false"]);
}

/// A namespace with one chain of one rule.
fn with_rule(kind: ChainKind, rule: impl Into<Rule>) -> NetworkNamespace {
    let mut host = empty_namespace("host");
    let mut table = Table::new(Family::Inet, "mine");
    table.chains.push(Chain::base("chain", kind, Hook::Prerouting, 0).with([rule.into()]));
    host.tables.push(table);
    host
}

#[test]
fn conntrack_is_on_where_a_rule_or_chain_needs_it() {
    let from = Register::FIRST;
    let unknown = |name: &str| Expression::Unknown { name: name.to_owned(), attributes: Vec::new() };
    let way = |expression| Expression::OneOf { ways: vec![vec![], vec![expression]], inverted: false };
    let state = Load::Ct(CtKey::State, None).into_register(from);
    let tracks =
        |expression: Expression| with_rule(ChainKind::Filter, rule().expression(expression)).tracks();
    for expression in [
        state.clone(),
        way(state),
        Expression::CtSet { key: CtKey::Mark, direction: None, from },
        compat::matching("conntrack"),
        compat::matching("connmark"),
        compat::matching("helper"),
        compat::matching("cluster"),
        compat::target("CONNMARK"),
        compat::target("CT"),
        compat::target("SYNPROXY"),
        unknown("connlimit"),
        unknown("flow_offload"),
        unknown("objref"),
        unknown("synproxy"),
    ] {
        assert!(tracks(expression.clone()), "{expression:?}");
    }
    let plain = Load::TRANSPORT.into_register(from);
    for expression in [
        plain.clone(),
        way(plain),
        Expression::Notrack,
        compat::matching("comment"),
        compat::target("LOG"),
        unknown("match"),
        unknown("log"),
    ] {
        assert!(!tracks(expression.clone()), "{expression:?}");
    }
    assert!(!empty_namespace("host").tracks());
    let nat = with_rule(ChainKind::Nat, rule());
    assert!(nat.tracks());
    // Tables of iptables-legacy count as well.
    let mut legacy = empty_namespace("host");
    legacy.iptables_legacy = nat.tables;
    assert!(legacy.tracks());
    assert!(legacy.is_legacy(&legacy.iptables_legacy[0]));
    assert!(!legacy.is_legacy(&legacy.iptables_legacy[0].clone()));
}

#[test]
fn an_empty_namespace_has_loopback_and_the_kernels_routing_rules() {
    let namespace = empty_namespace("host");
    let rules: Vec<_> = namespace.rules.iter().map(|rule| (rule.priority, rule.ipv4, rule.table)).collect();
    assert_eq!(rules, [(0, true, 255), (32_766, true, 254), (0, false, 255), (32_766, false, 254)]);
    let [loopback] = &namespace.interfaces[..] else { panic!("{:?}", namespace.interfaces) };
    assert_eq!((loopback.index, loopback.name.as_str()), (1, "lo"));
    assert!(loopback.up && loopback.loopback && loopback.forwarding == (true, true));
    let routes: Vec<_> = namespace
        .routes
        .iter()
        .map(|it| (it.table, it.kind, it.interface, it.destination.to_string()))
        .collect();
    let local = |text: &str| (255, RouteKind::Local, 1, text.to_owned());
    assert_eq!(routes, ["127.0.0.1/32", "::1/128", "127.0.0.0/8"].map(local));
}

#[test]
fn an_added_interface_brings_a_local_route_and_one_to_its_subnet() {
    let mut host = NetworkNamespace::default();
    let addresses = ["10.0.0.1/24", "10.9.9.9/32"].map(|text| text.parse().unwrap()).into();
    add_interface(&mut host, Interface { index: 7, addresses, ..Interface::default() });
    let routes: Vec<_> = host
        .routes
        .iter()
        .map(|it| (it.table, it.kind, it.interface, it.destination.to_string(), it.source))
        .collect();
    let local = |text: &str| (255, RouteKind::Local, 7, format!("{text}/32"), Some(address(text)));
    let subnet = (254, RouteKind::Unicast, 7, "10.0.0.0/24".to_owned(), Some(address("10.0.0.1")));
    let broadcast = (255, RouteKind::Broadcast, 7, "10.0.0.255/32".to_owned(), Some(address("10.0.0.1")));
    assert_eq!(routes, [local("10.0.0.1"), subnet, broadcast, local("10.9.9.9")]);
    assert_eq!(host.interface(7), host.interfaces.first());
}

#[test]
fn interfaces_are_found_by_index_name_and_address() {
    let mut host = empty_namespace("host");
    let addresses = vec!["10.0.0.1/24".parse().unwrap()];
    add_interface(
        &mut host,
        Interface { index: 2, name: "eth0".to_owned(), addresses, ..Interface::default() },
    );
    let index = |found: Option<&Interface>| found.map(|it| it.index);
    assert_eq!((index(host.interface(2)), index(host.interface(3))), (Some(2), None));
    assert_eq!((index(host.interface_named("eth0")), index(host.interface_named("eth1"))), (Some(2), None));
    assert_eq!(index(host.holder(address("10.0.0.1"))), Some(2));
    assert_eq!(index(host.holder(address("127.0.0.1"))), Some(1));
    assert_eq!(index(host.holder(address("10.0.0.2"))), None);
    for (bridge_netfilter, ipv4, ipv6) in [((true, false), true, false), ((false, true), false, true)] {
        host.bridge_netfilter = bridge_netfilter;
        assert_eq!((host.sees_bridged(Family::Ip), host.sees_bridged(Family::Ip6)), (ipv4, ipv6));
    }
}
