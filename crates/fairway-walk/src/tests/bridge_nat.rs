//! NAT of bridged packets, and where their frames go then.

use super::bridged::{BRIDGE, HOST, ONE, TWO, ask, ask_from, bridged, dnat, host, port, ports, table};
use super::routed::{add_chain, add_route, interface, listen, sentence, texts};
use super::{TCP, address};
use crate::{End, NamespaceId, Outcome, RouteKind, StepKind, Topology, add_interface};
use fairway_ruleset::{Chain, ChainKind, Expression, Family, Hook, Register, rule};

/// A host whose bridged packets meet the IP hooks, where they are translated.
fn translated_on_bridge(to: [u8; 4]) -> Topology {
    let mut topology = bridged();
    host(&mut topology).bridge_netfilter = (true, true);
    add_chain(
        &mut topology,
        HOST,
        Chain::base("nat", ChainKind::Nat, Hook::Prerouting, -100).with([dnat(to)]),
    );
    topology
}

/// `br_nf_pre_routing_finish` in net/bridge/br_netfilter_hooks.c.
#[test]
fn a_frame_translated_on_the_bridge_is_redirected() {
    let topology = translated_on_bridge([10, 0, 0, 12]);
    let connection = ask(&topology, "10.0.0.99");
    assert_eq!(ports(&connection), ["p2"]);
    assert_eq!(connection.outcome(), Outcome::Answered(address("10.0.0.11")));
    let first = &connection.first;
    assert!(
        texts(first, &topology, HOST, StepKind::Route)[0].starts_with("10.0.0.0/24 dev br0"),
        "{first:?}"
    );
    // To an address of the host, or behind another interface: up.
    let mut topology = translated_on_bridge([10, 0, 0, 1]);
    listen(host(&mut topology), TCP, "::", 80);
    let connection = ask(&topology, "10.0.0.12");
    assert_eq!(ports(&connection), ["up"]);
    assert_eq!(connection.outcome(), Outcome::Answered(address("10.0.0.11")));
    let mut topology = translated_on_bridge([192, 0, 2, 1]);
    add_interface(host(&mut topology), interface(HOST, 20, "eth0", &["192.0.2.9/24"]));
    let connection = ask(&topology, "10.0.0.12");
    assert_eq!(ports(&connection), ["up"]);
    assert!(matches!(&connection.first.end, End::Leaves { interface, .. } if interface == "eth0"));
    // Without a route, without a neighbor, and to where the packet was going.
    let first = ask(&translated_on_bridge([192, 0, 2, 1]), "10.0.0.12").first;
    assert_eq!(sentence(&first, &bridged()), "lost on host: there is no route to 192.0.2.1");
    let mut topology = translated_on_bridge([10, 0, 0, 77]);
    port(&mut topology, 13).peer = Some((NamespaceId(2), 99));
    let first = ask(&topology, "10.0.0.12").first;
    assert_eq!(sentence(&first, &topology), "lost on host: no neighbor on br0 has 10.0.0.77");
    let topology = translated_on_bridge([10, 0, 0, 12]);
    let connection = ask(&topology, "10.0.0.12");
    assert_eq!(
        (ports(&connection), texts(&connection.first, &topology, HOST, StepKind::Route)),
        (vec!["p2"], vec![])
    );
}

#[test]
fn the_redirection_follows_gateway_mark_and_kind_of_the_route() {
    // By a gateway behind the bridge.
    let mut topology = translated_on_bridge([192, 0, 2, 1]);
    add_route(&mut topology, HOST, RouteKind::Unicast, "192.0.2.0/24", BRIDGE);
    host(&mut topology).routes.last_mut().unwrap().gateway = Some(address("10.0.0.12"));
    let connection = ask(&topology, "10.0.0.99");
    assert_eq!(ports(&connection), ["p2"]);
    // A route of another kind by the bridge leads up, where the packet is refused.
    host(&mut topology).routes.last_mut().unwrap().kind = RouteKind::Prohibit;
    let connection = ask(&topology, "10.0.0.99");
    assert_eq!(ports(&connection), ["up"]);
    assert!(matches!(connection.first.end, End::NoRoute { .. }));
    // By the route of the mark that a rule set before.
    let mut topology = translated_on_bridge([192, 0, 2, 1]);
    let marks = Chain::base("marks", ChainKind::Filter, Hook::Prerouting, -150).with([rule().set_mark(7)]);
    add_chain(&mut topology, HOST, marks);
    let marked = crate::RouteRule { mark: Some((7, 7)), ..crate::RouteRule::default() };
    host(&mut topology).rules.insert(1, crate::RouteRule { priority: 1, ipv4: true, table: 100, ..marked });
    add_route(&mut topology, HOST, RouteKind::Unicast, "192.0.2.0/24", BRIDGE);
    let route = host(&mut topology).routes.last_mut().unwrap();
    (route.table, route.gateway) = (100, Some(address("10.0.0.12")));
    assert_eq!(ports(&ask(&topology, "10.0.0.99")), ["p2"]);
}

#[test]
fn the_redirection_follows_routing_rules_of_the_bridge() {
    let mut topology = translated_on_bridge([192, 0, 2, 1]);
    for (name, expected) in [("br0", "p2"), ("p1", "")] {
        let input = Some(name.to_owned());
        let rule = crate::RouteRule { input, priority: 1, ipv4: true, table: 100, ..Default::default() };
        host(&mut topology).rules.insert(1, rule);
        add_route(&mut topology, HOST, RouteKind::Unicast, "192.0.2.0/24", BRIDGE);
        let route = host(&mut topology).routes.last_mut().unwrap();
        (route.table, route.gateway) = (100, Some(address("10.0.0.12")));
        let connection = ask(&topology, "10.0.0.99");
        assert_eq!(ports(&connection).join(" "), expected);
        host(&mut topology).rules.remove(1);
    }
}

#[test]
fn a_frame_goes_back_by_its_port_only_with_hairpin() {
    let mut topology = translated_on_bridge([10, 0, 0, 11]);
    let first = ask(&topology, "10.0.0.12").first;
    assert_eq!(sentence(&first, &topology), "lost on host: br0 may not send it back by p1: hairpin is off");
    port(&mut topology, 11).hairpin = true;
    assert_eq!(ports(&ask(&topology, "10.0.0.12")), ["p1"]);
    // Two hosts behind one port: the second is reached by the link between them, never by the bridge without hairpin.
    let mut topology = bridged();
    let second = interface(ONE, 3, "eth1", &["10.0.0.77/24"]);
    add_interface(&mut topology[ONE], second);
    assert_eq!(ports(&ask_from(&topology, TWO, TCP, "10.0.0.77")), ["p1"]);
}

#[test]
fn a_frame_without_a_port_is_lost() {
    let mut topology = translated_on_bridge([10, 0, 0, 12]);
    // A rule readdresses the frame to a MAC address that no port leads to.
    let register = Register::FIRST;
    let readdress = rule()
        .expression(Expression::Immediate { to: register, value: vec![2, 9, 9, 9, 9, 9] })
        .expression(Expression::PayloadSet {
            from: register,
            base: fairway_ruleset::PayloadBase::Link,
            offset: 0,
            length: 6,
            checksum: fairway_ruleset::Checksum::None,
        });
    let chain = Chain::base("moves", ChainKind::Filter, Hook::Prerouting, 100).with([readdress]);
    host(&mut topology).tables.push(table(Family::Bridge, "mine", chain));
    let first = ask(&topology, "10.0.0.99").first;
    assert_eq!(
        sentence(&first, &topology),
        "lost on host: no port of br0 leads to its destination MAC address"
    );
}
