//! What arrives: routing to a socket or onward, and packets that the kernel discards.

use super::routed::{
    CLIENT, ROUTER, SERVER, add_route, ask, ask_with, comments, filter, interface, listen, routed, sentence,
    texts,
};
use super::{ICMP, ICMPV6, TCP, UDP, address, tuple};
use crate::{
    Counted, End, FlowPosition, Listener, NamespaceId, Outcome, Route, RouteKind, RouteRule, Sender,
    StateSource, StepKind, Topology, Walker, add_interface,
};
use fairway_ruleset::{Datatype, Element, Hook, Load, Set, Table, rule};

/// The end of a packet that arrives at eth0 of the router.
fn arrives(topology: &Topology, protocol: u8, source: &str, destination: &str) -> String {
    let walk =
        Walker::new(topology).arrives(ROUTER, 2, tuple(protocol, source, destination), FlowPosition::First);
    sentence(&walk, topology)
}

#[test]
fn a_packet_is_forwarded_to_its_socket() {
    let topology = routed();
    for (protocol, to, source) in [
        (TCP, "10.2.0.2", "10.1.0.2"),
        (UDP, "10.2.0.2", "10.1.0.2"),
        (ICMP, "10.2.0.2", "10.1.0.2"),
        (TCP, "fd02::2", "fd01::2"),
        (UDP, "fd02::2", "fd01::2"),
        (ICMPV6, "fd02::2", "fd01::2"),
    ] {
        let connection = ask(&topology, protocol, to);
        assert_eq!(connection.outcome(), Outcome::Answered(address(source)), "{protocol} {to}");
        let End::Delivered { namespace, owner, proxy, .. } = &connection.first.end else { panic!() };
        let expected =
            if [ICMP, ICMPV6].contains(&protocol) { "the kernel, which answers" } else { "a server" };
        assert_eq!((*namespace, owner.as_str(), *proxy), (SERVER, expected, None));
        let End::Delivered { namespace, owner, .. } = &connection.reply.as_ref().unwrap().end else {
            panic!()
        };
        assert_eq!((*namespace, owner.as_str()), (CLIENT, "the program that asked"));
    }
}

#[test]
fn routes_are_reported_with_the_reason_for_their_choice() {
    let mut topology = routed();
    let routes = |topology: &Topology, namespace, to: &str| {
        texts(&ask(topology, UDP, to).first, topology, namespace, StepKind::Route)
    };
    assert_eq!(
        routes(&topology, CLIENT, "10.2.0.2"),
        ["default via 10.1.0.1 dev eth0 (nothing more specific fits, by a gateway; table main)"]
    );
    assert_eq!(
        routes(&topology, ROUTER, "10.2.0.2"),
        ["10.2.0.0/24 dev eth1 (the longest prefix, on the link; table main)"]
    );
    assert_eq!(
        routes(&topology, SERVER, "10.2.0.2"),
        ["local 10.2.0.2 dev eth0 (its own address; table local)"]
    );
    for (kind, table, reason) in [
        (
            RouteKind::Unicast,
            100,
            "10.2.0.0/25 via 10.2.0.7 dev eth1 (the longest prefix, by a gateway; table 100)",
        ),
        (
            RouteKind::Prohibit,
            253,
            "prohibit 10.2.0.0/25 via 10.2.0.7 dev eth1 (the longest prefix, by a gateway; table default)",
        ),
    ] {
        add_route(&mut topology, ROUTER, kind, "10.2.0.0/25", 3);
        let route = topology[ROUTER].routes.last_mut().unwrap();
        (route.table, route.gateway) = (table, Some(address("10.2.0.7")));
        let rule = RouteRule { priority: 1, ipv4: true, table, ..RouteRule::default() };
        topology[ROUTER].rules.insert(0, rule);
        assert_eq!(routes(&topology, ROUTER, "10.2.0.2"), [reason]);
    }
}

#[test]
fn a_namespace_forwards_only_if_it_is_on_at_the_input_interface() {
    let mut topology = routed();
    topology[ROUTER].interfaces[1].forwarding = (false, true);
    let ipv4 = "is not its own and it does not forward: the sysctl net.ipv4.conf.eth0.forwarding is 0";
    for to in ["10.2.0.2", "192.0.2.1"] {
        assert_eq!(arrives(&topology, UDP, "10.1.0.2", to), format!("lost on router: {to} {ipv4}"));
    }
    assert!(arrives(&topology, UDP, "fd01::2", "fd02::2").starts_with("delivered on server"));
    topology[ROUTER].interfaces[1].forwarding = (true, false);
    assert!(arrives(&topology, UDP, "10.1.0.2", "10.2.0.2").starts_with("delivered on server"));
    assert_eq!(
        arrives(&topology, UDP, "fd01::2", "fd02::2"),
        "lost on router: fd02::2 is not its own and it does not forward: the sysctl \
         net.ipv6.conf.all.forwarding is 0"
    );
    // Where IPv6 has no route, the error comes first.
    assert_eq!(
        arrives(&topology, UDP, "fd01::2", "2001:db8::1"),
        "refused on router: there is no route to 2001:db8::1"
    );
    // It receives what is for itself.
    listen(&mut topology[ROUTER], UDP, "::", 80);
    topology[ROUTER].interfaces[1].forwarding = (false, false);
    assert!(arrives(&topology, UDP, "10.1.0.2", "10.1.0.1").starts_with("delivered on router"));
    for (kind, to) in [(RouteKind::Broadcast, "10.1.0.255"), (RouteKind::Multicast, "224.0.0.1")] {
        add_route(&mut topology, ROUTER, kind, &format!("{to}/32"), 2);
        assert!(arrives(&topology, UDP, "10.1.0.2", to).starts_with("delivered on router"), "{kind:?}");
    }
}

/// RFC 1812, 5.3.7.
#[test]
fn loopback_addresses_do_not_arrive_from_outside() {
    let mut topology = routed();
    listen(&mut topology[ROUTER], UDP, "::", 80);
    let text = |what: &str, address: &str, more: &str| {
        format!("lost on router: its {what} {address} is loopback and it arrived at eth0{more}")
    };
    let closed = ", where route_localnet is 0";
    assert_eq!(arrives(&topology, UDP, "10.1.0.2", "127.0.0.1"), text("destination", "127.0.0.1", closed));
    assert_eq!(arrives(&topology, UDP, "127.0.0.9", "10.1.0.1"), text("source", "127.0.0.9", closed));
    assert_eq!(arrives(&topology, UDP, "fd01::2", "::1"), text("destination", "::1", ""));
    assert_eq!(arrives(&topology, UDP, "::1", "fd01::1"), text("source", "::1", ""));
    topology[ROUTER].interfaces[1].route_localnet = true;
    assert!(arrives(&topology, UDP, "10.1.0.2", "127.0.0.1").starts_with("delivered on router"));
    assert_eq!(arrives(&topology, UDP, "fd01::2", "::1"), text("destination", "::1", ""));
    assert!(arrives(&topology, UDP, "10.1.0.2", "10.1.0.1").starts_with("delivered on router"));
}

/// `rp_filter`: 0 off, 1 by the same interface, 2 by any interface (RFC 3704).
#[test]
fn sources_are_checked_as_the_interface_demands() {
    let mut topology = routed();
    let own = "lost on router: its source 10.2.0.1 is this namespace's own, and it arrived at eth0";
    assert_eq!(arrives(&topology, UDP, "10.2.0.1", "10.2.0.2"), own);
    let refused = |source: &str, filter: u8| {
        format!(
            "lost on router: the way back to its source {source} is not by eth0: its rp_filter is {filter}"
        )
    };
    for (filter, near, other_link, no_route) in
        [(0, true, true, true), (1, true, false, false), (2, true, true, false)]
    {
        topology[ROUTER].interfaces[1].reverse_path = filter;
        for (source, passes) in [("10.1.0.2", near), ("10.2.0.9", other_link), ("192.0.2.1", no_route)] {
            let end = arrives(&topology, UDP, source, "10.2.0.2");
            match passes {
                true => assert!(end.starts_with("delivered on server"), "{filter} {source} {end}"),
                false => assert_eq!(end, refused(source, filter)),
            }
        }
        assert!(arrives(&topology, UDP, "2001:db8::1", "fd02::2").starts_with("delivered on server"));
    }
    // A route that is no way for packets is no way back.
    add_route(&mut topology, ROUTER, RouteKind::Unreachable, "192.0.2.0/24", 0);
    assert_eq!(arrives(&topology, UDP, "192.0.2.1", "10.2.0.2"), refused("192.0.2.1", 2));
}

/// `__fib_validate_source`: the lookup has the mark, and the output interface as its input.
#[test]
fn the_way_back_is_looked_up_with_mark_and_output_interface() {
    let mut topology = routed();
    topology[ROUTER].interfaces[1].reverse_path = 1;
    let back = |topology: &mut Topology, rule: RouteRule| {
        topology[ROUTER].rules.insert(0, RouteRule { priority: 1, ipv4: true, table: 100, ..rule });
        topology[ROUTER].routes.push(Route {
            table: 100,
            destination: "192.0.2.0/24".parse().unwrap(),
            kind: RouteKind::Unicast,
            gateway: None,
            interface: 2,
            metric: 0,
            source: None,
        });
    };
    let ends = |topology: &Topology, to: &str| arrives(topology, UDP, "192.0.2.1", to);
    assert!(ends(&topology, "10.2.0.2").starts_with("lost on router: the way back"));
    let mut by_output = topology.clone();
    back(&mut by_output, RouteRule { input: Some("eth1".to_owned()), ..RouteRule::default() });
    assert!(ends(&by_output, "10.2.0.2").starts_with("delivered on server"));
    assert!(ends(&by_output, "10.2.0.1").starts_with("lost on router: the way back"));
    let mut by_mark = topology.clone();
    back(&mut by_mark, RouteRule { mark: Some((7, 7)), ..RouteRule::default() });
    assert!(ends(&by_mark, "10.2.0.2").starts_with("lost on router: the way back"));
    filter(&mut by_mark, ROUTER, Hook::Prerouting, [rule().set_mark(7)]);
    assert!(ends(&by_mark, "10.2.0.2").starts_with("delivered on server"));
    // A rule that is not known leaves the check open.
    let mut open = topology.clone();
    let from = Some("10.2.0.2/32".parse().unwrap());
    back(&mut open, RouteRule { unknown: Some("an attribute".to_owned()), from, ..RouteRule::default() });
    assert!(ends(&open, "10.2.0.2").starts_with("delivered on server"));
}

#[test]
fn unknown_rules_end_the_walk() {
    let mut topology = routed();
    let rule = RouteRule { ipv4: true, unknown: Some("an attribute".to_owned()), ..RouteRule::default() };
    topology[ROUTER].rules.insert(0, rule);
    assert_eq!(
        arrives(&topology, UDP, "10.1.0.2", "10.2.0.2"),
        "unknown from here on router: the routing rule 0: an attribute"
    );
    let mut topology = routed();
    topology[ROUTER].unreadable_rules = Some("iptables-legacy cannot be read".to_owned());
    assert_eq!(
        arrives(&topology, UDP, "10.1.0.2", "10.2.0.2"),
        "unknown from here on router: iptables-legacy cannot be read"
    );
}

#[test]
fn the_interface_of_a_route_may_be_gone_or_down() {
    let mut topology = routed();
    add_route(&mut topology, ROUTER, RouteKind::Unicast, "10.2.0.2/32", 99);
    assert_eq!(
        arrives(&topology, UDP, "10.1.0.2", "10.2.0.2"),
        "lost on router: the interface of the route is gone"
    );
    let mut topology = routed();
    topology[ROUTER].interfaces[1].up = false;
    assert_eq!(arrives(&topology, UDP, "10.1.0.2", "10.2.0.2"), "lost on router: the interface is down");
}

#[test]
fn a_forwarded_packet_goes_to_the_gateway_of_its_route() {
    let mut topology = routed();
    let walk = |topology: &Topology, to: &str| arrives(topology, UDP, "10.1.0.2", to);
    assert_eq!(walk(&topology, "10.2.0.9"), "lost on router: no neighbor on eth1 has 10.2.0.9");
    add_route(&mut topology, ROUTER, RouteKind::Unicast, "192.0.2.0/24", 3);
    topology[ROUTER].routes.last_mut().unwrap().gateway = Some(address("10.2.0.8"));
    assert_eq!(walk(&topology, "192.0.2.1"), "lost on router: no neighbor on eth1 has 10.2.0.8");
}

#[test]
fn routers_that_lead_to_each_other_end_the_walk() {
    let mut topology = routed();
    topology[SERVER].interfaces.retain(|it| it.index != 1);
    for (namespace, gateway) in [(ROUTER, "10.2.0.2"), (SERVER, "10.2.0.1")] {
        let interface = if namespace == ROUTER { 3 } else { 2 };
        add_route(&mut topology, namespace, RouteKind::Unicast, "192.0.2.0/24", interface);
        topology[namespace].routes.last_mut().unwrap().gateway = Some(address(gateway));
    }
    let walk =
        Walker::new(&topology).arrives(ROUTER, 2, tuple(UDP, "10.1.0.2", "192.0.2.1"), FlowPosition::First);
    assert_eq!(sentence(&walk, &topology), "lost on router: a routing loop");
    let arrivals = walk.steps.iter().filter(|step| matches!(step, crate::Step::Arrives { .. })).count();
    assert_eq!(arrivals, 32);
}

#[test]
fn a_socket_that_only_holds_its_port_answers_nothing() {
    let mut topology = routed();
    for listener in &mut topology[SERVER].listeners {
        listener.held = true;
    }
    let udp = ask(&topology, UDP, "10.2.0.2");
    assert_eq!(
        sentence(&udp.first, &topology),
        "lost on server: a server only holds the port, and sends no replies"
    );
    assert!(udp.reply.is_none());
    let tcp = ask(&topology, TCP, "10.2.0.2");
    assert_eq!(sentence(&tcp.first, &topology), "refused: no socket on server listens at 10.2.0.2:80");
    assert_eq!(tcp.outcome(), Outcome::Refused);
}

#[test]
fn an_echo_request_is_answered_by_the_kernel_and_its_reply_goes_to_the_program() {
    let topology = routed();
    let mut walker = Walker::new(&topology);
    for (protocol, to) in [(ICMP, "10.1.0.2"), (ICMP, "127.0.0.1"), (ICMPV6, "::1")] {
        let any = if to == "::1" { "::" } else { "0.0.0.0" };
        let first =
            walker.walk_from_program(Sender::of(CLIENT), tuple(protocol, any, to), FlowPosition::First);
        let End::Delivered { owner, tuple: seen, .. } = first.end else { panic!("{first:?}") };
        assert_eq!(owner, "the kernel, which answers");
        let reply = walker.walk_from_program(Sender::of(CLIENT), seen.reversed(), FlowPosition::Reply);
        let End::Delivered { owner, .. } = reply.end else { panic!("{reply:?}") };
        assert_eq!(owner, "the program that asked");
    }
    // A reply to an echo request that no program sent.
    let reply = walker.arrives(ROUTER, 2, tuple(ICMP, "10.1.0.2", "10.1.0.1"), FlowPosition::Reply);
    let End::Delivered { owner, .. } = reply.end else { panic!("{reply:?}") };
    assert_eq!(owner, "the kernel, which answers");
}

/// Elements and sockets that are read one by one.
#[derive(Debug)]
struct Source;

impl StateSource for Source {
    fn element(
        &self,
        at: NamespaceId,
        table: &Table,
        set: &Set,
        key: &[u8],
    ) -> Result<Option<Element>, String> {
        assert_eq!((at, table.name.as_str()), (SERVER, "mine"));
        match key {
            key if set.name != "ports" => {
                let all = self.elements(at, table, set)?;
                Ok(all.and_then(|all| all.into_iter().find(|it| it.key == key)))
            }
            [0, 80] => Ok(Some(Element::new([0, 80]))),
            [0, 81] => Err("the set is gone".to_owned()),
            _ => Ok(None),
        }
    }

    fn elements(&self, _: NamespaceId, _: &Table, set: &Set) -> Result<Option<Vec<Element>>, String> {
        let elements = |ports: &[u16]| ports.iter().map(|port| Element::new(port.to_be_bytes())).collect();
        Ok(match set.name.as_str() {
            "low" => Some(elements(&[22, 80])),
            "some" => Some(elements(&[22, 50_000])),
            _ => None,
        })
    }

    fn listeners(&self, at: NamespaceId, protocol: u8, port: u16) -> Result<Vec<Listener>, String> {
        assert_eq!((at, protocol), (SERVER, UDP));
        let socket = |at: &str, owner: &str| Listener {
            protocol,
            address: address(at),
            port,
            both_families: false,
            interface: None,
            held: false,
            owner: owner.to_owned(),
            proxy: None,
        };
        match port {
            80 | 82 => Ok(vec![socket("0.0.0.0", "of all"), socket("10.2.0.2", "of one")]),
            _ => Err("the sockets are gone".to_owned()),
        }
    }
}

#[test]
fn sockets_and_elements_are_read_on_demand() {
    let mut topology = routed();
    topology[SERVER].on_demand = true;
    topology[SERVER].listeners.clear();
    let mut table = Table::new(fairway_ruleset::Family::Inet, "mine");
    table.sets.push(Set::new("ports", [Datatype::InetService]));
    let chain = fairway_ruleset::Chain::base("in", fairway_ruleset::ChainKind::Filter, Hook::Input, 0);
    let known = rule().is_in(&[Load::DESTINATION_PORT], "ports").comment("known").accept();
    table.chains.push(chain.with([known]));
    topology[SERVER].tables.push(table);
    let walk = |port| {
        let tuple = crate::Tuple { destination_port: port, ..tuple(UDP, "10.1.0.2", "10.2.0.2") };
        let walk = Walker::with_source(&topology, &Source).walk_from_program(
            Sender::of(CLIENT),
            tuple,
            FlowPosition::First,
        );
        (comments(&walk, &topology, SERVER), sentence(&walk, &topology))
    };
    let (rules, end) = walk(80);
    assert_eq!(rules, ["known"]);
    assert!(end.starts_with("delivered on server to of one"), "{end}");
    let (rules, end) = walk(82);
    assert_eq!(rules, [""; 0]);
    assert!(end.starts_with("delivered on server to of one"), "{end}");
    assert!(walk(81).1.ends_with(": the set is gone"), "{}", walk(81).1);
    assert_eq!(walk(83).1, "unknown from here on server: the sockets are gone");
    let unread = ask(&topology, UDP, "10.2.0.2").first;
    assert!(sentence(&unread, &topology).ends_with("its set elements and sockets were not read"));
    // A namespace that was read whole asks for nothing.
    topology[SERVER].on_demand = false;
    assert!(matches!(ask(&topology, UDP, "10.2.0.2").first.end, End::NoListener { .. }));
}

/// What is read on demand cannot be searched for a key that is not known.
#[test]
fn a_key_that_is_not_known_is_not_looked_up_on_demand() {
    let by_key = |on_demand| {
        let mut topology = routed();
        topology[SERVER].on_demand = on_demand;
        let mut table = Table::new(fairway_ruleset::Family::Inet, "mine");
        table.sets.push(Set::verdict_map("ports", [Datatype::InetService]));
        let chain = fairway_ruleset::Chain::base("in", fairway_ruleset::ChainKind::Filter, Hook::Input, 0);
        let random = Load::Meta(fairway_ruleset::MetaKey::Random);
        table.chains.push(chain.with([rule().verdict_of(&[random], "ports")]));
        topology[SERVER].tables.push(table);
        let mut walker = Walker::with_source(&topology, &Source);
        let packet = tuple(UDP, "10.1.0.2", "10.2.0.2");
        sentence(&walker.walk_from_program(Sender::of(CLIENT), packet, FlowPosition::First), &topology)
    };
    assert!(by_key(true).ends_with("meta random of a simulated packet"), "{}", by_key(true));
    assert!(by_key(false).starts_with("delivered on server"), "{}", by_key(false));
}

#[test]
fn elements_for_any_source_port_are_read_on_demand() {
    let mut topology = routed();
    topology[SERVER].on_demand = true;
    let mut table = Table::new(fairway_ruleset::Family::Inet, "mine");
    table.sets.extend(["ports", "low", "some"].map(|name| Set::new(name, [Datatype::InetService])));
    let chain = fairway_ruleset::Chain::base("in", fairway_ruleset::ChainKind::Filter, Hook::Input, 0);
    table.chains.push(chain);
    topology[SERVER].tables.push(table);
    let end = |set: &str, of_any: bool| {
        let mut topology = topology.clone();
        topology[SERVER].tables[0].chains[0].rules =
            vec![rule().is_in(&[Load::SOURCE_PORT], set).drop().into()];
        let walker = Walker::with_source(&topology, &Source);
        let mut walker = if of_any { walker.with_any_source_port() } else { walker };
        let packet = tuple(UDP, "10.1.0.2", "10.2.0.2");
        sentence(&walker.walk_from_program(Sender::of(CLIENT), packet, FlowPosition::First), &topology)
    };
    assert!(end("ports", false).starts_with("delivered on server"), "{}", end("ports", false));
    // Of that set, the elements are not read.
    for set in ["ports", "some"] {
        let known = end(set, true);
        assert!(known.ends_with("the source port may be any of 32768-60999"), "{known}");
    }
    assert!(end("low", true).starts_with("delivered on server"), "{}", end("low", true));
}

#[test]
fn elements_that_rules_add_are_reported() {
    let mut topology = routed();
    let mut table = Table::new(fairway_ruleset::Family::Inet, "mine");
    table.sets.push(Set::new("seen", [Datatype::InetService]).filled_by_rules(10));
    let chain = fairway_ruleset::Chain::base("in", fairway_ruleset::ChainKind::Filter, Hook::Input, 0);
    table.chains.push(chain.with([rule().count_in(&[Load::DESTINATION_PORT], "seen")]));
    topology[SERVER].tables.push(table);
    let first = ask(&topology, UDP, "10.2.0.2").first;
    let counted = Counted {
        namespace: SERVER,
        family: fairway_ruleset::Family::Inet,
        table: "mine".to_owned(),
        set: "seen".to_owned(),
        key: vec![0, 80],
    };
    assert_eq!(first.counted, [counted]);
}

/// `ip6_rcv_core`: a packet to itself by loopback arrives at the interface that has the address.
#[test]
fn a_reply_to_a_link_local_address_leaves_by_the_interface_of_the_request() {
    let mut topology = routed();
    for (index, own) in [(2, "fe80::1"), (3, "fe80::2")] {
        let net = format!("{own}/64").parse().unwrap();
        topology[ROUTER].interfaces[index as usize - 1].addresses.push(net);
        add_route(&mut topology, ROUTER, RouteKind::Local, &format!("{own}/128"), index);
        topology[ROUTER].routes.last_mut().unwrap().table = 255;
        add_route(&mut topology, ROUTER, RouteKind::Unicast, "fe80::/64", index);
    }
    listen(&mut topology[ROUTER], UDP, "::", 80);
    let mut dummy = interface(ROUTER, 4, "dummy0", &[]);
    dummy.kind = "dummy".to_owned();
    add_interface(&mut topology[ROUTER], dummy);
    let connection = crate::walk_connection(
        &topology,
        crate::Origin::LocalVia(ROUTER, 3),
        tuple(UDP, "::", "fe80::2"),
        crate::Proxy::default(),
    );
    assert_eq!(connection.outcome(), Outcome::Answered(address("fe80::2")), "{connection:?}");
    let to_client = ask_with(&topology, tuple(UDP, "fd01::2", "fd01::1"));
    assert_eq!(to_client.outcome(), Outcome::Answered(address("fd01::2")));
}
