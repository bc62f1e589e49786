//! Hosts with several links: policy routing rules and link-local addresses.

use std::net::IpAddr;

use fairway_walk::{
    End, FlowPosition, Interface, Listener, NamespaceId, NetworkNamespace, Origin, Outcome, Proxy, Route,
    RouteKind, RouteRule, Sender, Step, Topology, Tuple, Walker, add_interface, walk_connection,
};

use fairway_walk::{add_default_route, empty_namespace};

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn tcp(source: &str, destination: &str) -> Tuple {
    Tuple {
        protocol: 6,
        source: address(source),
        destination: address(destination),
        source_port: 40_000,
        destination_port: 80,
    }
}

/// A host with two links that lead out, and a server at port 80.
fn host() -> NetworkNamespace {
    let mut host = empty_namespace("host");
    for (index, own) in [(2, ["10.0.1.9/24", "fe80::2/64"]), (3, ["10.0.2.9/24", "fe80::3/64"])] {
        let interface = Interface {
            index,
            name: format!("eth{}", index - 2),
            up: true,
            addresses: own.map(|own| own.parse().unwrap()).into(),
            forwarding: (true, true),
            ..Interface::default()
        };
        add_interface(&mut host, interface);
    }
    add_default_route(&mut host, address("10.0.1.1"), 2);
    host.routes.push(Route {
        table: 100,
        destination: "0.0.0.0/0".parse().unwrap(),
        kind: RouteKind::Unicast,
        gateway: Some(address("10.0.2.1")),
        interface: 3,
        metric: 0,
        source: None,
    });
    host.listeners.push(Listener {
        protocol: 6,
        address: address("::"),
        port: 80,
        both_families: true,
        interface: None,
        held: false,
        owner: "a server".to_owned(),
        proxy: None,
    });
    host
}

/// The same with a rule for table 100 before the main table.
fn with_rule(rule: RouteRule) -> Topology {
    let mut host = host();
    host.rules.insert(1, RouteRule { priority: 100, ipv4: true, table: 100, ..rule });
    Topology { namespaces: vec![host] }
}

fn from(source: &str) -> RouteRule {
    RouteRule { from: Some(source.parse().unwrap()), ..RouteRule::default() }
}

/// The output interface of a packet that the host sends.
fn way_out(topology: &Topology, tuple: Tuple) -> String {
    match Walker::new(topology)
        .walk_from_program(Sender::of(NamespaceId::HOST), tuple, FlowPosition::First)
        .end
    {
        End::Leaves { interface, .. } => interface,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reply_by_another_interface_has_an_unknown_outcome() {
    let ask = |topology: &Topology| {
        let tuple = tcp("192.0.2.7", "10.0.1.9");
        walk_connection(topology, Origin::Remote(NamespaceId::HOST, 2), tuple, Proxy::default())
    };
    let plain = Topology { namespaces: vec![host()] };
    assert_eq!(ask(&plain).outcome(), Outcome::Answered(address("192.0.2.7")));
    let ruled = ask(&with_rule(from("10.0.1.9/32")));
    assert_eq!(ruled.outcome(), Outcome::Unknown);
    assert_eq!(
        ruled.sentence(&plain),
        "Not known: unknown from here on host: the reply leaves by eth1 for 10.0.2.1, not by eth0, where the \
         request arrived: whether the reply arrives is not known."
    );
}

#[test]
fn routing_rules_match_all_their_selectors() {
    let web = || tcp("0.0.0.0", "192.0.2.7");
    let ports =
        |ports| RouteRule { protocol: Some(6), destination_ports: Some(ports), ..RouteRule::default() };
    assert_eq!(way_out(&with_rule(ports((80, 80))), web()), "eth1");
    assert_eq!(way_out(&with_rule(ports((81, 90))), web()), "eth0");
    let other = RouteRule { protocol: Some(17), ..RouteRule::default() };
    assert_eq!(way_out(&with_rule(other), web()), "eth0");
    let marked = RouteRule { mark: Some((7, u32::MAX)), ..RouteRule::default() };
    assert_eq!(way_out(&with_rule(marked.clone()), web()), "eth0");
    assert_eq!(way_out(&with_rule(RouteRule { inverted: true, ..marked }), web()), "eth1");
    let specific = RouteRule { suppressed: Some(0), ..RouteRule::default() };
    assert_eq!(way_out(&with_rule(specific), web()), "eth0");
    // A connecting socket looks up its route again with the chosen source; an echo request does not.
    assert_eq!(way_out(&with_rule(from("10.0.1.9/32")), web()), "eth1");
    assert_eq!(way_out(&with_rule(from("10.0.1.9/32")), Tuple { protocol: 1, ..web() }), "eth0");
}

#[test]
fn link_local_addresses_belong_to_the_named_link() {
    let topology = Topology { namespaces: vec![host()] };
    let to_neighbor = tcp("::", "fe80::1");
    for (index, own, name) in [(2, "fe80::2", "eth0"), (3, "fe80::3", "eth1")] {
        let sender = Sender { interface: Some(index), ..Sender::of(NamespaceId::HOST) };
        let path = Walker::new(&topology).walk_from_program(sender, to_neighbor, FlowPosition::First);
        let End::Leaves { interface, tuple, .. } = path.end else { panic!("{path:?}") };
        assert_eq!((interface.as_str(), tuple.source), (name, address(own)));
        let asked = |own| {
            walk_connection(
                &topology,
                Origin::Remote(NamespaceId::HOST, index),
                tcp("fe80::1", own),
                Proxy::default(),
            )
        };
        let answered = asked(own);
        assert_eq!(answered.outcome(), Outcome::Answered(address("fe80::1")), "{answered:?}");
        let leaves = answered.reply.unwrap();
        assert!(matches!(leaves.end, End::Leaves { interface, .. } if interface == name));
        let other = if index == 2 { "fe80::3" } else { "fe80::2" };
        assert!(!matches!(asked(other).outcome(), Outcome::Answered(_)));
    }
}

#[test]
fn packets_from_a_link_local_address_are_not_forwarded() {
    let mut host = host();
    host.interfaces[1].addresses.push("fd01::9/64".parse().unwrap());
    let other =
        Interface { addresses: vec!["fd02::9/64".parse().unwrap()], ..host.interfaces.pop().unwrap() };
    add_interface(&mut host, other);
    let topology = Topology { namespaces: vec![host] };
    let asked = walk_connection(
        &topology,
        Origin::Remote(NamespaceId::HOST, 2),
        tcp("fe80::1", "fd02::7"),
        Proxy::default(),
    );
    assert_eq!(asked.outcome(), Outcome::Unreachable, "{asked:?}");
    assert_eq!(
        asked.sentence(&topology),
        "Lost on host: its source fe80::1 is link-local, and such packets are not forwarded."
    );
    let refusal = asked.reply.unwrap();
    let is_back = |step: &Step| matches!(step, Step::Leaves { interface, tuple, .. } if interface == "eth0" && tuple.source == address("fe80::2"));
    assert!(refusal.steps.iter().any(is_back), "{refusal:?}");
}
