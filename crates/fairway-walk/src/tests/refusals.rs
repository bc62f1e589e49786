//! ICMP errors and TCP resets to the sender of a packet.

use super::routed::{
    CLIENT, ROUTER, SERVER, add_chain, add_route, ask, ask_with, comments, filter, header, icmp_errors,
    routed, sentence, texts,
};
use super::{ICMP, ICMPV6, TCP, UDP, address, tuple};
use crate::{End, Outcome, RouteKind, StepKind, Topology, Walker};
use crate::{FlowPosition, Sender};
use fairway_ruleset::{
    Chain, ChainKind, CtDirection, CtState, Expression, Hook, Load, PayloadBase, Reject, RuleBuilder, rule,
};

/// The type and code of the ICMP error that the client gets, with its source; empty without one.
fn error(topology: &Topology, protocol: u8, to: &str) -> String {
    let mut topology = topology.clone();
    filter(&mut topology, CLIENT, Hook::Input, icmp_errors());
    let connection = ask(&topology, protocol, to);
    let Some(reply) = &connection.reply else { return String::new() };
    let End::Delivered { tuple, owner, .. } = &reply.end else { panic!("{reply:?}") };
    assert_eq!(owner, "the program that asked");
    format!("{} from {}", comments(reply, &topology, CLIENT).join(" "), tuple.source)
}

#[test]
fn routes_that_forward_nothing_send_an_error_of_their_kind() {
    for (kind, ipv4, ipv6) in [
        (Some(RouteKind::Unreachable), "3/1 from 10.1.0.1", "1/0 from fd01::1"),
        (Some(RouteKind::Prohibit), "3/13 from 10.1.0.1", "1/1 from fd01::1"),
        (Some(RouteKind::Throw), "3/0 from 10.1.0.1", "1/0 from fd01::1"),
        (None, "3/0 from 10.1.0.1", "1/0 from fd01::1"),
        (Some(RouteKind::Blackhole), "", ""),
    ] {
        let mut topology = routed();
        for destination in ["192.0.2.0/24", "2001:db8::/64"] {
            if let Some(kind) = kind {
                add_route(&mut topology, ROUTER, kind, destination, 0);
            }
        }
        for (destination, expected) in [("192.0.2.1", ipv4), ("2001:db8::1", ipv6)] {
            assert_eq!(error(&topology, UDP, destination), expected, "{kind:?} {destination}");
            let connection = ask(&topology, TCP, destination);
            if expected.is_empty() {
                assert_eq!(sentence(&connection.first, &topology), "lost on router: a blackhole route");
                assert_eq!(connection.outcome(), Outcome::NoReply);
            } else {
                let why = match kind.filter(|kind| kind.refuses()) {
                    Some(kind) => format!("the route to {destination} is of the type {}", kind.name()),
                    None => format!("there is no route to {destination}"),
                };
                assert_eq!(sentence(&connection.first, &topology), format!("refused on router: {why}"));
                assert_eq!(connection.outcome(), Outcome::Unreachable);
            }
        }
    }
}

#[test]
fn a_port_without_a_listener_sends_an_error_or_a_reset() {
    let mut topology = routed();
    topology[SERVER].listeners.clear();
    assert_eq!(error(&topology, UDP, "10.2.0.2"), "3/3 from 10.2.0.2");
    assert_eq!(error(&topology, UDP, "fd02::2"), "1/4 from fd02::2");
    for to in ["10.2.0.2", "fd02::2"] {
        let connection = ask(&topology, TCP, to);
        assert_eq!(connection.outcome(), Outcome::Refused);
        let End::Delivered { tuple, .. } = connection.reply.unwrap().end else { panic!("no reset") };
        assert_eq!((tuple.protocol, tuple.source, tuple.source_port), (TCP, address(to), 80));
    }
}

/// `NFT_REJECT_ICMPX_*`: no route, port, host, prohibited; and codes of one family, and resets.
#[test]
fn a_rule_that_rejects_sends_the_error_that_it_names() {
    let cases = [
        (Reject::AnyUnreachable(0), "3/0", "1/0", Outcome::Unreachable),
        (Reject::AnyUnreachable(1), "3/3", "1/4", Outcome::Refused),
        (Reject::AnyUnreachable(2), "3/1", "1/3", Outcome::Unreachable),
        (Reject::AnyUnreachable(3), "3/13", "1/1", Outcome::Unreachable),
        (Reject::Unreachable(9), "3/9", "1/9", Outcome::Unreachable),
        (Reject::Unreachable(0), "3/0", "1/0", Outcome::Unreachable),
    ];
    for (how, ipv4, ipv6, outcome) in cases {
        for (namespace, hook, own) in [(ROUTER, Hook::Forward, "1"), (SERVER, Hook::Input, "2")] {
            let mut topology = routed();
            filter(&mut topology, namespace, hook, [rule().expression(Expression::Reject(how))]);
            let net = if own == "1" { "1" } else { "2" };
            assert_eq!(error(&topology, TCP, "10.2.0.2"), format!("{ipv4} from 10.{net}.0.{own}"), "{how:?}");
            assert_eq!(error(&topology, UDP, "fd02::2"), format!("{ipv6} from fd0{net}::{own}"), "{how:?}");
            assert_eq!(ask(&topology, TCP, "10.2.0.2").outcome(), outcome, "{how:?}");
        }
    }
    for namespace in [ROUTER, SERVER] {
        let hook = if namespace == ROUTER { Hook::Forward } else { Hook::Input };
        let mut topology = routed();
        filter(&mut topology, namespace, hook, [rule().expression(Expression::Reject(Reject::TcpReset))]);
        for to in ["10.2.0.2", "fd02::2"] {
            let connection = ask(&topology, TCP, to);
            let End::Delivered { tuple, .. } = connection.reply.as_ref().unwrap().end else { panic!() };
            assert_eq!((tuple.protocol, tuple.source, tuple.source_port), (TCP, address(to), 80));
            assert_eq!(connection.outcome(), Outcome::Refused);
        }
    }
}

/// RFC 1122, 3.2.2: no error is sent about an error. A reset is not answered by a reset.
#[test]
fn refusals_are_not_refused_again() {
    let reset = Expression::Reject(Reject::TcpReset);
    let prohibited = Expression::Reject(Reject::AnyUnreachable(3));
    let with_flag = |flag: u8| rule().is(Load::TRANSPORT, [TCP]).is_masked(Load::TCP_FLAGS, [flag], [flag]);
    for (rejects, protocol, refusal) in [
        // The server's reset is rejected by the router.
        (with_flag(0x04).expression(reset.clone()), TCP, false),
        (with_flag(0x04).expression(prohibited.clone()), TCP, true),
        // The server's ICMP error about UDP.
        (rule().is(Load::TRANSPORT, [ICMP]).expression(prohibited), UDP, false),
    ] {
        let mut topology = routed();
        topology[SERVER].listeners.clear();
        filter(&mut topology, ROUTER, Hook::Forward, [rejects.clone()]);
        let connection = ask(&topology, protocol, "10.2.0.2");
        let reply = connection.reply.unwrap();
        assert!(matches!(reply.end, End::Rejected { .. }), "{reply:?}");
        assert_eq!(connection.refusal.is_some(), refusal, "{rejects:?}");
    }
    // A reply that is no reset is answered by one.
    let mut topology = routed();
    filter(&mut topology, ROUTER, Hook::Forward, [with_flag(0x12).expression(reset)]);
    let connection = ask(&topology, TCP, "10.2.0.2");
    let refusal = connection.refusal.unwrap();
    assert!(refusal.steps.iter().any(|step| step.namespace() == SERVER), "{refusal:?}");
}

/// The kernel sends itself no error about its own echo reply (`icmp_xmit_lock`).
#[test]
fn a_rejected_echo_reply_is_not_answered() {
    for (protocol, to) in [(ICMP, "10.2.0.2"), (ICMPV6, "fd02::2")] {
        for (hook, refusal) in [(Hook::Output, false), (Hook::Postrouting, true)] {
            let mut topology = routed();
            filter(&mut topology, SERVER, hook, [rule().reject()]);
            let connection = ask(&topology, protocol, to);
            assert!(matches!(connection.first.end, End::Delivered { .. }));
            assert!(matches!(connection.reply.unwrap().end, End::Rejected { .. }));
            assert_eq!(connection.refusal.is_some(), refusal, "{hook}");
        }
        let mut topology = routed();
        filter(&mut topology, CLIENT, Hook::Output, [rule().reject()]);
        let connection = ask(&topology, protocol, to);
        assert!(connection.reply.is_some(), "the program that sends an echo request gets the error");
    }
}

/// `nf_ct_attach`: the refusal is related to the flow of the packet, in the other direction.
#[test]
fn a_refusal_is_related_to_the_flow_of_the_refused_packet() {
    let directions = || -> Vec<RuleBuilder> {
        [CtDirection::Original, CtDirection::Reply]
            .map(|direction| {
                let related = rule().ct_state_any(&[CtState::Related]).ct_direction(direction);
                related.comment(direction.to_string()).accept()
            })
            .into()
    };
    for (to, protocol) in [("10.2.0.2", TCP), ("fd02::2", UDP)] {
        let mut topology = routed();
        filter(&mut topology, SERVER, Hook::Input, [rule().reject()]);
        filter(&mut topology, SERVER, Hook::Output, directions());
        let connection = ask(&topology, protocol, to);
        assert_eq!(comments(connection.reply.as_ref().unwrap(), &topology, SERVER), ["reply"]);
        // The client refuses the reply.
        let mut topology = routed();
        filter(&mut topology, CLIENT, Hook::Input, [rule().reject()]);
        filter(&mut topology, CLIENT, Hook::Output, directions());
        let connection = ask(&topology, protocol, to);
        assert_eq!(comments(connection.refusal.as_ref().unwrap(), &topology, CLIENT), ["original"]);
    }
}

/// RFC 4291, 2.5.6.
#[test]
fn a_packet_from_a_link_local_address_is_beyond_its_scope() {
    let mut topology = routed();
    for (namespace, own) in [(ROUTER, "fe80::1"), (CLIENT, "fe80::2")] {
        let net = format!("{own}/64").parse().unwrap();
        topology[namespace].interfaces[1].addresses.push(net);
        add_route(&mut topology, namespace, RouteKind::Unicast, "fe80::/64", 2);
        add_route(&mut topology, namespace, RouteKind::Local, &format!("{own}/128"), 2);
        topology[namespace].routes.last_mut().unwrap().table = 255;
    }
    filter(&mut topology, CLIENT, Hook::Input, icmp_errors());
    let connection = ask_with(&topology, tuple(UDP, "fe80::2", "fd02::2"));
    assert_eq!(
        sentence(&connection.first, &topology),
        "lost on router: its source fe80::2 is link-local, and such packets are not forwarded"
    );
    let reply = connection.reply.unwrap();
    assert_eq!(comments(&reply, &topology, CLIENT), ["1/2"]);
    let End::Delivered { tuple, .. } = reply.end else { panic!("{reply:?}") };
    assert_eq!(tuple.source, address("fe80::1"));
}

/// `icmp6_send` in net/ipv6/icmp.c: an address of the interface where the packet arrived, if it has one.
#[test]
fn an_ipv6_error_comes_from_the_interface_where_the_packet_arrived() {
    let source = |addresses: &[&str]| {
        let mut topology = routed();
        let eth0 = &mut topology[ROUTER].interfaces[1];
        eth0.addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        // The way back leads by the other interface's address.
        let route = topology[ROUTER].routes.iter_mut().find(|it| it.destination.to_string() == "fd01::/64");
        route.unwrap().source = Some(address("fd02::1"));
        let mut walker = Walker::new(&topology);
        walker.arrives(ROUTER, 2, tuple(UDP, "fd01::2", "2001:db8::1"), FlowPosition::First);
        let error = walker.refusal().unwrap();
        let made = texts(&error, &topology, ROUTER, StepKind::Program).remove(0);
        made.split(' ').nth(2).unwrap().to_owned()
    };
    let own = "10.1.0.1/24";
    assert_eq!(source(&[own, "fe80::1/64", "fd07::1/64", "fd01::1/64"]), "fd01::1");
    assert_eq!(source(&[own, "fe80::1/64", "fd07::1/64", "fd08::1/64"]), "fd07::1");
    assert_eq!(source(&[own, "fe80::1/64"]), "fd02::1");
}

#[test]
fn the_error_quotes_the_packet_and_the_sender_takes_it_as_an_answer() {
    let mut topology = routed();
    // The quoted packet: its destination and its ports.
    let quoted = rule()
        .is(header(PayloadBase::Transport, 8 + 16, 4), [10, 2, 0, 2])
        .is(header(PayloadBase::Transport, 8 + 20, 4), [0x9c, 0x40, 0, 80]);
    filter(
        &mut topology,
        ROUTER,
        Hook::Forward,
        [rule().from_port(fairway_model::Protocol::Udp, 40_000).reject()],
    );
    filter(&mut topology, CLIENT, Hook::Input, [quoted.comment("quoted").accept()]);
    let connection = ask(&topology, UDP, "10.2.0.2");
    assert_eq!(comments(&connection.reply.unwrap(), &topology, CLIENT), ["quoted"]);
    // No host sent that packet: the error is lost.
    let mut walker = Walker::new(&topology);
    let walk = walker.arrives(ROUTER, 2, tuple(UDP, "10.1.0.2", "10.2.0.2"), FlowPosition::First);
    assert!(matches!(walk.end, End::Rejected { .. }));
    let refusal = walker.refusal().unwrap();
    assert_eq!(
        sentence(&refusal, &topology),
        "lost on client: it is a reply or an error to no packet that was sent here"
    );
    assert!(walker.refusal().is_none(), "a packet is refused once");
    walker.walk_from_program(Sender::of(CLIENT), tuple(UDP, "10.1.0.2", "10.2.0.2"), FlowPosition::First);
    walker.walk_from_program(Sender::of(CLIENT), tuple(UDP, "10.1.0.2", "10.1.0.2"), FlowPosition::Reply);
    assert!(walker.refusal().is_some(), "the last packet was refused by its own host");
}

#[test]
fn without_an_address_or_a_route_back_no_error_is_sent() {
    let mut topology = routed();
    topology[ROUTER].routes.retain(|route| route.destination.to_string() != "10.1.0.0/24");
    let connection = ask(&topology, UDP, "192.0.2.1");
    assert_eq!(
        sentence(&connection.reply.unwrap(), &topology),
        "refused on router: there is no route to 10.1.0.2"
    );
    let mut topology = routed();
    for interface in &mut topology[ROUTER].interfaces[1..] {
        interface.addresses.clear();
    }
    let prerouting = Chain::base("raw", ChainKind::Filter, Hook::Prerouting, 0);
    add_chain(&mut topology, ROUTER, prerouting.with([rule().reject()]));
    topology[ROUTER].routes.iter_mut().for_each(|route| route.source = None);
    let mut walker = Walker::new(&topology);
    walker.arrives(ROUTER, 2, tuple(UDP, "10.1.0.2", "10.2.0.2"), FlowPosition::First);
    let refusal = walker.refusal().unwrap();
    assert_eq!(sentence(&refusal, &topology), "lost on router: it has no address to send from");
}
