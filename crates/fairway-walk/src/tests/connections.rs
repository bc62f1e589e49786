//! Connections: the walks of their packets, and the outcome that follows from the ends.

use super::routed::{
    CLIENT, ROUTER, SERVER, add_chain, add_route, ask, ask_with, filter, interface, listen, routed, sentence,
};
use super::{TCP, UDP, address, tuple};
use crate::{
    ConnectionWalk, DiscardReason, End, NamespaceId, Origin, Outcome, PacketWalk, Proxy, RouteKind, RuleHit,
    Topology, Tuple, add_interface, walk_connection,
};
use fairway_ruleset::{Chain, ChainKind, Hook, Load, Reject, rule};

fn walk(end: End) -> PacketWalk {
    PacketWalk { steps: Vec::new(), counted: Vec::new(), end }
}

fn delivered(protocol: u8) -> End {
    let tuple = tuple(protocol, "10.1.0.2", "10.2.0.2");
    End::Delivered { namespace: SERVER, owner: "a server".to_owned(), tuple, proxy: None }
}

fn leaves() -> End {
    End::Leaves {
        namespace: ROUTER,
        interface: "eth0".to_owned(),
        next: address("10.1.0.2"),
        tuple: tuple(TCP, "10.2.0.2", "10.1.0.2"),
    }
}

fn hit() -> Box<RuleHit> {
    Box::new(super::records::hit("drop"))
}

fn dropped() -> End {
    End::Dropped { namespace: ROUTER, by: hit() }
}

fn rejected(how: Reject) -> End {
    End::Rejected { namespace: ROUTER, by: hit(), how }
}

fn unknown() -> End {
    End::Unknown { namespace: ROUTER, reason: "a reason".to_owned() }
}

fn no_route() -> End {
    End::NoRoute { namespace: ROUTER, destination: address("10.2.0.2"), by: None }
}

fn no_listener() -> End {
    End::NoListener { namespace: SERVER, tuple: tuple(TCP, "10.1.0.2", "10.2.0.2") }
}

fn lost() -> End {
    End::Discarded { namespace: ROUTER, reason: DiscardReason::Blackhole }
}

fn connection(first: End, reply: Option<End>) -> ConnectionWalk {
    ConnectionWalk {
        first: walk(first),
        reply: reply.map(walk),
        established: None,
        next_reply: None,
        refusal: None,
        proxied: None,
    }
}

const CLIENT_ADDRESS: &str = "10.1.0.2";

#[test]
fn the_outcome_follows_from_first_packet_and_reply() {
    let answered = Outcome::Answered(address(CLIENT_ADDRESS));
    let (port, host) = (Reject::AnyUnreachable(1), Reject::AnyUnreachable(2));
    for (first, reply, outcome) in [
        (delivered(TCP), Some(delivered(TCP)), answered.clone()),
        (delivered(UDP), Some(leaves()), answered.clone()),
        (delivered(TCP), Some(dropped()), Outcome::NoReply),
        (delivered(TCP), Some(unknown()), Outcome::Unknown),
        (delivered(UDP), None, Outcome::NoReply),
        (unknown(), None, Outcome::Unknown),
        (no_listener(), Some(delivered(TCP)), Outcome::Refused),
        (no_listener(), Some(dropped()), Outcome::NoReply),
        (no_listener(), Some(unknown()), Outcome::Unknown),
        (no_listener(), None, Outcome::NoReply),
        (rejected(Reject::TcpReset), Some(delivered(TCP)), Outcome::Refused),
        (rejected(port), Some(delivered(TCP)), Outcome::Refused),
        (rejected(port), None, Outcome::NoReply),
        (rejected(host), Some(delivered(TCP)), Outcome::Unreachable),
        (rejected(host), Some(dropped()), Outcome::NoReply),
        (no_route(), Some(delivered(TCP)), Outcome::Unreachable),
        (no_route(), Some(dropped()), Outcome::NoReply),
        (no_route(), None, Outcome::Unreachable),
        (lost(), Some(delivered(TCP)), Outcome::Unreachable),
        (lost(), None, Outcome::NoReply),
        (dropped(), None, Outcome::NoReply),
        (leaves(), None, Outcome::LeavesHost),
    ] {
        let connection = connection(first, reply);
        assert_eq!(connection.outcome(), outcome, "{connection:?}");
    }
}

/// A connection of TCP is established before its data flow.
#[test]
fn a_later_packet_of_tcp_that_does_not_arrive_decides() {
    let answered = Outcome::Answered(address(CLIENT_ADDRESS));
    for (later, outcome) in [
        (delivered(TCP), answered.clone()),
        (leaves(), answered.clone()),
        (dropped(), Outcome::NoReply),
        (unknown(), Outcome::Unknown),
        (rejected(Reject::TcpReset), Outcome::Closed),
        (rejected(Reject::AnyUnreachable(1)), Outcome::NoReply),
    ] {
        for is_reply in [false, true] {
            let of = |protocol, reply| {
                let mut connection = connection(delivered(protocol), Some(reply));
                let place = if is_reply { &mut connection.next_reply } else { &mut connection.established };
                *place = Some(walk(later.clone()));
                connection
            };
            let tcp = of(TCP, delivered(TCP));
            assert_eq!(tcp.outcome(), outcome, "{later:?}");
            let decided = if outcome == answered { &delivered(TCP) } else { &later };
            assert_eq!(tcp.last_end(), decided);
            // A datagram says nothing about those after it.
            let udp = of(UDP, delivered(UDP));
            assert_eq!(udp.outcome(), answered, "{later:?}");
            assert_eq!(udp.last_end(), &delivered(UDP));
            assert_eq!(of(TCP, dropped()).outcome(), Outcome::NoReply);
        }
    }
}

#[test]
fn the_connection_of_the_proxy_decides() {
    let answered = Outcome::Answered(address(CLIENT_ADDRESS));
    for (second, over_tcp, over_udp) in [
        (connection(delivered(TCP), Some(delivered(TCP))), answered.clone(), answered.clone()),
        (connection(no_listener(), Some(delivered(TCP))), Outcome::Closed, Outcome::NoReply),
        (connection(no_route(), None), Outcome::Closed, Outcome::NoReply),
        (connection(dropped(), None), Outcome::NoReply, Outcome::NoReply),
        (connection(unknown(), None), Outcome::Unknown, Outcome::Unknown),
    ] {
        for (protocol, outcome) in [(TCP, over_tcp), (UDP, over_udp)] {
            for (reply, outcome) in [
                (Some(delivered(protocol)), outcome.clone()),
                (Some(dropped()), if outcome == answered { Outcome::NoReply } else { outcome.clone() }),
            ] {
                let mut first = connection(delivered(protocol), reply);
                first.proxied = Some(Box::new(second.clone()));
                assert_eq!(first.outcome(), outcome, "{first:?}");
                assert_eq!(first.last_end(), second.last_end());
            }
        }
    }
}

#[test]
fn the_sentence_names_the_end_that_decided() {
    let topology = routed();
    let closed = || {
        let mut closed = connection(delivered(TCP), Some(delivered(TCP)));
        closed.established = Some(walk(rejected(Reject::TcpReset)));
        closed
    };
    for (connection, expected) in [
        (connection(delivered(TCP), Some(leaves())), "It is answered; the server sees 10.1.0.2."),
        (connection(leaves(), None), "Leaves the host; the reply cannot be predicted."),
        (connection(unknown(), None), "Not known: unknown from here on router: a reason."),
        (connection(delivered(TCP), Some(dropped())), "No answer: dropped on router by inet mine in: drop."),
        (connection(dropped(), None), "No answer: dropped on router by inet mine in: drop."),
        (
            closed(),
            "Accepted by the proxy, and closed again: refused on router by inet mine in: drop: its sender gets a \
             TCP reset.",
        ),
        (
            connection(no_listener(), Some(delivered(TCP))),
            "Refused: no socket on server listens at 10.2.0.2:80.",
        ),
        (connection(no_route(), None), "Refused on router: there is no route to 10.2.0.2."),
        // The reply to an error that is lost is what decides.
        (connection(no_listener(), Some(lost())), "No answer: lost on router: a blackhole route."),
    ] {
        assert_eq!(connection.sentence(&topology), expected);
    }
}

#[test]
fn the_walks_have_titles_in_order() {
    let titles = |connection: &ConnectionWalk| -> Vec<String> {
        connection.records(&routed()).into_iter().map(|record| record.title).collect()
    };
    let mut full = connection(delivered(TCP), Some(delivered(TCP)));
    full.established = Some(walk(delivered(TCP)));
    full.next_reply = Some(walk(delivered(TCP)));
    full.refusal = Some(walk(delivered(TCP)));
    full.proxied = Some(Box::new(connection(delivered(TCP), Some(delivered(TCP)))));
    assert_eq!(
        titles(&full),
        [
            "the first packet",
            "the first packet of the proxy's connection",
            "the reply of the proxy's connection",
            "the reply",
            "a later packet",
            "a later reply",
            "the error about the reply",
        ]
    );
    assert_eq!(
        titles(&connection(no_route(), Some(delivered(TCP)))),
        ["the first packet", "the error reply"]
    );
    assert_eq!(titles(&connection(dropped(), None)), ["the first packet"]);
}

#[test]
fn owners_of_sockets_are_named_later() {
    let socket = |owner: &str| {
        let End::Delivered { namespace, tuple, proxy, .. } = delivered(TCP) else { unreachable!() };
        End::Delivered { namespace, owner: owner.to_owned(), tuple, proxy }
    };
    let named = |owner: &str| {
        let mut first = connection(socket(owner), Some(socket("the socket 9")));
        first.established = Some(walk(socket(owner)));
        let mut second = connection(delivered(TCP), None);
        second.first.end = socket(owner);
        first.proxied = Some(Box::new(second));
        let mut asked = 0;
        first.name_owners(&mut |namespace, tuple| {
            asked += 1;
            assert_eq!((namespace, tuple.destination_port), (SERVER, 80));
            (owner != "the socket 8").then(|| "nginx".to_owned())
        });
        let owner = |end: &End| match end {
            End::Delivered { owner, .. } => owner.clone(),
            end => panic!("{end:?}"),
        };
        let ends = [&first.first.end, &first.established.unwrap().end, &first.proxied.unwrap().first.end];
        (ends.map(owner), owner(&first.reply.unwrap().end), asked)
    };
    let of_all = |owner: &str| [0; 3].map(|_| owner.to_owned());
    assert_eq!(named("the socket 7"), (of_all("nginx"), "the socket 9".to_owned(), 3));
    assert_eq!(named("the socket 8"), (of_all("the socket 8"), "the socket 9".to_owned(), 3));
    assert_eq!(named("a server"), (of_all("a server"), "the socket 9".to_owned(), 0));
    // The socket of a proxy is known.
    let mut proxy = connection(socket("the socket 7"), None);
    let End::Delivered { proxy: target, .. } = &mut proxy.first.end else { unreachable!() };
    *target = Some("10.2.0.2:80".parse().unwrap());
    proxy.name_owners(&mut |_, _| panic!("the owner is known"));
}

/// The router's proxy of port 8080, for the server's port 80.
fn proxied(protocol: u8) -> Topology {
    let mut topology = routed();
    listen(&mut topology[ROUTER], protocol, "::", 8080);
    topology[ROUTER].listeners[0].proxy = Some("10.2.0.2:80".parse().unwrap());
    topology
}

fn ask_proxy(topology: &Topology, protocol: u8) -> ConnectionWalk {
    ask_with(topology, Tuple { destination_port: 8080, ..tuple(protocol, "0.0.0.0", "10.1.0.1") })
}

/// TCP is accepted before the proxy connects; of UDP a reply exists when the target has sent one.
#[test]
fn the_proxy_connects_to_its_target_from_another_port() {
    for protocol in [TCP, UDP] {
        let topology = proxied(protocol);
        let connection = ask_proxy(&topology, protocol);
        assert_eq!(connection.outcome(), Outcome::Answered(address("10.2.0.1")));
        let End::Delivered { tuple, .. } = connection.proxied.as_ref().unwrap().first.end else { panic!() };
        assert_eq!((tuple.source_port, tuple.destination_port, tuple.protocol), (40_001, 80, protocol));
        let mut silent = proxied(protocol);
        silent[SERVER].listeners.clear();
        let connection = ask_proxy(&silent, protocol);
        let outcome = if protocol == TCP { Outcome::Closed } else { Outcome::NoReply };
        assert_eq!(connection.outcome(), outcome);
        assert_eq!(connection.reply.is_some(), protocol == TCP);
    }
    let topology = proxied(TCP);
    for (from, port) in [(u16::MAX, 1024), (80, 1024), (1024, 1025)] {
        let tuple = Tuple { source_port: from, destination_port: 8080, ..tuple(TCP, "0.0.0.0", "10.1.0.1") };
        let second = ask_with(&topology, tuple).proxied.unwrap();
        let End::Delivered { tuple, .. } = second.first.end else { panic!() };
        assert_eq!(tuple.source_port, port);
    }
    let mut ipv6 = proxied(TCP);
    ipv6[ROUTER].listeners[0].proxy = Some("[fd02::2]:80".parse().unwrap());
    assert_eq!(ask_proxy(&ipv6, TCP).outcome(), Outcome::Answered(address("fd02::1")));
}

/// A connection that is not established does not reach the proxy's program.
#[test]
fn the_proxy_does_not_connect_for_a_client_that_hears_nothing() {
    let mut topology = proxied(TCP);
    filter(&mut topology, CLIENT, Hook::Input, [rule().drop()]);
    let connection = ask_proxy(&topology, TCP);
    assert!(connection.proxied.is_none() && connection.established.is_none());
    assert_eq!(connection.outcome(), Outcome::NoReply);
    // The second packet of the client is dropped.
    let mut topology = proxied(TCP);
    let later = rule().is(Load::TRANSPORT, [TCP]).is_masked(Load::TCP_FLAGS, [0x12], [0x10]);
    filter(&mut topology, ROUTER, Hook::Input, [later.drop()]);
    let connection = ask_proxy(&topology, TCP);
    assert!(connection.established.is_some() && connection.proxied.is_none());
    assert_eq!(connection.outcome(), Outcome::NoReply);
}

/// Where conntrack did not see all packets, the server's next packet may be new or invalid.
#[test]
fn a_later_reply_is_walked_where_conntrack_missed_packets() {
    let tracked = |rules: Vec<fairway_ruleset::RuleBuilder>| {
        let mut topology = routed();
        let raw = Chain::base("raw", ChainKind::Filter, Hook::Prerouting, -300);
        add_chain(&mut topology, ROUTER, raw.with(rules));
        filter(&mut topology, ROUTER, Hook::Forward, [rule().ct_state_any(&[fairway_ruleset::CtState::New])]);
        topology
    };
    let from_client = || rule().from_port(fairway_model::Protocol::Tcp, 40_000);
    let connection = ask(&tracked(vec![]), TCP, "10.2.0.2");
    assert!(connection.next_reply.is_none() && connection.established.is_some());
    let connection = ask(&tracked(vec![from_client().notrack()]), TCP, "10.2.0.2");
    assert!(connection.next_reply.is_some());
    let udp = rule().from_port(fairway_model::Protocol::Udp, 40_000).notrack();
    let connection = ask(&tracked(vec![udp]), UDP, "10.2.0.2");
    assert!(connection.next_reply.is_none());
    // An invalid packet counts as well: the reply to a segment that bypassed conntrack.
    let mut topology = tracked(vec![from_client().notrack()]);
    filter(
        &mut topology,
        ROUTER,
        Hook::Forward,
        [rule().ct_state_any(&[fairway_ruleset::CtState::Invalid]).drop()],
    );
    let connection = ask(&topology, TCP, "10.2.0.2");
    assert_eq!(connection.outcome(), Outcome::NoReply);
}

/// The client has a way to the server through the router, and a second link by which the router replies.
fn with_another_way_back() -> Topology {
    let mut topology = routed();
    add_interface(&mut topology[ROUTER], interface(ROUTER, 4, "eth2", &["10.3.0.1/24"]));
    add_route(&mut topology, ROUTER, RouteKind::Unicast, "10.1.0.2/32", 4);
    topology
}

#[test]
fn a_reply_that_leaves_by_another_interface_does_not_come_back() {
    let topology = with_another_way_back();
    let local = ask(&topology, UDP, "10.2.0.2");
    assert_eq!(local.outcome(), Outcome::NoReply);
    let astray = "lost on router: the reply leaves by eth2 for 10.1.0.2, which does not lead to client";
    assert_eq!(sentence(local.reply.as_ref().unwrap(), &topology), astray);
    // The same for an error.
    let refused = ask(&topology, UDP, "10.2.0.9");
    assert!(refused.reply.is_none());
    let refused = ask(&topology, UDP, "192.0.2.1");
    assert_eq!(sentence(refused.reply.as_ref().unwrap(), &topology), astray);
    assert_eq!(refused.outcome(), Outcome::NoReply);
    // A host outside may hear it there.
    let mut topology = topology;
    topology[ROUTER].interfaces[1].peer = None;
    let remote = |topology: &Topology| {
        let tuple = tuple(UDP, "10.1.0.2", "10.2.0.2");
        walk_connection(topology, Origin::Remote(ROUTER, 2), tuple, Proxy::default())
    };
    let connection = remote(&topology);
    assert_eq!(connection.outcome(), Outcome::Unknown);
    assert_eq!(
        sentence(connection.reply.as_ref().unwrap(), &topology),
        "unknown from here on router: the reply leaves by eth2 for 10.1.0.2, not by eth0, where the request \
         arrived: whether the reply arrives is not known"
    );
    topology[ROUTER].routes.pop();
    assert_eq!(remote(&topology).outcome(), Outcome::Answered(address("10.1.0.2")));
}

#[test]
fn the_error_about_a_reply_is_walked() {
    let mut topology = routed();
    filter(&mut topology, CLIENT, Hook::Input, [rule().reject()]);
    let connection = ask(&topology, UDP, "10.2.0.2");
    assert_eq!(connection.outcome(), Outcome::NoReply);
    assert!(connection.refusal.is_some() && connection.established.is_none());
    let plain = ask(&routed(), UDP, "10.2.0.2");
    assert!(plain.refusal.is_none() && plain.established.is_some());
    assert_eq!(plain.first.end.namespace(), NamespaceId(2));
}
