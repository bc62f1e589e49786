//! Source ports that stand for any.

use super::branches::{lines, with_iptables};
use super::routed::{CLIENT, ROUTER, SERVER, add_chain, filter, header, listen, routed};
use super::{TCP, UDP, tuple};
use crate::{Branches, Origin, Proxy, Topology, Tuple, Walker, walk_branches};
use fairway_ruleset::{
    ByteOrder, Chain, ChainKind, Comparison, Datatype, Element, Expression, Hook, Load, LookupResult,
    MetaKey, PayloadBase, Register, RuleBuilder, Set, Verdict, rule,
};

fn walked(topology: &Topology, protocol: u8) -> Branches {
    let walker = Walker::new(topology).with_any_source_port();
    walk_branches(&walker, Origin::Local(CLIENT), tuple(protocol, "0.0.0.0", "10.2.0.2"), Proxy::default())
}

/// Where packets of the client end with rules of iptables on the router.
fn with_rules(rules: &str) -> Vec<String> {
    let topology = with_iptables(&format!("*filter\n:FORWARD ACCEPT [0:0]\n{rules}\nCOMMIT\n"), &[]);
    lines(&walked(&topology, TCP), &topology)
}

const PASSES: &str = "to 10.2.0.2:80, Answered(10.1.0.2)";
const DROPPED: &str = "dropped, NoReply";

/// Both branches of a rule that drops some ports.
fn both(range: &str) -> [String; 2] {
    [("matches", DROPPED), ("does not match", PASSES)]
        .map(|(how, end)| format!("if the rule {how} (the source port may be any of {range}): {end}"))
}

#[test]
fn a_rule_on_some_source_ports_is_a_choice_and_one_on_all_or_none_is_not() {
    for (rule, expected) in [
        ("--sport 1024:65535", DROPPED),
        ("--sport 32768:60999", DROPPED),
        ("--sport 0:32767", PASSES),
        ("--sport 61000", PASSES),
        ("--sport 80", PASSES),
        ("! --sport 32768:60999", PASSES),
        ("! --sport 53", DROPPED),
        ("-m multiport --sports 22,32768:60999", DROPPED),
        ("--dport 80 --sport 1024:65535", DROPPED),
        ("--dport 81 --sport 1024:50000", PASSES),
    ] {
        assert_eq!(
            with_rules(&format!("-A FORWARD -d 10.2.0.2 -p tcp -m tcp {rule} -j DROP")),
            [expected],
            "{rule}"
        );
    }
    for rule in [
        "--sport 1024:50000",
        "--sport 40000",
        "! --sport 32768:60998",
        "-m multiport --sports 22,32768:60998",
    ] {
        assert_eq!(
            with_rules(&format!("-A FORWARD -d 10.2.0.2 -p tcp -m tcp {rule} -j DROP")),
            both("32768-60999"),
            "{rule}"
        );
    }
    // Of a reply, it is the destination port.
    let reply = with_rules("-A FORWARD -p tcp -m tcp --sport 80 --dport 1024:50000 -j DROP");
    assert_eq!(reply.len(), 2, "{reply:?}");
    assert_eq!(
        with_rules("-A FORWARD -p tcp -m tcp --sport 80 --dport 1024:65535 -j DROP"),
        ["to 10.2.0.2:80, NoReply"]
    );
    assert_eq!(with_rules("-A FORWARD -p tcp -m tcp --sport 80 --dport 80 -j DROP"), [PASSES]);
}

#[test]
fn the_range_is_that_of_the_senders_namespace() {
    let mut topology = with_iptables(
        "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p tcp -m tcp --sport 1024:50000 -j DROP\nCOMMIT\n",
        &[],
    );
    let mut ends = |range| {
        topology[CLIENT].local_ports = Some(range);
        lines(&walked(&topology, TCP), &topology)
    };
    assert_eq!(ends((1_024, 50_000)), [DROPPED]);
    assert_eq!(ends((50_001, 60_000)), [PASSES]);
    assert_eq!(ends((50_000, 60_000)), both("50000-60000"));
}

#[test]
fn sets_and_maps_of_ports_are_looked_up_for_all() {
    let port = |port: u16| port.to_be_bytes();
    let range = |first: u16, last: u16| Element::new(port(first)).up_to(port(last));
    let with = |set: Set, rule: RuleBuilder| {
        let mut topology = routed();
        filter(&mut topology, ROUTER, Hook::Forward, [rule]);
        topology[ROUTER].tables[0].sets.push(set);
        lines(&walked(&topology, UDP), &topology)
    };
    let is_in = || rule().is_in(&[Load::SOURCE_PORT], "some").drop();
    let ranges = |all: &[(u16, u16)]| {
        let set = Set::new("some", [Datatype::InetService]).with_ranges();
        set.with(all.iter().map(|(first, last)| range(*first, *last)))
    };
    assert_eq!(with(ranges(&[(1_024, 40_000), (40_001, 65_535)]), is_in()), [DROPPED]);
    assert_eq!(with(ranges(&[(1, 79)]), is_in()), [PASSES]);
    assert_eq!(with(ranges(&[(1_024, 40_000), (40_002, 65_535)]), is_in()), both("32768-60999"));
    assert_eq!(with(ranges(&[(60_999, 60_999)]), is_in()), both("32768-60999"));
    let look_up =
        Expression::Lookup { set: "some".to_owned(), from: Register::FIRST, result: LookupResult::Verdict };
    let map = |elements: Vec<Element>| {
        let set = Set::verdict_map("some", [Datatype::InetService]).with_ranges().with(elements);
        with(
            set,
            rule().expression(Load::SOURCE_PORT.into_register(Register::FIRST)).expression(look_up.clone()),
        )
    };
    let verdict =
        |first: u16, last: u16, verdict| Element::to_verdict(port(first), verdict).up_to(port(last));
    assert_eq!(map(vec![verdict(1_024, 65_535, Verdict::Drop)]), [DROPPED]);
    let several = map(vec![verdict(1_024, 40_000, Verdict::Drop), verdict(40_001, 65_535, Verdict::Accept)]);
    assert!(several[0].contains("the source port may be any of 32768-60999"), "{several:?}");
}

#[test]
fn a_port_that_nat_gives_is_known() {
    let text = "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -p tcp -j SNAT --to-source 10.2.0.1:5000\nCOMMIT\n\
        *mangle\n:POSTROUTING ACCEPT [0:0]\nCOMMIT\n";
    let mut topology = with_iptables(text, &[]);
    let late = Chain::base("late", ChainKind::Filter, Hook::Postrouting, 300);
    add_chain(&mut topology, ROUTER, late.with([rule().is(Load::SOURCE_PORT, [0x13, 0x88]).drop()]));
    assert_eq!(lines(&walked(&topology, TCP), &topology), [DROPPED]);
}

/// Where packets of the client end with a rule on the router that looks at the first packet's bytes.
fn with_rule(rule: RuleBuilder) -> Vec<String> {
    let mut topology = routed();
    filter(&mut topology, ROUTER, Hook::Forward, [rule]);
    lines(&walked(&topology, UDP), &topology)
}

#[test]
fn a_part_of_the_port_and_what_is_made_of_it_are_not_known() {
    let from_client = || rule().iifname("eth0");
    let (one, other) = (Register::FIRST, Register::at(9).unwrap());
    let loaded = || from_client().expression(Load::SOURCE_PORT.into_register(one));
    let compare =
        |from, value: &[u8]| Expression::Compare { from, operator: Comparison::Equal, value: value.to_vec() };
    let zero = Expression::Immediate { to: other, value: vec![0, 0] };
    let combine = Expression::ExclusiveOr { one, other, to: other, length: 2 };
    let swap =
        Expression::Byteorder { from: one, to: one, order: ByteOrder::NetworkToHost, length: 2, size: 2 };
    let transport = |offset, length| header(PayloadBase::Transport, offset, length);
    for (name, rule) in [
        ("bits that 40000 has", from_client().is_masked(Load::SOURCE_PORT, [0, 1], [0, 0])),
        ("bits that 40000 has not", from_client().is_masked(Load::SOURCE_PORT, [0, 1], [0, 1])),
        (
            "exclusive or",
            loaded().expression(zero).expression(combine).expression(compare(other, &[0x9c, 0x40])),
        ),
        ("swapped", loaded().expression(swap).expression(compare(one, &[0x40, 0x9c]))),
        ("the first byte", from_client().is(transport(0, 1), [0x9c])),
        ("the last byte", from_client().is(transport(1, 3), [0x41, 0, 80])),
        ("the first byte of what was loaded", loaded().expression(compare(one, &[0x9c]))),
    ] {
        assert_eq!(with_rule(rule.drop()), both("32768-60999"), "{name}");
    }
    let differs = with_rule(from_client().is(transport(0, 6), [0x9c, 0x40, 0, 80, 0, 0]).drop());
    assert_eq!(differs.len(), 2, "{differs:?}");
    assert_eq!(with_rule(from_client().is_masked(Load::SOURCE_PORT, [0, 0], [0, 0]).drop()), [DROPPED]);
    assert_eq!(with_rule(from_client().is(transport(1, 3), [0x40, 0, 81]).drop()), [PASSES]);
    let mark = with_rule(loaded().expression(Expression::MetaSet { key: MetaKey::Mark, from: one }));
    assert!(mark[0].contains("the source port may be any of 32768-60999"), "{mark:?}");
}

#[test]
fn a_value_that_is_loaded_over_the_port_has_its_own_reason() {
    let loads = [Load::SOURCE_PORT, Load::Meta(MetaKey::Random)];
    let rule =
        loads.into_iter().fold(rule(), |rule, load| rule.expression(load.into_register(Register::FIRST)));
    let (from, value) = (Register::FIRST, vec![0; 4]);
    let rule = rule.expression(Expression::Compare { from, operator: Comparison::Equal, value });
    let found = with_rule(rule.drop());
    assert!(found[0].contains("meta random of a simulated packet"), "{found:?}");
}

#[test]
fn a_server_at_the_number_of_the_senders_port_has_a_known_port() {
    let ends = |input: &str, rule: &str| {
        let rule = format!("-A FORWARD -i {input} -p tcp -m tcp {rule} -j DROP");
        let mut topology = with_iptables(&format!("*filter\n:FORWARD ACCEPT [0:0]\n{rule}\nCOMMIT\n"), &[]);
        listen(&mut topology[SERVER], TCP, "::", 40_000);
        let walker = Walker::new(&topology).with_any_source_port();
        let tuple = Tuple { destination_port: 40_000, ..tuple(TCP, "0.0.0.0", "10.2.0.2") };
        lines(&walk_branches(&walker, Origin::Local(CLIENT), tuple, Proxy::default()), &topology)
    };
    let answered = ["to 10.2.0.2:40000, Answered(10.1.0.2)"];
    assert_eq!(ends("eth0", "--dport 40001:65535"), answered);
    assert_eq!(ends("eth0", "--sport 40001:65535").len(), 2);
    assert_eq!(ends("eth0", "--sport 40001:65535 -m conntrack --ctstate ESTABLISHED").len(), 2);
    assert_eq!(ends("eth1", "--sport 40000"), ["to 10.2.0.2:40000, NoReply"]);
    assert_eq!(ends("eth1", "--sport 40001:65535"), answered);
    assert_eq!(ends("eth1", "--dport 40001:65535").len(), 2);
}
