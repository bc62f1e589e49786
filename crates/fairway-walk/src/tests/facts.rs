//! What the kernel adds to a packet, and what no walk can know of it.

use super::bridged::{BRIDGE, HOST, ask_from, bridged, port};
use super::matches::{Found, at, evaluated, evaluated_in, value};
use super::routed::{ROUTER, add_route, ask, filter, header, routed, sentence};
use super::{ICMP, ICMPV6, TCP, UDP, tuple};
use crate::{NetworkNamespace, Outcome, RouteKind};
use fairway_ruleset::{
    Checksum, Datatype, Element, Expression, Hook, Load, MetaKey, PayloadBase, Set, Table, Verdict, rule,
};

const PACKETS: [(&str, &str, u32); 2] = [("10.1.0.2", "10.2.0.2", 8), ("fd01::2", "fd02::2", 7)];

#[test]
fn a_forwarded_packet_has_one_hop_less() {
    for (source, destination, offset) in PACKETS {
        let packet = tuple(TCP, source, destination);
        for (hook, limit) in [(Hook::Prerouting, 64), (Hook::Forward, 63), (Hook::Postrouting, 63)] {
            let matched = rule().is(header(PayloadBase::Network, offset, 1), [limit]);
            assert_eq!(evaluated_in(routed(), hook, matched, packet), Found::Matches, "{hook} {destination}");
        }
        let mut topology = routed();
        let last = value(&[1]).expression(Expression::PayloadSet {
            from: at(0),
            base: PayloadBase::Network,
            offset,
            length: 1,
            checksum: Checksum::None,
        });
        filter(&mut topology, ROUTER, Hook::Prerouting, [last]);
        let asked = ask(&topology, TCP, destination);
        assert_eq!(sentence(&asked.first, &topology), "lost on router: its hop limit (TTL) has run out");
        assert_eq!(asked.outcome(), Outcome::Unreachable);
    }
}

#[test]
fn a_program_is_one_of_root_and_a_forwarded_packet_of_no_user() {
    let packet = tuple(TCP, "10.1.0.2", "10.2.0.2");
    for key in [MetaKey::SocketUser, MetaKey::SocketGroup] {
        let is = |number: u32| rule().is(Load::Meta(key), number.to_ne_bytes());
        assert_eq!(evaluated_in(routed(), Hook::Forward, is(0), packet), Found::No, "{key}");
        for (number, outcome) in [(0, Outcome::NoReply), (5, Outcome::Answered(packet.source))] {
            let mut topology = routed();
            filter(&mut topology, super::routed::CLIENT, Hook::Output, [is(number).drop()]);
            assert_eq!(ask(&topology, TCP, "10.2.0.2").outcome(), outcome, "{key} {number}");
        }
    }
}

#[test]
fn what_differs_from_packet_to_packet_is_not_known() {
    let network = |offset, length| header(PayloadBase::Network, offset, length);
    let transport = |offset, length| header(PayloadBase::Transport, offset, length);
    for (load, bytes) in [
        (network(2, 2), vec![0, 40]),
        (network(4, 2), vec![0, 0]),
        (network(10, 2), vec![0, 0]),
        (transport(4, 4), vec![0; 4]),
        (transport(14, 2), vec![0xff, 0xff]),
        (transport(16, 2), vec![0, 0]),
    ] {
        let found = evaluated(rule().is(load, bytes));
        assert!(matches!(&found, Found::Unknown(reason) if reason.contains("packets differ")), "{found:?}");
    }
    // Ports, flags and the absence of fragments are those of a first packet.
    for (load, bytes) in
        [(transport(2, 2), vec![0, 80]), (transport(13, 1), vec![2]), (network(9, 1), vec![TCP])]
    {
        assert_eq!(evaluated(rule().is(load, bytes)), Found::Matches);
    }
}

#[test]
fn a_route_with_several_next_hops_is_not_guessed() {
    for (_, destination, _) in PACKETS {
        let mut topology = routed();
        let whole = if destination.contains(':') { "fd02::2/128" } else { "10.2.0.2/32" };
        add_route(&mut topology, ROUTER, RouteKind::Multipath, whole, 3);
        let asked = ask(&topology, UDP, destination);
        assert_eq!(asked.outcome(), Outcome::Unknown);
        assert!(sentence(&asked.first, &topology).contains("has several next hops"));
    }
}

#[test]
fn echo_requests_may_be_ignored() {
    type Ignores = fn(&mut NetworkNamespace);
    let ignores: [Ignores; 2] = [|it| it.ignores_echo.0 = true, |it| it.ignores_echo.1 = true];
    for (place, (protocol, to)) in [(ICMP, "10.1.0.1"), (ICMPV6, "fd01::1")].into_iter().enumerate() {
        for (number, set) in ignores.into_iter().enumerate() {
            let mut topology = routed();
            set(&mut topology[ROUTER]);
            let is_answered = matches!(ask(&topology, protocol, to).outcome(), Outcome::Answered(_));
            assert_eq!(is_answered, number != place, "{to}");
        }
    }
}

#[test]
fn an_element_that_says_continue_goes_on_in_its_rule() {
    for (verdict, found) in [(Verdict::Continue, Outcome::NoReply), (Verdict::Accept, Outcome::Refused)] {
        let set = Set::verdict_map("ports", [Datatype::InetService]);
        let mut topology = routed();
        let matched = rule().verdict_of(&[Load::DESTINATION_PORT], "ports").drop();
        filter(&mut topology, ROUTER, Hook::Forward, [matched]);
        let table: &mut Table = topology[ROUTER].tables.last_mut().unwrap();
        table.sets.push(set.with([Element::to_verdict([0, 80], verdict)]));
        topology.namespaces[2].listeners.clear();
        assert_eq!(ask(&topology, TCP, "10.2.0.2").outcome(), found);
    }
}

#[test]
fn isolated_ports_get_nothing_from_one_another() {
    let mut topology = bridged();
    for (index, expected) in
        [(11, "delivered on two"), (12, "lost on host: br0 sends nothing from one isolated port")]
    {
        port(&mut topology, index).isolated = true;
        let asked = sentence(&super::bridged::ask(&topology, "10.0.0.12").first, &topology);
        assert!(asked.starts_with(expected), "{asked}");
    }
    assert!(matches!(super::bridged::ask(&topology, "10.0.0.1").outcome(), Outcome::Refused));
}

#[test]
fn a_bridge_that_is_down_carries_nothing_and_keeps_its_address() {
    let mut topology = bridged();
    port(&mut topology, BRIDGE).up = false;
    let from_one = sentence(&super::bridged::ask(&topology, "10.0.0.12").first, &topology);
    assert_eq!(from_one, "lost on host: br0 is down");
    let asked = ask_from(&topology, HOST, TCP, "10.0.0.1");
    assert_eq!(asked.outcome(), Outcome::Refused);
}
