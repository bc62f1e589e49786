//! The facts that rules load: about the packet, its flow, and the routes.

use super::matches::{Found, at, compared, evaluated_in, name, value};
use super::routed::{CLIENT, ROUTER, add_chain, add_route, ask, comments, filter, interface, routed};
use super::{TCP, UDP, address, tuple};
use crate::{End, FlowPosition, RouteKind, Topology, Tuple, Walker, add_interface};
use fairway_ruleset::{
    Chain, ChainKind, Comparison, CtDirection, CtKey, Expression, Family, FibFlags, FibResult, Hook, Load,
    MetaKey, NatFlags, NatKind, Table, rule,
};

/// The value that a load has at a hook of the router, among those that are possible.
fn loaded(
    topology: &Topology,
    hook: Hook,
    load: Expression,
    packet: Tuple,
    possible: &[&[u8]],
) -> Vec<usize> {
    let equal = |value: &&[u8]| {
        let compare = Expression::Compare { from: at(0), operator: Comparison::Equal, value: value.to_vec() };
        let matched = rule().expression(load.clone()).expression(compare);
        evaluated_in(topology.clone(), hook, matched, packet) == Found::Matches
    };
    (0..possible.len()).filter(|place| equal(&possible[*place])).collect()
}

#[test]
fn meta_keys_describe_packet_and_interfaces() {
    let mut topology = routed();
    let packet = tuple(TCP, "10.1.0.2", "10.2.0.2");
    let ipv6 = tuple(UDP, "fd01::2", "fd02::2");
    topology[ROUTER].interfaces[1].kind = "veth".to_owned();
    let is = |hook, key, packet, value: &[u8]| {
        loaded(&topology, hook, Expression::Meta { key, to: at(0) }, packet, &[value]) == [0]
    };
    let number = |value: u32| value.to_ne_bytes();
    use MetaKey as M;
    for (hook, key, packet, value) in [
        (Hook::Forward, M::Protocol, packet, vec![0x08, 0]),
        (Hook::Forward, M::Protocol, ipv6, vec![0x86, 0xdd]),
        (Hook::Forward, M::Mark, packet, number(0).into()),
        (Hook::Forward, M::InputInterface, packet, number(2).into()),
        (Hook::Forward, M::OutputInterface, packet, number(3).into()),
        (Hook::Prerouting, M::OutputInterface, packet, number(0).into()),
        (Hook::Forward, M::InputName, packet, name("eth0")),
        (Hook::Forward, M::OutputName, packet, name("eth1")),
        (Hook::Prerouting, M::OutputName, packet, name("")),
        (Hook::Postrouting, M::InputName, packet, name("eth0")),
        (Hook::Forward, M::InputKind, packet, name("veth")),
        (Hook::Forward, M::NetworkFamily, packet, vec![2]),
        (Hook::Forward, M::NetworkFamily, ipv6, vec![10]),
        (Hook::Forward, M::TransportProtocol, packet, vec![TCP]),
        (Hook::Forward, M::TransportProtocol, ipv6, vec![UDP]),
        (Hook::Forward, M::PacketType, packet, vec![0]),
        (Hook::Forward, M::SecurityPath, packet, vec![0]),
    ] {
        assert!(is(hook, key, packet, &value), "{hook} {key}");
    }
    // Absent values do not match, not even their opposite.
    for key in [M::OutputKind, M::InputBridge, M::OutputBridge, M::SocketUser] {
        for operator in [Comparison::Equal, Comparison::NotEqual] {
            let load = rule().expression(Expression::Meta { key, to: at(0) });
            assert_eq!(compared(load, at(0), operator, &[0; 4]), Found::No, "{key}");
        }
    }
}

#[test]
fn the_bridge_of_a_port_is_known() {
    let mut topology = super::bridged::bridged();
    let chain = Chain::base("seen", ChainKind::Filter, Hook::Forward, 0);
    let names = [(MetaKey::InputBridge, "br0", "in"), (MetaKey::OutputBridge, "br0", "out")];
    let rules = names
        .map(|(key, bridge, comment)| rule().is(Load::Meta(key), name(bridge)).comment(comment).set_mark(1));
    topology[ROUTER]
        .tables
        .push(Table { chains: vec![chain.with(rules)], ..Table::new(Family::Bridge, "mine") });
    let first = super::bridged::ask(&topology, "10.0.0.12").first;
    assert_eq!(comments(&first, &topology, ROUTER), ["in", "out"]);
}

/// Without a bridge the name of the port is empty; for a packet that a bridge passed up it is not known.
#[test]
fn the_port_of_a_packet_that_came_by_a_bridge_is_not_known() {
    let packet = tuple(UDP, "10.1.0.2", "10.2.0.2");
    let found = |kind: &str, output| {
        let mut topology = routed();
        topology[ROUTER].interfaces[1].kind = kind.to_owned();
        let load = rule().expression(Expression::BridgePort { output, to: at(0) });
        let compare = Expression::Compare { from: at(0), operator: Comparison::Equal, value: name("") };
        evaluated_in(topology, Hook::Forward, load.expression(compare), packet)
    };
    for (kind, output) in [("", false), ("veth", false), ("", true), ("bridge", true)] {
        assert_eq!(found(kind, output), Found::Matches, "{kind} {output}");
    }
    let Found::Unknown(reason) = found("bridge", false) else { panic!("the port is known") };
    assert!(reason.ends_with("the bridge port where the packet arrived is not known"), "{reason}");
}

/// The facts of a flow, in both directions, before and after translation.
#[test]
fn ct_keys_describe_the_flow_in_either_direction() {
    let translated = |to: &str| {
        let mut topology = routed();
        let octets = match address(to) {
            std::net::IpAddr::V4(to) => to.octets().to_vec(),
            std::net::IpAddr::V6(to) => to.octets().to_vec(),
        };
        let family = if octets.len() == 4 { Family::Ip } else { Family::Ip6 };
        let nat = Expression::Nat {
            kind: NatKind::Destination,
            family,
            address: Some(at(0).into()),
            port: None,
            flags: NatFlags::default(),
        };
        let prerouting = Chain::base("nat", ChainKind::Nat, Hook::Prerouting, -100);
        add_chain(&mut topology, ROUTER, prerouting.with([value(&octets).expression(nat)]));
        topology
    };
    let ipv4 = (translated("10.2.0.2"), tuple(TCP, "10.1.0.2", "192.0.2.1"));
    let ipv6 = (translated("fd02::2"), tuple(UDP, "fd01::2", "2001:db8::1"));
    let octets = |text: &str| match address(text) {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    };
    use CtKey as K;
    let (original, reply) = (Some(CtDirection::Original), Some(CtDirection::Reply));
    let both = [&ipv4, &ipv6];
    let addresses = [["10.1.0.2", "192.0.2.1", "10.2.0.2"], ["fd01::2", "2001:db8::1", "fd02::2"]];
    for ((topology, packet), [client, asked, server]) in both.into_iter().zip(addresses) {
        let is_ipv4 = packet.source.is_ipv4();
        let is = |key, direction, value: &[u8]| {
            loaded(topology, Hook::Forward, Expression::Ct { key, direction, to: at(0) }, *packet, &[value])
                == [0]
        };
        let (source, destination) = match is_ipv4 {
            true => (K::SourceIpv4, K::DestinationIpv4),
            false => (K::SourceIpv6, K::DestinationIpv6),
        };
        for (key, direction, expected) in [
            (K::Source, None, client),
            (K::Source, original, client),
            (K::Source, reply, server),
            (source, original, client),
            (source, reply, server),
            (K::Destination, None, asked),
            (K::Destination, reply, client),
            (destination, original, asked),
            (destination, reply, client),
        ] {
            assert!(is(key, direction, &octets(expected)), "{key} {direction:?} {client}");
        }
        assert!(is(K::SourcePort, original, &40_000_u16.to_be_bytes()) && is(K::SourcePort, reply, &[0, 80]));
        assert!(is(K::DestinationPort, original, &[0, 80]));
        assert!(is(K::TransportProtocol, None, &[packet.protocol]));
        assert!(is(K::NetworkFamily, None, &[if is_ipv4 { 2 } else { 10 }]));
        assert!(is(K::Direction, None, &[0]) && is(K::Zone, None, &[0, 0]));
        assert!(is(K::Mark, None, &[0; 4]));
        // 32: the destination is translated; the flow is not confirmed yet.
        assert!(is(K::Status, None, &32_u32.to_ne_bytes()));
        assert!(is(K::State, None, &8_u32.to_ne_bytes()));
        let others = match is_ipv4 {
            true => [K::SourceIpv6, K::DestinationIpv6],
            false => [K::SourceIpv4, K::DestinationIpv4],
        };
        for key in others {
            for operator in [Comparison::Equal, Comparison::NotEqual] {
                let load = rule().expression(Expression::Ct { key, direction: None, to: at(0) });
                let compare = Expression::Compare { from: at(0), operator, value: vec![0; 4] };
                let found = evaluated_in(topology.clone(), Hook::Forward, load.expression(compare), *packet);
                assert_eq!(found, Found::No, "{key}");
            }
        }
    }
}

/// Before conntrack a packet has a state alone.
#[test]
fn a_packet_without_a_flow_has_only_a_state() {
    let at_raw = |key, value: &[u8], operator| {
        let mut topology = routed();
        let raw = Chain::base("raw", ChainKind::Filter, Hook::Prerouting, -300);
        let load = Expression::Ct { key, direction: None, to: at(0) };
        let compare = Expression::Compare { from: at(0), operator, value: value.to_vec() };
        add_chain(&mut topology, ROUTER, raw.with([rule().expression(load).expression(compare).drop()]));
        matches!(ask(&topology, UDP, "10.2.0.2").first.end, End::Dropped { .. })
    };
    assert!(at_raw(CtKey::State, &1_u32.to_ne_bytes(), Comparison::Equal));
    for key in [CtKey::Mark, CtKey::Direction, CtKey::Source] {
        assert!(
            !at_raw(key, &[0; 4], Comparison::Equal) && !at_raw(key, &[0; 4], Comparison::NotEqual),
            "{key}"
        );
    }
}

#[test]
fn fib_lookups_ask_for_address_and_interface() {
    let mut topology = routed();
    add_interface(&mut topology[ROUTER], interface(ROUTER, 4, "eth2", &["10.3.0.1/24"]));
    let packet = tuple(UDP, "10.1.0.2", "10.2.0.2");
    let odd = tuple(UDP, "10.3.0.9", "10.2.0.2");
    let own = tuple(UDP, "10.1.0.2", "10.3.0.1");
    let flags = |flags: &[FibFlags]| FibFlags(flags.iter().fold(0, |bits, it| bits | it.0));
    let (source, destination) = (FibFlags::SOURCE, FibFlags::DESTINATION);
    let (input, output, present) = (FibFlags::INPUT, FibFlags::OUTPUT, FibFlags::PRESENT);
    let number = |value: u32| value.to_ne_bytes().to_vec();
    use FibResult as R;
    for (packet, result, asked, expected) in [
        (packet, R::AddressType, vec![destination], number(1)),
        (own, R::AddressType, vec![destination], number(2)),
        (own, R::AddressType, vec![destination, input], number(1)),
        (own, R::AddressType, vec![source], number(1)),
        (packet, R::Interface, vec![source], number(2)),
        (packet, R::Interface, vec![destination], number(3)),
        (packet, R::InterfaceName, vec![source], name("eth0")),
        (packet, R::InterfaceName, vec![destination], name("eth1")),
        (packet, R::Interface, vec![source, input], number(2)),
        (odd, R::Interface, vec![source, input], number(0)),
        (odd, R::InterfaceName, vec![source, input], name("")),
        (odd, R::Interface, vec![source], number(4)),
        (packet, R::Interface, vec![source, present], vec![1]),
        (odd, R::Interface, vec![source, input, present], vec![0]),
        (packet, R::Interface, vec![destination, output], number(0)),
    ] {
        let load = Expression::Fib { result, flags: flags(&asked), to: at(0) };
        let hook = Hook::Prerouting;
        let mut at_router = topology.clone();
        filter(
            &mut at_router,
            ROUTER,
            hook,
            [rule()
                .expression(load)
                .expression(Expression::Compare {
                    from: at(0),
                    operator: Comparison::Equal,
                    value: expected.clone(),
                })
                .comment("found")
                .drop()],
        );
        let walk = Walker::new(&at_router).arrives(ROUTER, 2, packet, FlowPosition::First);
        let only_output = asked.contains(&output);
        assert_eq!(
            matches!(walk.end, End::Dropped { .. }),
            !only_output,
            "{packet} {result} {asked:?} {expected:?}"
        );
    }
    // With the interface by which the packet leaves.
    let leaves = |asked: &[FibFlags], expected: Vec<u8>| {
        let load = Expression::Fib { result: R::Interface, flags: flags(asked), to: at(0) };
        loaded(&topology, Hook::Postrouting, load, packet, &[&expected]) == [0]
    };
    assert!(leaves(&[destination, output], number(3)) && leaves(&[source, output], number(0)));
}

#[test]
fn fib_lookups_take_the_mark_and_the_other_address() {
    let by_rule = |selector: crate::RouteRule| {
        let mut topology = routed();
        let to = Some("10.1.0.2/32".parse().unwrap());
        let selector = crate::RouteRule { priority: 1, ipv4: true, table: 100, to, ..selector };
        topology[ROUTER].rules.insert(1, selector);
        add_route(&mut topology, ROUTER, RouteKind::Unicast, "10.1.0.0/24", 3);
        topology[ROUTER].routes.last_mut().unwrap().table = 100;
        topology
    };
    let interface = |topology: &Topology, flags: u32| {
        let load = Expression::Fib { result: FibResult::Interface, flags: FibFlags(flags), to: at(0) };
        let mark = rule().set_mark(7).expression(load);
        let of = |index: u32| {
            let value = index.to_ne_bytes().to_vec();
            let compare = Expression::Compare { from: at(0), operator: Comparison::Equal, value };
            let packet = tuple(UDP, "10.1.0.2", "10.2.0.2");
            evaluated_in(topology.clone(), Hook::Prerouting, mark.clone().expression(compare), packet)
                == Found::Matches
        };
        (0..5).find(|index| of(*index)).unwrap()
    };
    let marked = by_rule(crate::RouteRule { mark: Some((7, 7)), ..crate::RouteRule::default() });
    assert_eq!(interface(&marked, FibFlags::SOURCE.0), 2);
    assert_eq!(interface(&marked, FibFlags::SOURCE.0 | FibFlags::MARK.0), 3);
    let from = Some("10.2.0.2/32".parse().unwrap());
    let from = by_rule(crate::RouteRule { from, ..crate::RouteRule::default() });
    assert_eq!(interface(&from, FibFlags::SOURCE.0), 3);
    let mut unknown = by_rule(crate::RouteRule::default());
    unknown[ROUTER].rules[1].unknown = Some("an attribute".to_owned());
    let load = Expression::Fib { result: FibResult::Interface, flags: FibFlags::SOURCE, to: at(0) };
    let compare = Expression::Compare { from: at(0), operator: Comparison::Equal, value: vec![0; 4] };
    let matched = rule().expression(load).expression(compare);
    let found = evaluated_in(unknown, Hook::Prerouting, matched, tuple(UDP, "10.1.0.2", "10.2.0.2"));
    assert!(
        matches!(&found, Found::Unknown(reason) if reason.ends_with("the routing rule 1: an attribute")),
        "{found:?}"
    );
}

/// `nft_fib_is_loopback`: a packet from loopback arrived where its source is expected.
#[test]
fn fib_lookups_of_sources_accept_loopback() {
    let mut topology = routed();
    let fib = |result, flags: u32, value: Vec<u8>| {
        let load = Expression::Fib { result, flags: FibFlags(flags), to: at(0) };
        let compare = Expression::Compare { from: at(0), operator: Comparison::Equal, value };
        rule().iifname("lo").expression(load).expression(compare)
    };
    let source = FibFlags::SOURCE.0;
    let rules = [
        fib(FibResult::Interface, source | FibFlags::PRESENT.0, vec![1]).comment("present"),
        fib(FibResult::Interface, source, 1_u32.to_ne_bytes().into()).comment("index"),
        fib(FibResult::InterfaceName, source, name("lo")).comment("name"),
        fib(FibResult::Interface, FibFlags::DESTINATION.0, 2_u32.to_ne_bytes().into()).comment("destination"),
    ];
    filter(&mut topology, CLIENT, Hook::Prerouting, rules.map(|rule| rule.set_mark(1)));
    let first = ask(&topology, UDP, "10.1.0.2").first;
    assert_eq!(comments(&first, &topology, CLIENT), ["present", "index", "name", "destination"]);
}
