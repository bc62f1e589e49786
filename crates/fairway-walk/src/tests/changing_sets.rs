//! Branches by sets and lists that change with time.

use super::branches::{branches, lines, with_iptables};
use super::routed::{ROUTER, routed};
use super::{TCP, UDP};
use fairway_ruleset::{
    Chain, ChainKind, CtState, Datatype, Element, Expression, Family, Hook, Load, LookupResult, Register,
    Set, Table, rule,
};

#[test]
fn sets_that_change_are_asked_as_they_are_and_as_they_may_be() {
    let walked = |set: Set, result: LookupResult, adds: bool| {
        let mut topology = routed();
        let from = Register::FIRST;
        let look_up = Expression::Lookup { set: "set".to_owned(), from, result };
        let add = rule()
            .expression(Load::IP_SOURCE.into_register(from))
            .expression(Expression::Update { set: "set".to_owned(), from });
        let asks = rule().expression(Load::IP_SOURCE.into_register(from)).expression(look_up).drop();
        let rules = if adds {
            vec![rule().ct_state_any(&[CtState::Established]).accept(), add, asks]
        } else {
            vec![asks]
        };
        let chain = Chain::base("forward", ChainKind::Filter, Hook::Forward, 0).with(rules);
        topology[ROUTER].tables.push(Table {
            chains: vec![chain],
            sets: vec![set],
            ..Table::new(Family::Inet, "mine")
        });
        lines(&branches(&topology, TCP, "10.2.0.2"), &topology)
    };
    let (passes, dropped) = ("to 10.2.0.2:80, Answered(10.1.0.2)", "dropped, NoReply");
    let set = || Set::new("set", [Datatype::Ipv4Address]);
    let client = || Element { timeout: Some(1_000), ..Element::new([10, 1, 0, 2]) };
    let mut banned = set();
    banned.flags.timeout = true;
    // Nothing but a person adds to it.
    assert_eq!(walked(banned.clone(), LookupResult::Match, false), [passes]);
    let banned = banned.with([client()]);
    let (now, then) =
        ("while 10.1.0.2 is in the set set, as now: ", "while 10.1.0.2 is not in the set set: ");
    assert_eq!(
        walked(banned.clone(), LookupResult::Match, false),
        [format!("{now}{dropped}"), format!("{then}{passes}")]
    );
    let found = walked(banned, LookupResult::NoMatch, false);
    // The reply has another source, which is not in the set.
    assert_eq!(
        found,
        [
            "while 10.1.0.2 is in the set set, as now: to 10.2.0.2:80, NoReply".to_owned(),
            format!("{then}{dropped}")
        ]
    );
    let found = walked(set().filled_by_rules(10), LookupResult::Match, false);
    assert_eq!(found.len(), 3, "client or server may be in it: {found:?}");
    assert_eq!(
        found[0],
        format!(
            "while 10.1.0.2 is not in the set set, as now: while 10.2.0.2 is not in the set set, as now: {passes}"
        )
    );
    assert_eq!(walked(set().filled_by_rules(10), LookupResult::Match, true), [dropped], "it was just added");
    assert_eq!(walked(set(), LookupResult::Match, false), [passes]);
}

/// Rules of iptables that ask the same list get the same answer.
#[test]
fn matches_of_iptables_that_earlier_packets_decide_are_branches() {
    let walked = |rules: &str| {
        let text = format!(
            "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n{rules}\nCOMMIT\n"
        );
        let topology = with_iptables(&text, &[]);
        lines(&branches(&topology, TCP, "10.2.0.2"), &topology)
    };
    let (passes, dropped) = ("to 10.2.0.2:80, Answered(10.1.0.2)", "dropped, NoReply");
    for (rules, first, second) in [
        (
            "-A FORWARD -m set --match-set bad src -j DROP",
            format!("if its source is not in the ipset bad: {passes}"),
            format!("if its source is in the ipset bad: {dropped}"),
        ),
        (
            "-A FORWARD -m set ! --match-set good src -j DROP\n-A FORWARD -m set --match-set good src -j ACCEPT\n-A FORWARD -j DROP",
            format!("if its source is not in the ipset good: {dropped}"),
            format!("if its source is in the ipset good: {passes}"),
        ),
        (
            "-A FORWARD -m recent --set --name ssh --rsource\n-A FORWARD -m recent --update --seconds 60 --hitcount 4 --name ssh --rsource -j DROP",
            format!("while its source is not in the list ssh within 60 seconds at least 4 times: {passes}"),
            format!("while its source is in the list ssh within 60 seconds at least 4 times: {dropped}"),
        ),
        (
            "-A FORWARD -m limit --limit 3/min --limit-burst 10 -j RETURN\n-A FORWARD -j DROP",
            format!("while below the limit of 3/min burst 10: {passes}"),
            format!("while above the limit of 3/min burst 10: {dropped}"),
        ),
        (
            "-A FORWARD -m hashlimit --hashlimit-above 5/sec --hashlimit-mode srcip --hashlimit-name x -j DROP",
            format!("while below the limit of 5/sec for each srcip: {passes}"),
            format!("while above the limit of 5/sec for each srcip: {dropped}"),
        ),
        (
            "-A FORWARD -m connlimit --connlimit-above 10 --connlimit-mask 32 --connlimit-saddr -j DROP",
            format!("while there are at most 10 connections: {passes}"),
            format!("while there are more than 10 connections: {dropped}"),
        ),
        (
            "-A FORWARD -m quota --quota 1000 -j ACCEPT\n-A FORWARD -j DROP",
            format!("until 1000 bytes have passed: {passes}"),
            format!("after 1000 bytes have passed: {dropped}"),
        ),
        (
            "-A FORWARD -m time --timestart 08:00 -j ACCEPT\n-A FORWARD -j DROP",
            format!("at the times --timestart 08:00: {passes}"),
            format!("at other times than --timestart 08:00: {dropped}"),
        ),
        (
            "-A FORWARD -m string --string x --algo bm -j DROP",
            format!("if -m string --string x --algo bm matches: {dropped}"),
            format!("if -m string --string x --algo bm does not match: {passes}"),
        ),
        (
            "-A FORWARD -m statistic --mode nth --every 5 --packet 0 -j DROP",
            format!("1 of 5: {dropped}"),
            format!("4 of 5: {passes}"),
        ),
    ] {
        assert_eq!(walked(rules), [first, second], "{rules}");
    }
    assert_eq!(walked("-A FORWARD -m policy --dir in --pol ipsec -j DROP"), [passes]);
    assert_eq!(walked("-A FORWARD -m policy --dir in --pol none -j DROP"), [dropped]);
}

/// A set gives the same answer for the same source, also when the destination was translated in between.
#[test]
fn an_ipset_of_sources_is_asked_once() {
    let rules = |sides: &str| {
        format!(
            "*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -m set --match-set good {sides} -j MARK --set-xmark 0x1/0xff\nCOMMIT\n\
             *nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 192.0.2.1/32 -j DNAT --to-destination 10.2.0.2\nCOMMIT\n\
             *filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m mark --mark 0x1 -m set ! --match-set good {sides} -j DROP\nCOMMIT\n"
        )
    };
    let walked = |sides: &str| {
        let topology = with_iptables(&rules(sides), &[]);
        lines(&branches(&topology, UDP, "192.0.2.1"), &topology)
    };
    assert_eq!(walked("src"), ["to 10.2.0.2:80, Answered(10.1.0.2)"]);
    let found = walked("dst");
    assert!(found.len() > 1 && found.iter().any(|line| line.contains("dropped")), "{found:?}");
}
