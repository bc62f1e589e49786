//! Conntrack, and the order of chains.

use super::routed::{CLIENT, ROUTER, SERVER, add_chain, ask, ask_with, comments, filter, routed, texts};
use super::{ICMP, TCP, UDP, address, tuple};
use crate::{FlowPosition, Sender, StepKind, Topology, Tuple, Walker};
use fairway_model::Protocol;
use fairway_ruleset::{
    Chain, ChainKind, CtKey, CtState, Expression, Family, Hook, Load, Register, Table, priority, rule,
};

/// The states that conntrack of the router gives to packets, in order.
fn states(topology: &Topology, walker: &mut Walker<'_>, packets: &[(Tuple, FlowPosition)]) -> Vec<String> {
    let mut found = Vec::new();
    for (tuple, position) in packets {
        let interface = if tuple.source == address("10.2.0.2") { 3 } else { 2 };
        let walk = walker.arrives(ROUTER, interface, *tuple, *position);
        found.extend(texts(&walk, topology, ROUTER, StepKind::Conntrack));
    }
    found
}

#[test]
fn conntrack_gives_each_packet_its_state() {
    let mut topology = routed();
    let drops = rule().to_port(Protocol::Udp, 81).drop();
    filter(&mut topology, ROUTER, Hook::Forward, [rule().ct_state_any(&[CtState::Invalid]).drop(), drops]);
    let states = |packets: &[_]| states(&topology, &mut Walker::new(&topology), packets);
    let (udp, tcp) = (tuple(UDP, "10.1.0.2", "10.2.0.2"), tuple(TCP, "10.1.0.2", "10.2.0.2"));
    let (first, reply) = (FlowPosition::First, FlowPosition::Reply);
    assert_eq!(states(&[(udp, first), (udp, first)]), ["new", "established"]);
    assert_eq!(
        states(&[(udp, first), (udp.reversed(), reply), (udp, first)]),
        ["new", "established (an answer)", "established"]
    );
    assert_eq!(states(&[(tcp, reply)]), ["invalid"]);
    assert_eq!(states(&[(tcp, FlowPosition::Reset)]), ["invalid"]);
    assert_eq!(states(&[(tcp, first), (tcp.reversed(), reply)]), ["new", "established (an answer)"]);
    // A flow whose first packet was dropped is forgotten.
    let dropped = Tuple { destination_port: 81, ..udp };
    assert_eq!(states(&[(dropped, first), (dropped, first)]), ["new", "new"]);
    let echo = tuple(ICMP, "10.1.0.2", "10.2.0.2");
    assert_eq!(states(&[(echo, first), (echo.reversed(), reply)]), ["new", "established (an answer)"]);
    assert_eq!(states(&[(echo, reply)]), ["invalid"]);
    // Without rules that need it there is no conntrack.
    let plain = routed();
    assert_eq!(self::states(&plain, &mut Walker::new(&plain), &[(udp, first)]), [""; 0]);
}

#[test]
fn a_flow_is_confirmed_where_its_first_packet_leaves_or_is_delivered() {
    let mut topology = routed();
    for namespace in [ROUTER, SERVER, CLIENT] {
        let chain = Chain::base("track", ChainKind::Nat, Hook::Prerouting, priority::DESTINATION_NAT);
        add_chain(&mut topology, namespace, chain);
    }
    let mut walker = Walker::new(&topology);
    walker.walk_from_program(Sender::of(CLIENT), tuple(UDP, "0.0.0.0", "10.2.0.2"), FlowPosition::First);
    for namespace in [CLIENT, ROUTER, SERVER] {
        let [flow] = walker.flows(namespace) else { panic!("{:?}", walker.flows(namespace)) };
        assert!(flow.confirmed && !flow.answered && !flow.is_translated());
        assert!(flow.source_decided && flow.destination_decided);
    }
    walker.walk_from_program(
        Sender::of(SERVER),
        tuple(UDP, "10.1.0.2", "10.2.0.2").reversed(),
        FlowPosition::Reply,
    );
    assert!(walker.flows(ROUTER)[0].answered);
    assert!(walker.without_flows().flows(ROUTER).is_empty());
    assert!(walker.flows(crate::NamespaceId(9)).is_empty());
    // In the middle of its way it is not.
    filter(&mut topology, ROUTER, Hook::Forward, [rule().drop()]);
    let mut walker = Walker::new(&topology);
    walker.walk_from_program(Sender::of(CLIENT), tuple(UDP, "0.0.0.0", "10.2.0.2"), FlowPosition::First);
    assert!(walker.flows(CLIENT)[0].confirmed && !walker.flows(ROUTER)[0].confirmed);
}

#[test]
fn rules_see_state_direction_and_mark_of_the_flow() {
    let mut topology = routed();
    let ct = |key, value: u32| rule().is(Load::Ct(key, None), value.to_ne_bytes());
    let register = Register::FIRST;
    let set_mark = ct(CtKey::State, CtState::New.number())
        .expression(Expression::Immediate { to: register, value: 9_u32.to_ne_bytes().to_vec() })
        .expression(Expression::CtSet { key: CtKey::Mark, direction: None, from: register });
    let same_chain = ct(CtKey::Mark, 9).comment("mark 9");
    let rules = [set_mark, same_chain.set_mark(1)];
    filter(&mut topology, ROUTER, Hook::Forward, rules);
    let later = ct(CtKey::Mark, 9).comment("mark 9 later").set_mark(2);
    filter(&mut topology, ROUTER, Hook::Postrouting, [later]);
    let connection = ask(&topology, UDP, "10.2.0.2");
    assert_eq!(comments(&connection.first, &topology, ROUTER), ["mark 9", "mark 9 later"]);
    assert_eq!(comments(connection.reply.as_ref().unwrap(), &topology, ROUTER), ["mark 9", "mark 9 later"]);
}

#[test]
fn untracked_packets_have_no_flow() {
    let mut topology = routed();
    let raw = Chain::base("raw", ChainKind::Filter, Hook::Prerouting, priority::RAW);
    let untracked = rule().from_port(Protocol::Udp, 40_000).notrack();
    add_chain(&mut topology, ROUTER, raw.with([untracked]));
    let state = |state| rule().is(Load::Ct(CtKey::State, None), CtState::number(state).to_ne_bytes());
    let rules = [CtState::Untracked, CtState::Invalid, CtState::New]
        .map(|it| state(it).comment(it.to_string()).set_mark(1));
    filter(&mut topology, ROUTER, Hook::Forward, rules);
    let connection = ask(&topology, UDP, "10.2.0.2");
    assert_eq!(comments(&connection.first, &topology, ROUTER), ["untracked"]);
    assert_eq!(texts(&connection.first, &topology, ROUTER, StepKind::Conntrack), [""; 0]);
    // The reply is not exempted, and begins a flow.
    assert_eq!(comments(connection.reply.as_ref().unwrap(), &topology, ROUTER), ["new"]);
}

#[test]
fn an_icmp_error_is_related_to_a_known_flow() {
    let mut topology = routed();
    topology[SERVER].listeners.clear();
    let chain = Chain::base("track", ChainKind::Nat, Hook::Prerouting, priority::DESTINATION_NAT);
    add_chain(&mut topology, ROUTER, chain);
    let connection = ask(&topology, UDP, "10.2.0.2");
    assert_eq!(
        texts(connection.reply.as_ref().unwrap(), &topology, ROUTER, StepKind::Conntrack),
        ["related"]
    );
    let mut walker = Walker::new(&topology);
    walker.arrives(SERVER, 2, tuple(UDP, "10.1.0.2", "10.2.0.2"), FlowPosition::First);
    let error = walker.refusal().unwrap();
    assert_eq!(texts(&error, &topology, ROUTER, StepKind::Conntrack), ["invalid"]);
}

/// Dormant tables, other families and other hooks.
#[test]
fn packets_meet_the_chains_of_their_hook_in_order() {
    let mut topology = routed();
    let chain = |name: &str, hook, priority| {
        let marks = rule().comment(name).set_mark(1);
        Chain::base(name, ChainKind::Filter, hook, priority).with([marks])
    };
    let table = |family, name: &str, chains: Vec<Chain>| Table { chains, ..Table::new(family, name) };
    topology[ROUTER].tables = vec![
        table(Family::Ip, "one", vec![chain("ip 0", Hook::Forward, 0), chain("ip 5", Hook::Forward, 5)]),
        table(
            Family::Inet,
            "two",
            vec![chain("inet 0", Hook::Forward, 0), chain("inet -5", Hook::Forward, -5)],
        ),
        table(Family::Ip6, "three", vec![chain("ip6 0", Hook::Forward, 0)]),
        table(Family::Bridge, "four", vec![chain("bridge", Hook::Forward, 0)]),
        table(Family::Inet, "five", vec![chain("input", Hook::Input, 0), Chain::regular("ip 0")]),
        table(Family::Inet, "six", vec![chain("dormant", Hook::Forward, 0)]),
    ];
    topology[ROUTER].tables[5].flags.dormant = true;
    topology[ROUTER].iptables_legacy =
        vec![table(Family::Ip, "filter", vec![chain("legacy", Hook::Forward, 0)])];
    let met = |to: &str| comments(&ask(&topology, UDP, to).first, &topology, ROUTER);
    assert_eq!(met("10.2.0.2"), ["inet -5", "legacy", "inet 0", "ip 0", "ip 5"]);
    assert_eq!(met("fd02::2"), ["inet -5", "ip6 0", "inet 0"]);
    let records = ask(&topology, UDP, "10.2.0.2").first.record(String::new(), &topology);
    let legacy: Vec<bool> =
        records.steps.iter().filter(|it| it.kind == StepKind::Rule).map(|it| it.rule.legacy).collect();
    assert_eq!(legacy, [false, true, false, false, false]);
}

#[test]
fn an_echo_to_the_own_address_is_one_flow() {
    let mut topology = routed();
    let chain = Chain::base("track", ChainKind::Nat, Hook::Prerouting, priority::DESTINATION_NAT);
    add_chain(&mut topology, CLIENT, chain);
    let connection = ask_with(&topology, tuple(ICMP, "10.1.0.2", "10.1.0.2"));
    assert_eq!(texts(&connection.first, &topology, CLIENT, StepKind::Conntrack), ["new"]);
    let reply = connection.reply.unwrap();
    assert_eq!(texts(&reply, &topology, CLIENT, StepKind::Conntrack), ["established (an answer)"]);
}
