//! Route lookup, kinds of addresses, and the choice of a source address.

use super::{ICMP, TCP, UDP, address, tuple};
use crate::{
    Interface, NetworkNamespace, Route, RouteKind, RouteQuery, RouteResult, RouteRule, add_default_route,
    add_interface, empty_namespace, is_link_local,
};

fn interface(index: u32, addresses: &[&str]) -> Interface {
    Interface {
        index,
        name: format!("eth{}", index - 2),
        up: true,
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ..Interface::default()
    }
}

/// A host with eth0 (10.0.0.1/24, fd00::1/64), eth1 (10.0.1.1/24, fd01::1/64), and its default routes by eth0.
fn host() -> NetworkNamespace {
    let mut host = empty_namespace("host");
    for (index, addresses) in [(2, ["10.0.0.1/24", "fd00::1/64"]), (3, ["10.0.1.1/24", "fd01::1/64"])] {
        add_interface(&mut host, interface(index, &addresses));
    }
    add_default_route(&mut host, address("10.0.0.254"), 2);
    add_default_route(&mut host, address("fd00::fe"), 2);
    host
}

fn route(destination: &str, interface: u32) -> Route {
    Route {
        table: 254,
        destination: destination.parse().unwrap(),
        kind: RouteKind::Unicast,
        gateway: None,
        interface,
        metric: 0,
        source: None,
    }
}

/// The interface that a query's route leaves by; none without a route.
fn found(host: &NetworkNamespace, query: RouteQuery<'_>) -> Option<u32> {
    match host.route(&query) {
        RouteResult::Found(route) => Some(route.interface),
        RouteResult::NoRoute => None,
        RouteResult::Unknown(reason) => panic!("{reason}"),
    }
}

fn to(destination: &str) -> RouteQuery<'static> {
    RouteQuery::to(address(destination))
}

#[test]
fn the_longest_prefix_wins_and_then_the_lowest_metric() {
    let mut host = host();
    for (destination, interface) in [
        ("10.0.0.9", Some(2)),
        ("10.0.1.9", Some(3)),
        ("192.0.2.1", Some(2)),
        ("10.0.1.1", Some(3)),
        ("127.0.0.9", Some(1)),
        ("::1", Some(1)),
        ("fd01::9", Some(3)),
        ("2001:db8::1", Some(2)),
    ] {
        assert_eq!(found(&host, to(destination)), interface, "{destination}");
    }
    host.routes.push(Route { metric: 5, ..route("10.0.0.9/32", 2) });
    host.routes.push(Route { metric: 4, ..route("10.0.0.9/32", 3) });
    assert_eq!(found(&host, to("10.0.0.9")), Some(3));
    assert_eq!(found(&host, to("10.0.0.8")), Some(2));
    host.interfaces[2].up = false;
    assert_eq!(found(&host, to("10.0.0.9")), Some(2));
    assert_eq!(found(&NetworkNamespace::default(), to("10.0.0.9")), None);
}

/// The interface of an observed route may be gone.
#[test]
fn a_route_of_a_missing_interface_is_found() {
    let mut host = host();
    host.routes.push(route("192.0.2.0/24", 99));
    assert_eq!(found(&host, to("192.0.2.1")), Some(99));
}

#[test]
fn throw_routes_and_short_prefixes_lead_on_to_the_next_rule() {
    let rule = |priority, table| RouteRule { priority, ipv4: true, table, ..RouteRule::default() };
    let mut host = host();
    host.rules.insert(1, rule(1, 100));
    host.routes.push(Route { table: 100, ..route("0.0.0.0/0", 3) });
    host.routes.push(Route { table: 100, kind: RouteKind::Throw, ..route("192.0.2.0/24", 3) });
    assert_eq!(found(&host, to("198.51.100.1")), Some(3));
    assert_eq!(found(&host, to("192.0.2.1")), Some(2));
    // IPv6 has rules of its own.
    assert_eq!(found(&host, to("2001:db8::1")), Some(2));
    for (suppressed, interface) in [(7, 3), (8, 2), (9, 2)] {
        host.rules[1].suppressed = Some(suppressed);
        host.routes.retain(|route| route.table != 100);
        host.routes.push(Route { table: 100, ..route("192.0.0.0/8", 3) });
        assert_eq!(found(&host, to("192.0.2.1")), Some(interface), "{suppressed}");
    }
}

/// Each selector alone, with a query that fits and some that do not.
#[test]
fn each_selector_of_a_routing_rule_decides() {
    let packet = tuple(TCP, "10.0.0.1", "192.0.2.1");
    let query = || RouteQuery::of(packet);
    let udp = || RouteQuery::of(tuple(UDP, "10.0.0.1", "192.0.2.1"));
    let any = RouteRule::default;
    let prefix = |text: &str| Some(text.parse().unwrap());
    let name = |text: &str| Some(text.to_owned());
    let selectors: Vec<(RouteRule, RouteQuery<'_>, Vec<RouteQuery<'_>>)> = vec![
        (any(), query(), vec![]),
        (
            RouteRule { from: prefix("10.0.0.0/24"), ..any() },
            query(),
            vec![RouteQuery { source: Some(address("10.0.1.1")), ..query() }, to("192.0.2.1")],
        ),
        (RouteRule { from: prefix("0.0.0.0/0"), ..any() }, to("192.0.2.1"), vec![]),
        (RouteRule { to: prefix("192.0.2.0/24"), ..any() }, query(), vec![to("198.51.100.1")]),
        (
            RouteRule { input: name("eth0"), ..any() },
            RouteQuery { input: Some("eth0"), ..query() },
            vec![query(), RouteQuery { input: Some("eth1"), ..query() }],
        ),
        (
            RouteRule { input: name("lo"), ..any() },
            query(),
            vec![RouteQuery { input: Some("eth0"), ..query() }],
        ),
        (
            RouteRule { output: name("eth1"), ..any() },
            RouteQuery { output: Some("eth1"), ..query() },
            vec![query()],
        ),
        (
            RouteRule { mark: Some((0x12, 0x0f)), ..any() },
            RouteQuery { mark: 0x32, ..query() },
            vec![query(), RouteQuery { mark: 0x13, ..query() }],
        ),
        (RouteRule { protocol: Some(TCP), ..any() }, query(), vec![udp(), to("192.0.2.1")]),
        (
            RouteRule { source_ports: Some((40_000, 40_001)), ..any() },
            udp(),
            vec![
                RouteQuery { ports: (39_999, 40_000), ..query() },
                RouteQuery { ports: (40_002, 80), ..query() },
            ],
        ),
        (
            RouteRule { destination_ports: Some((79, 80)), ..any() },
            query(),
            vec![RouteQuery { ports: (80, 81), ..query() }, RouteQuery { ports: (80, 78), ..query() }],
        ),
        // A query about an address alone has no ports, not even 0.
        (
            RouteRule { destination_ports: Some((0, 80)), ..any() },
            query(),
            vec![RouteQuery { ports: (0, 0), ..to("192.0.2.1") }],
        ),
    ];
    let reaches = |rule: &RouteRule, query: &RouteQuery<'_>| {
        let mut host = host();
        host.rules.insert(1, RouteRule { priority: 1, ipv4: true, table: 100, ..rule.clone() });
        host.routes.push(Route { table: 100, ..route("0.0.0.0/0", 3) });
        found(&host, *query) == Some(3)
    };
    for (rule, fits, others) in selectors {
        let inverted = RouteRule { inverted: true, ..rule.clone() };
        assert!(reaches(&rule, &fits) && !reaches(&inverted, &fits), "{rule:?} {fits:?}");
        for other in others {
            assert!(!reaches(&rule, &other) && reaches(&inverted, &other), "{rule:?} {other:?}");
        }
    }
}

#[test]
fn a_rule_that_is_not_known_makes_the_route_unknown_where_it_applies() {
    let mut host = host();
    let rule = RouteRule {
        priority: 7,
        ipv4: true,
        table: 254,
        unknown: Some("an attribute".to_owned()),
        ..RouteRule::default()
    };
    host.rules.insert(1, rule);
    assert_eq!(
        host.route(&to("192.0.2.1")),
        RouteResult::Unknown("the routing rule 7: an attribute".to_owned())
    );
    // The local table comes first.
    assert_eq!(found(&host, to("10.0.0.1")), Some(2));
    assert_eq!(found(&host, to("2001:db8::1")), Some(2));
}

/// `rt6_need_strict` in net/ipv6/route.c.
#[test]
fn link_local_destinations_are_reached_by_the_interface_where_the_packet_arrived() {
    let mut host = host();
    host.routes.extend([route("fe80::/64", 2), route("fe80::/64", 3)]);
    let link_local = to("fe80::9");
    for (query, interface) in [
        (link_local, 2),
        (RouteQuery { output: Some("eth1"), ..link_local }, 3),
        (RouteQuery { input: Some("eth1"), ..link_local }, 3),
        (RouteQuery { input: Some("eth1"), output: Some("eth0"), ..link_local }, 2),
        (RouteQuery { input: Some("lo"), ..link_local }, 2),
        (RouteQuery { input: Some("eth1"), ..to("fd00::9") }, 2),
    ] {
        assert_eq!(found(&host, query), Some(interface), "{query:?}");
    }
    assert!(is_link_local(address("fe80::1")));
    assert!(!is_link_local(address("fd00::1")) && !is_link_local(address("169.254.0.1")));
}

#[test]
fn a_query_of_a_packet_has_its_addresses_protocol_and_ports() {
    let packet = tuple(UDP, "10.0.0.1", "192.0.2.1");
    assert_eq!(
        RouteQuery::of(packet),
        RouteQuery {
            destination: address("192.0.2.1"),
            source: Some(address("10.0.0.1")),
            input: None,
            output: None,
            mark: 0,
            protocol: UDP,
            ports: (40_000, 80),
        }
    );
    assert_eq!(RouteQuery::of(tuple(ICMP, "0.0.0.0", "192.0.2.1")).source, None);
}

/// RTN_UNICAST 1, RTN_LOCAL 2, RTN_BROADCAST 3, RTN_MULTICAST 5.
#[test]
fn kinds_of_addresses_come_from_the_local_table() {
    let mut host = host();
    host.routes.push(Route { table: 255, kind: RouteKind::Broadcast, ..route("10.0.0.255/32", 2) });
    host.routes.push(Route { kind: RouteKind::Local, ..route("192.0.2.0/24", 2) });
    for (text, only, kind) in [
        ("10.0.0.1", None, 2),
        ("10.0.0.1", Some(2), 2),
        ("10.0.0.1", Some(3), 1),
        ("127.8.8.8", None, 2),
        ("::1", None, 2),
        ("fd01::1", None, 2),
        ("10.0.0.9", None, 1),
        ("10.0.0.255", None, 3),
        ("10.0.0.255", Some(3), 1),
        ("255.255.255.255", None, 3),
        ("224.0.0.1", None, 5),
        ("ff02::1", None, 5),
        ("192.0.2.1", None, 1),
    ] {
        assert_eq!(host.address_type(address(text), only), kind, "{text} {only:?}");
    }
}

#[test]
fn the_source_of_a_local_packet_is_near_the_next_hop() {
    let mut host = host();
    let source = |host: &NetworkNamespace, route: &Route, destination: &str| {
        host.source_for(route, address(destination)).map(|source| source.to_string()).unwrap_or_default()
    };
    let local = Route { table: 255, kind: RouteKind::Local, ..route("10.0.1.1/32", 3) };
    assert_eq!(source(&host, &local, "10.0.1.1"), "10.0.1.1");
    let preferred = Some(address("10.0.0.1"));
    assert_eq!(source(&host, &Route { source: preferred, ..local }, "10.0.1.1"), "10.0.0.1");
    assert_eq!(source(&host, &Route { source: preferred, ..route("0.0.0.0/0", 3) }, "192.0.2.1"), "10.0.0.1");
    // Of several addresses of the interface, the one in the subnet of the next hop.
    host.interfaces[1].addresses.push("10.0.7.1/24".parse().unwrap());
    let direct = route("0.0.0.0/0", 2);
    assert_eq!(source(&host, &direct, "10.0.7.9"), "10.0.7.1");
    assert_eq!(source(&host, &direct, "192.0.2.1"), "10.0.0.1");
    let routed = Route { gateway: Some(address("10.0.7.254")), ..direct.clone() };
    assert_eq!(source(&host, &routed, "192.0.2.1"), "10.0.7.1");
    // An interface without an address of the family borrows one of another interface, not of loopback.
    add_interface(&mut host, interface(4, &[]));
    assert_eq!(source(&host, &route("0.0.0.0/0", 4), "192.0.2.1"), "10.0.0.1");
    host.interfaces[1].addresses.clear();
    host.interfaces[2].addresses.retain(|own| own.addr().is_ipv6());
    assert_eq!(source(&host, &route("0.0.0.0/0", 4), "192.0.2.1"), "");
    assert_eq!(source(&host, &route("0.0.0.0/0", 99), "192.0.2.1"), "");
}

/// RFC 6724, section 5: the scope, then the interface, then the longest prefix in common.
#[test]
fn the_ipv6_source_has_the_scope_of_the_destination() {
    let mut host = empty_namespace("host");
    add_interface(&mut host, interface(2, &["fe80::2/64", "fd00::1/64", "fd00:0:0:1::1/64", "fd00::2/64"]));
    add_interface(&mut host, interface(3, &["10.0.0.1/24", "fe80::3/64"]));
    add_interface(&mut host, interface(4, &["2001:db8::4/64"]));
    let source = |interface: u32, destination: &str| {
        let source = host.source_for(&route("::/0", interface), address(destination));
        source.map(|source| source.to_string()).unwrap_or_default()
    };
    assert_eq!(source(2, "fe80::9"), "fe80::2");
    assert_eq!(source(3, "fe80::9"), "fe80::3");
    assert_eq!(source(4, "fe80::9"), "2001:db8::4", "of another scope rather than none");
    assert_eq!(source(2, "fd00:0:0:1::9"), "fd00:0:0:1::1");
    // Equally long prefixes in common: the first address. A common prefix is not longer than that of the address.
    assert_eq!(source(2, "fd00::2"), "fd00::1");
    assert_eq!(source(2, "2001:db8::9"), "fd00::1");
    // Without one of the scope, the nearest of another interface.
    assert_eq!(source(3, "2001:db8::9"), "2001:db8::4");
    assert_eq!(source(3, "fd00::9"), "fd00::1");
    assert_eq!(source(4, "fd00::9"), "2001:db8::4");
}

/// `ipv6_get_saddr_eval` and `__ipv6_dev_get_saddr` in net/ipv6/addrconf.c.
#[test]
fn a_deprecated_source_is_the_last_choice_and_a_tentative_one_is_none() {
    let mut host = empty_namespace("host");
    add_interface(&mut host, interface(2, &["fd00::1/64", "fd00:1::1/64", "fe80::2/64"]));
    let source = |host: &NetworkNamespace| {
        let source = host.source_for(&route("::/0", 2), address("fd00::9"));
        source.map(|source| source.to_string()).unwrap_or_default()
    };
    assert_eq!(source(&host), "fd00::1");
    host.interfaces[1].deprecated = vec![address("fd00::1")];
    assert_eq!(source(&host), "fd00:1::1");
    host.interfaces[1].tentative = vec![address("fd00:1::1")];
    assert_eq!(source(&host), "fd00::1", "the deprecated one rather than none of the scope");
    // Rather an address of another interface, also of loopback.
    host.interfaces[0].addresses.push("fd00:2::1/128".parse().unwrap());
    assert_eq!(source(&host), "fd00:2::1");
    host.interfaces[0].addresses.pop();
    host.interfaces[1].tentative.push(address("fd00::1"));
    assert_eq!(source(&host), "fe80::2");
    host.interfaces[1].tentative.push(address("fe80::2"));
    assert_eq!(source(&host), "");
}
