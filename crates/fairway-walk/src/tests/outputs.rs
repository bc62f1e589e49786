//! What local programs send: routes, source addresses, and rules that change the route.

use super::routed::{
    CLIENT, ROUTER, SERVER, add_chain, add_route, ask, ask_with, comments, filter, interface, listen, routed,
    sentence, texts,
};
use super::{ICMP, TCP, UDP, address, tuple};
use crate::{
    End, FlowPosition, Outcome, Proxy, RouteKind, RouteRule, Sender, StepKind, Topology, Walker,
    add_interface,
};
use fairway_ruleset::{
    Chain, ChainKind, Expression, Family, Hook, NatFlags, NatKind, Register, Rule, RuleBuilder, rule,
};

/// The end of a packet that a program of the client sends.
fn sent(topology: &Topology, tuple: crate::Tuple) -> String {
    let walk = Walker::new(topology).walk_from_program(Sender::of(CLIENT), tuple, FlowPosition::First);
    sentence(&walk, topology)
}

/// A rule that translates the destination.
fn dnat(matched: RuleBuilder, to: &str) -> Rule {
    let value = match address(to) {
        std::net::IpAddr::V4(to) => to.octets().to_vec(),
        std::net::IpAddr::V6(to) => to.octets().to_vec(),
    };
    let (register, family) = (Register::FIRST, if value.len() == 4 { Family::Ip } else { Family::Ip6 });
    matched
        .expression(Expression::Immediate { to: register, value })
        .expression(Expression::Nat {
            kind: NatKind::Destination,
            family,
            address: Some(register.into()),
            port: None,
            flags: NatFlags::default(),
        })
        .into()
}

/// The client has a second interface eth1 (index 3, 10.3.0.2) that leads out.
fn with_second_link() -> Topology {
    let mut topology = routed();
    add_interface(&mut topology[CLIENT], interface(CLIENT, 3, "eth1", &["10.3.0.2/24"]));
    topology
}

fn output(kind: ChainKind, rules: impl IntoIterator<Item = impl Into<Rule>>) -> Chain {
    let priority = if kind == ChainKind::Nat { -100 } else { -150 };
    Chain::base("output", kind, Hook::Output, priority).with(rules)
}

/// `ip_route_output_key_hash_rcu` in net/ipv4/route.c, `tcp_v6_connect` in net/ipv6/tcp_ipv6.c.
#[test]
fn an_unspecified_destination_is_the_sender_itself() {
    let mut topology = routed();
    listen(&mut topology[CLIENT], TCP, "::", 80);
    for (source, destination, seen) in [
        ("0.0.0.0", "0.0.0.0", "tcp 127.0.0.1:40000 > 127.0.0.1:80"),
        ("10.1.0.2", "0.0.0.0", "tcp 10.1.0.2:40000 > 10.1.0.2:80"),
        ("::", "::", "tcp [::1]:40000 > [::1]:80"),
        ("fd01::2", "::", "tcp [fd01::2]:40000 > [::1]:80"),
        ("0.0.0.0", "10.1.0.2", "tcp 10.1.0.2:40000 > 10.1.0.2:80"),
    ] {
        assert_eq!(
            sent(&topology, tuple(TCP, source, destination)),
            format!("delivered on client to a server, which sees {seen}")
        );
    }
}

/// A local packet leaves and arrives by loopback, whichever interface has the address.
#[test]
fn a_packet_to_an_own_address_stays_on_loopback() {
    let mut topology = routed();
    listen(&mut topology[CLIENT], TCP, "::", 80);
    filter(&mut topology, CLIENT, Hook::Input, [rule().iifname("lo").comment("by lo").accept()]);
    filter(&mut topology, CLIENT, Hook::Output, [rule().oifname("lo").comment("to lo").accept()]);
    filter(&mut topology, CLIENT, Hook::Input, [rule().socket_user(7).comment("of user").accept()]);
    filter(&mut topology, CLIENT, Hook::Postrouting, [rule().socket_user(7).comment("of user").accept()]);
    let sender = Sender { user: Some(7), ..Sender::of(CLIENT) };
    let walk = Walker::new(&topology).walk_from_program(
        sender,
        tuple(TCP, "0.0.0.0", "10.1.0.2"),
        FlowPosition::First,
    );
    assert_eq!(comments(&walk, &topology, CLIENT), ["to lo", "of user", "by lo"]);
    assert_eq!(texts(&walk, &topology, CLIENT, StepKind::Out).len(), 1);
    assert!(matches!(walk.end, End::Delivered { .. }));
}

#[test]
fn routes_that_send_nothing_give_the_program_an_error() {
    for (kind, sends) in [
        (RouteKind::Unicast, true),
        (RouteKind::Broadcast, true),
        (RouteKind::Multicast, true),
        (RouteKind::Blackhole, false),
        (RouteKind::Unreachable, false),
        (RouteKind::Prohibit, false),
    ] {
        for source in ["0.0.0.0", "10.3.0.2"] {
            let mut topology = with_second_link();
            add_route(&mut topology, CLIENT, kind, "192.0.2.0/24", 3);
            let end = sent(&topology, tuple(UDP, source, "192.0.2.1"));
            match sends {
                true => assert!(end.starts_with("leaves client by eth1 for 192.0.2.1"), "{kind:?} {end}"),
                false => {
                    let name = kind.name();
                    assert_eq!(
                        end,
                        format!("refused on client: the route to 192.0.2.1 is of the type {name}")
                    );
                }
            }
            let connection = sent(&topology, tuple(TCP, source, "192.0.2.1"));
            assert_eq!(connection.starts_with("leaves client"), kind == RouteKind::Unicast, "{connection}");
        }
    }
    let mut topology = routed();
    topology[CLIENT].routes.clear();
    let connection = ask(&topology, TCP, "10.2.0.2");
    assert_eq!(connection.outcome(), Outcome::Unreachable);
    assert_eq!(connection.sentence(&topology), "Refused on client: there is no route to 10.2.0.2.");
}

#[test]
fn a_program_needs_an_address_and_an_interface() {
    let mut topology = routed();
    topology[CLIENT].interfaces.iter_mut().for_each(|interface| interface.addresses.clear());
    topology[CLIENT].routes.iter_mut().for_each(|route| route.source = None);
    assert_eq!(
        sent(&topology, tuple(UDP, "0.0.0.0", "10.2.0.2")),
        "lost on client: it has no address to send from"
    );
    let mut topology = routed();
    add_route(&mut topology, CLIENT, RouteKind::Unicast, "192.0.2.0/24", 99);
    assert_eq!(
        sent(&topology, tuple(UDP, "10.1.0.2", "192.0.2.1")),
        "lost on client: the interface of the route is gone"
    );
    let mut topology = routed();
    topology[CLIENT].rules.insert(
        0,
        RouteRule { ipv4: true, unknown: Some("an attribute".to_owned()), ..RouteRule::default() },
    );
    assert_eq!(
        sent(&topology, tuple(UDP, "0.0.0.0", "10.2.0.2")),
        "unknown from here on client: the routing rule 0: an attribute"
    );
}

/// `ip_route_connect` in include/net/route.h: a socket of TCP or UDP looks up its route again with the chosen source.
#[test]
fn a_connecting_socket_looks_up_its_route_with_its_source() {
    let mut topology = with_second_link();
    let from = Some("10.1.0.2/32".parse().unwrap());
    let rule = RouteRule { priority: 1, ipv4: true, table: 100, from, ..RouteRule::default() };
    topology[CLIENT].rules.insert(1, rule);
    add_route(&mut topology, CLIENT, RouteKind::Unicast, "0.0.0.0/0", 3);
    topology[CLIENT].routes.last_mut().unwrap().table = 100;
    for (protocol, source, interface) in [
        (TCP, "0.0.0.0", "leaves client by eth1"),
        (UDP, "0.0.0.0", "leaves client by eth1"),
        (ICMP, "0.0.0.0", "delivered on server"),
        (ICMP, "10.1.0.2", "leaves client by eth1"),
    ] {
        let end = sent(&topology, tuple(protocol, source, "10.2.0.2"));
        assert!(end.starts_with(interface), "{protocol} {source}: {end}");
    }
}

#[test]
fn a_sender_may_name_its_interface() {
    let mut topology = with_second_link();
    add_route(&mut topology, CLIENT, RouteKind::Unicast, "0.0.0.0/0", 3);
    for (index, expected) in
        [(2, "delivered on server"), (3, "leaves client by eth1"), (99, "delivered on server")]
    {
        let sender = Sender { interface: Some(index), ..Sender::of(CLIENT) };
        for source in ["0.0.0.0", "10.1.0.2"] {
            let walk = Walker::new(&topology).walk_from_program(
                sender,
                tuple(UDP, source, "10.2.0.2"),
                FlowPosition::First,
            );
            assert!(sentence(&walk, &topology).starts_with(expected), "{index} {walk:?}");
        }
    }
}

/// `nf_route_table_hook4` in net/netfilter/nft_chain_route.c.
#[test]
fn a_mark_of_a_route_chain_makes_the_kernel_route_again() {
    let mark = |kind| {
        let mut topology = with_second_link();
        let rule_of_mark = RouteRule { mark: Some((7, u32::MAX)), ..RouteRule::default() };
        let rule_of_mark = RouteRule { priority: 1, ipv4: true, table: 100, ..rule_of_mark };
        topology[CLIENT].rules.insert(1, rule_of_mark);
        add_route(&mut topology, CLIENT, RouteKind::Unicast, "0.0.0.0/0", 3);
        topology[CLIENT].routes.last_mut().unwrap().table = 100;
        add_chain(&mut topology, CLIENT, output(kind, [rule().set_mark(7)]));
        topology
    };
    let packet = tuple(UDP, "0.0.0.0", "10.2.0.2");
    assert!(sent(&mark(ChainKind::Route), packet).starts_with("leaves client by eth1"));
    assert!(sent(&mark(ChainKind::Filter), packet).starts_with("delivered on server"));
    // A route chain that changes nothing leaves the route.
    let mut topology = mark(ChainKind::Filter);
    add_chain(&mut topology, CLIENT, output(ChainKind::Route, [rule().accept()]));
    topology[CLIENT].rules[1].mark = None;
    topology[CLIENT].rules[1].from = Some("10.1.0.2/32".parse().unwrap());
    let echo = tuple(ICMP, "0.0.0.0", "10.2.0.2");
    assert!(sent(&topology, echo).starts_with("delivered on server"));
    // Without a route for the mark the program gets an error.
    let mut topology = mark(ChainKind::Route);
    topology[CLIENT].routes.last_mut().unwrap().kind = RouteKind::Blackhole;
    let refused = "refused on client: the route to 10.2.0.2 is of the type blackhole";
    assert_eq!(sent(&topology, packet), refused);
    topology[CLIENT].rules[1].unknown = Some("an attribute".to_owned());
    assert_eq!(sent(&topology, packet), "unknown from here on client: the routing rule 1: an attribute");
}

/// `ip_route_me_harder` in net/ipv4/netfilter.c.
#[test]
fn a_translated_destination_is_routed_again() {
    let translated = |to: &str| {
        let mut topology = with_second_link();
        add_chain(&mut topology, CLIENT, output(ChainKind::Nat, [dnat(rule(), to)]));
        topology
    };
    let packet = tuple(UDP, "0.0.0.0", "192.0.2.1");
    assert!(sent(&translated("10.2.0.2"), packet).starts_with("delivered on server"));
    assert!(sent(&translated("10.3.0.9"), packet).starts_with("leaves client by eth1 for 10.3.0.9"));
    // A destination that stays is not routed again: the route of the query without a source is kept.
    let mut topology = translated("10.2.0.2");
    let from = Some("10.1.0.2/32".parse().unwrap());
    topology[CLIENT]
        .rules
        .insert(1, RouteRule { priority: 1, ipv4: true, table: 100, from, ..RouteRule::default() });
    add_route(&mut topology, CLIENT, RouteKind::Unicast, "0.0.0.0/0", 3);
    topology[CLIENT].routes.last_mut().unwrap().table = 100;
    assert!(sent(&topology, tuple(ICMP, "0.0.0.0", "10.2.0.2")).starts_with("delivered on server"));
    assert!(sent(&topology, tuple(ICMP, "0.0.0.0", "192.0.2.1")).starts_with("leaves client by eth1"));

    let mut topology = translated("203.0.113.1");
    filter(&mut topology, CLIENT, Hook::Output, [rule().comment("later").set_mark(1)]);
    for (kind, interface) in [(RouteKind::Blackhole, 0), (RouteKind::Unreachable, 3)] {
        add_route(&mut topology, CLIENT, kind, "203.0.113.0/24", interface);
        // The error ends the packet before later chains.
        let walk = Walker::new(&topology).walk_from_program(Sender::of(CLIENT), packet, FlowPosition::First);
        assert!(comments(&walk, &topology, CLIENT).is_empty(), "{walk:?}");
        let refused = format!("refused on client: the route to 203.0.113.1 is of the type {}", kind.name());
        assert_eq!(sent(&topology, packet), refused);
        topology[CLIENT].routes.pop();
    }
    let to = Some("203.0.113.1/32".parse().unwrap());
    let rule = RouteRule { ipv4: true, to, unknown: Some("an attribute".to_owned()), ..RouteRule::default() };
    topology[CLIENT].rules.insert(0, rule);
    assert_eq!(sent(&topology, packet), "unknown from here on client: the routing rule 0: an attribute");
    topology[CLIENT].rules.clear();
    topology[CLIENT].rules.push(RouteRule { ipv4: true, table: 254, ..RouteRule::default() });
    topology[CLIENT].routes.retain(|route| route.destination.prefix_len() != 0);
    add_route(&mut topology, CLIENT, RouteKind::Unicast, "192.0.2.0/24", 3);
    assert_eq!(sent(&topology, packet), "refused on client: there is no route to 203.0.113.1");
}

/// RFC 1122, 3.2.1.3: 127/8 does not leave a host.
#[test]
fn a_loopback_source_leaves_only_by_an_interface_that_allows_it() {
    let mut topology = routed();
    add_chain(&mut topology, CLIENT, output(ChainKind::Nat, [dnat(rule(), "10.2.0.2")]));
    let lost =
        "lost on client: its source 127.0.0.1 may not leave by eth0: net.ipv4.conf.eth0.route_localnet is 0";
    assert_eq!(sent(&topology, tuple(UDP, "0.0.0.0", "127.0.0.1")), lost);
    assert_eq!(sent(&topology, tuple(UDP, "127.0.0.1", "10.2.0.2")), lost);
    let walk = Walker::new(&topology).walk_from_program(
        Sender::of(CLIENT),
        tuple(UDP, "0.0.0.0", "127.0.0.1"),
        FlowPosition::First,
    );
    let routes = texts(&walk, &topology, CLIENT, StepKind::Route);
    assert!(routes.last().is_some_and(|route| route.starts_with("default via 10.1.0.1")), "{routes:?}");
    topology[CLIENT].interfaces[1].route_localnet = true;
    // The router does not answer an ARP request from 127.0.0.1.
    assert_eq!(
        sent(&topology, tuple(UDP, "0.0.0.0", "127.0.0.1")),
        "lost on client: no neighbor on eth0 has 10.1.0.1"
    );
    let mut topology = routed();
    listen(&mut topology[CLIENT], UDP, "::", 80);
    assert!(sent(&topology, tuple(UDP, "127.0.0.1", "127.0.0.1")).starts_with("delivered on client"));
}

#[test]
fn only_replies_to_packets_that_were_sent_go_to_the_program() {
    let topology = routed();
    let to_server = tuple(UDP, "10.1.0.2", "10.2.0.2");
    for (position, owner) in [
        (FlowPosition::First, "the program that asked"),
        (FlowPosition::Established, "the program that asked"),
        (FlowPosition::Reply, ""),
    ] {
        let mut walker = Walker::new(&topology);
        walker.walk_from_program(Sender::of(CLIENT), to_server, position);
        let reply = walker.walk_from_program(Sender::of(SERVER), to_server.reversed(), FlowPosition::Reply);
        match &reply.end {
            End::Delivered { owner: found, .. } => assert_eq!(found, owner),
            end => assert!(owner.is_empty() && matches!(end, End::NoListener { .. }), "{end:?}"),
        }
    }
    // Flows and sent packets are not those of another walker.
    let mut walker = Walker::new(&topology);
    walker.walk_from_program(Sender::of(CLIENT), to_server, FlowPosition::First);
    let mut other = walker.without_flows();
    let reply = other.walk_from_program(Sender::of(SERVER), to_server.reversed(), FlowPosition::Reply);
    assert!(matches!(reply.end, End::NoListener { .. }), "{reply:?}");
}

/// The rules of the first connection see no user; those of the proxy's own connection see the proxy's.
#[test]
fn the_connection_of_the_proxy_is_of_its_user() {
    let mut topology = routed();
    listen(&mut topology[ROUTER], TCP, "::", 8080);
    topology[ROUTER].listeners[0].proxy = Some("10.2.0.2:80".parse().unwrap());
    filter(&mut topology, ROUTER, Hook::Output, [rule().socket_user(7).comment("of the proxy").accept()]);
    let tuple = crate::Tuple { destination_port: 8080, ..tuple(TCP, "0.0.0.0", "10.1.0.1") };
    let ask = |user| crate::walk_connection(&topology, crate::Origin::Local(CLIENT), tuple, Proxy { user });
    for (user, matched) in [(Some(7), vec!["of the proxy"]), (Some(8), vec![]), (None, vec![])] {
        let connection = ask(user);
        assert_eq!(connection.outcome(), Outcome::Answered(address("10.2.0.1")));
        let second = connection.proxied.unwrap();
        assert_eq!(comments(&second.first, &topology, ROUTER), matched);
        assert!(comments(&connection.reply.unwrap(), &topology, ROUTER).is_empty());
    }
    let same = ask_with(&topology, tuple);
    assert_eq!(same.outcome(), Outcome::Answered(address("10.2.0.1")));
}
