//! Branches: chance, limits, and sets that change.

use super::routed::{CLIENT, ROUTER, SERVER, filter, interface, listen, routed};
use super::{TCP, UDP, address, tuple};
use crate::{
    Branch, Branches, End, MOST_BRANCHES, Origin, Outcome, Probability, Proxy, Topology, Walker,
    add_interface, walk_branches, walk_connection,
};
use fairway_ruleset::{
    Chain, ChainKind, Comparison, CtState, Datatype, Element, Expression, Family, Hook, LimitRate, Load,
    LookupResult, NatFlags, NatKind, NumberSource, Register, RegisterRange, RuleBuilder, Set, Table, Verdict,
    compat, iptables_save, rule,
};

pub fn branches(topology: &Topology, protocol: u8, to: &str) -> Branches {
    let tuple = tuple(protocol, if to.contains(':') { "::" } else { "0.0.0.0" }, to);
    walk_branches(&Walker::new(topology), Origin::Local(CLIENT), tuple, Proxy::default())
}

/// Each branch in one line: its probability, its conditions, where its first packet ends.
pub fn lines(found: &Branches, topology: &Topology) -> Vec<String> {
    let line = |branch: &Branch| {
        let probability = branch.probability.map(|it| format!("{it}: ")).unwrap_or_default();
        let conditions: String = branch.conditions.iter().map(|it| format!("{}: ", it.text)).collect();
        let end = match &branch.walk.first.end {
            End::Delivered { tuple, .. } => format!("to {}", tuple.destination_text()),
            End::Dropped { .. } => "dropped".to_owned(),
            other => other.sentence(topology),
        };
        format!("{probability}{conditions}{end}, {:?}", branch.walk.outcome())
    };
    found.branches.iter().map(line).collect()
}

/// The router with tables of iptables, and servers with these addresses.
pub fn with_iptables(text: &str, servers: &[&str]) -> Topology {
    let mut topology = routed();
    topology[ROUTER].tables = iptables_save::read(Family::Ip, text);
    for (number, server) in servers.iter().enumerate() {
        let index = 10 + number as u32;
        add_interface(
            &mut topology[SERVER],
            interface(SERVER, index, &format!("s{number}"), &[&format!("{server}/32")]),
        );
        listen(&mut topology[SERVER], TCP, server, 8080);
    }
    topology
}

/// A service of kube-proxy with so many endpoints: rules after its iptables mode.
fn service(endpoints: u32) -> String {
    let mut text = String::from(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-A - [0:0]\n\
         :KUBE-MARK-MASQ - [0:0]\n:KUBE-POSTROUTING - [0:0]\n",
    );
    for number in 0..endpoints {
        text += &format!(":KUBE-SEP-{number} - [0:0]\n");
    }
    text += "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
        -A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING\n\
        -A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m comment --comment \"default/web cluster IP\" -m tcp --dport 80 -j KUBE-SVC-A\n\
        -A KUBE-SVC-A ! -s 10.2.0.0/16 -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ\n\
        -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n\
        -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n\
        -A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0\n\
        -A KUBE-POSTROUTING -j MASQUERADE --random-fully\n";
    for number in 0..endpoints {
        let left = endpoints - number;
        let chance = match left {
            1 => String::new(),
            _ => format!("-m statistic --mode random --probability {:.10} ", 1.0 / f64::from(left)),
        };
        text += &format!(
            "-A KUBE-SVC-A -m comment --comment \"default/web -> {number}\" {chance}-j KUBE-SEP-{number}\n"
        );
        text += &format!(
            "-A KUBE-SEP-{number} -s 10.2.{number}.10/32 -j KUBE-MARK-MASQ\n\
             -A KUBE-SEP-{number} -p tcp -m tcp -j DNAT --to-destination 10.2.0.{}:8080\n",
            number + 10
        );
    }
    text + "COMMIT\n"
}

fn servers(count: u32) -> Vec<String> {
    (0..count).map(|number| format!("10.2.0.{}", number + 10)).collect()
}

#[test]
fn each_endpoint_of_a_service_is_a_branch_with_its_share() {
    for count in 1..=7 {
        let addresses = servers(count);
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let mut topology = with_iptables(&service(count), &addresses);
        super::routed::add_route(&mut topology, CLIENT, crate::RouteKind::Unicast, "10.96.0.0/16", 2);
        topology[CLIENT].routes.last_mut().unwrap().gateway = Some(address("10.1.0.1"));
        let found = branches(&topology, TCP, "10.96.0.10");
        let share = if count == 1 { String::new() } else { format!("1 of {count}: ") };
        let expected: Vec<String> =
            addresses.iter().map(|it| format!("{share}to {it}:8080, Answered(10.2.0.1)")).collect();
        assert_eq!(lines(&found, &topology), expected);
        assert_eq!(found.not_walked, 0);
    }
}

#[test]
fn branching_is_bounded_and_says_so() {
    let count = 200;
    let addresses = servers(count);
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let topology = with_iptables(&service(count), &addresses);
    let found = branches(&topology, TCP, "10.96.0.10");
    assert_eq!(found.branches.len(), MOST_BRANCHES);
    assert!(found.branches.iter().all(|it| it.probability == Some(Probability::new(1, 200))));
    assert_eq!(found.not_walked, 1, "of the last rule that was met, the other option");
    // Of ways that were cut off, what nothing depends on is known of all but the last.
    let limit = "*mangle\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m limit --limit 1/sec -j MARK --set-xmark 0x1/0xff\nCOMMIT\n";
    let found = branches(&with_iptables(&(service(count) + limit), &addresses), TCP, "10.96.0.10");
    let conditions: Vec<usize> = found.branches.iter().map(|it| it.conditions.len()).collect();
    assert_eq!(conditions, [[0; MOST_BRANCHES / 2 - 1].as_slice(), &[1, 1]].concat());
    // Choices that double the ways.
    let coin =
        "-A FORWARD -m statistic --mode random --probability 0.5 -j MARK --set-xmark 0x1/0x0\n".repeat(40);
    let text = format!("*mangle\n:FORWARD ACCEPT [0:0]\n{coin}COMMIT\n");
    let found = branches(&with_iptables(&text, &[]), UDP, "10.2.0.2");
    assert!(found.not_walked > 0, "{}", found.branches.len());
    // A way with very many choices.
    let limits = "-A FORWARD -m hashlimit --hashlimit-above 5/sec --hashlimit-name x -j DROP\n".repeat(200);
    let text = format!("*filter\n:FORWARD ACCEPT [0:0]\n{limits}COMMIT\n");
    let found = branches(&with_iptables(&text, &[]), UDP, "10.2.0.2");
    assert_eq!(found.branches.len(), MOST_BRANCHES);
    assert_eq!(found.branches[0].conditions.len(), 200, "both ways: a limit is asked once");
}

#[test]
fn a_walk_without_choices_is_the_same_and_one_with_them_is_unknown() {
    let topology = routed();
    let one = walk_connection(
        &topology,
        Origin::Local(CLIENT),
        tuple(TCP, "0.0.0.0", "10.2.0.2"),
        Proxy::default(),
    );
    assert_eq!(branches(&topology, TCP, "10.2.0.2"), Branches::only(one));
    let mut topology = routed();
    filter(&mut topology, ROUTER, Hook::Forward, [half().drop()]);
    let one = walk_connection(
        &topology,
        Origin::Local(CLIENT),
        tuple(UDP, "0.0.0.0", "10.2.0.2"),
        Proxy::default(),
    );
    assert_eq!(one.outcome(), Outcome::Unknown);
}

fn half() -> RuleBuilder {
    rule().expression(Expression::Chance { numerator: 1, denominator: 2 })
}

fn established() -> RuleBuilder {
    rule().ct_state_any(&[CtState::Established]).accept()
}

fn limit(inverted: bool) -> Expression {
    Expression::Limit(LimitRate { amount: 3, seconds: 60, burst: 5, bytes: false, inverted })
}

/// Chance decides anew for each packet, a limit alike for all.
#[test]
fn chance_is_asked_for_each_packet_and_a_limit_once() {
    let walked = |rules: Vec<RuleBuilder>| {
        let mut topology = routed();
        filter(&mut topology, ROUTER, Hook::Forward, rules);
        lines(&branches(&topology, UDP, "10.2.0.2"), &topology)
    };
    let answered = "to 10.2.0.2:80, Answered(10.1.0.2)";
    assert_eq!(
        walked(vec![half().drop()]),
        [
            "1 of 2: dropped, NoReply".to_owned(),
            "1 of 4: to 10.2.0.2:80, NoReply".to_owned(),
            format!("1 of 4: {answered}")
        ]
    );
    let (below, above) =
        ("while below the limit of 3/minute: ", "while above the limit of 3/minute: dropped, NoReply");
    assert_eq!(
        walked(vec![rule().expression(limit(false)).accept(), rule().drop()]),
        [format!("{below}{answered}"), above.to_owned()]
    );
    assert_eq!(
        walked(vec![rule().expression(limit(true)).drop()]),
        [format!("{below}{answered}"), above.to_owned()]
    );
    // The rate of a rule on chance is a share of what the condition leaves.
    let both = walked(vec![rule().expression(limit(true)).drop(), established(), half().drop()]);
    assert_eq!(both[0], "1 of 2: while below the limit of 3/minute: dropped, NoReply");
    assert_eq!(both.last().unwrap(), above);
}

/// No choice is made where all ways end alike, and ways that end alike are one branch.
#[test]
fn choices_that_change_nothing_are_no_branches() {
    let walked = |rules: Vec<RuleBuilder>, others: Vec<Chain>| {
        let mut topology = routed();
        let chain = Chain::base("forward", ChainKind::Filter, Hook::Forward, 0).with(rules);
        let chains = [chain].into_iter().chain(others).collect();
        topology[ROUTER].tables.push(Table { chains, ..Table::new(Family::Inet, "mine") });
        branches(&topology, TCP, "10.2.0.2").branches.len()
    };
    let logs = || Chain::regular("logs").with([rule().expression(compat::target("LOG"))]);
    let limited = || rule().expression(limit(false));
    assert_eq!(walked(vec![limited().expression(compat::target("LOG"))], vec![]), 1);
    assert_eq!(walked(vec![limited().jump("logs"), limited().jump("logs")], vec![logs()]), 1);
    assert_eq!(walked(vec![limited().accept(), half().accept(), rule().accept()], vec![]), 1);
    let many = (0..20).map(|_| limited().jump("logs")).collect();
    assert_eq!(walked(many, vec![logs()]), 1, "not one choice is made");
    // Rules differ by a mark that no other rule reads.
    assert_eq!(walked(vec![limited().set_mark(7)], vec![]), 1);
    assert_eq!(walked(vec![half().set_mark(7), limited().set_mark(8), rule().accept()], vec![]), 1);
    // Beyond the rule that only logs chance decides.
    assert_eq!(walked(vec![limited().jump("logs"), established(), half().drop()], vec![logs()]), 2);
    assert_eq!(walked(vec![half().jump("logs"), limited().drop()], vec![logs()]), 2);
    // Three ways, of which two are alike.
    let twice = vec![established(), half().drop(), half().drop()];
    let mut topology = routed();
    filter(&mut topology, ROUTER, Hook::Forward, twice);
    let shares: Vec<_> =
        branches(&topology, TCP, "10.2.0.2").branches.iter().filter_map(|it| it.probability).collect();
    assert_eq!(shares, [(1, 2), (1, 4), (1, 4)].map(|(share, of)| Probability::new(share, of)));
}

fn generator(source: NumberSource, modulus: u32, offset: u32) -> Expression {
    Expression::NumberGenerator { source, modulus, offset, to: Register::FIRST }
}

/// The router with a rule of these expressions before its routes, which may lead to chains that drop packets of the
/// client or pass them, by a map from numbers.
fn drawing(expressions: Vec<Expression>) -> Topology {
    let mut topology = routed();
    let element = |number: u32, target: &str| {
        Element::to_verdict(number.to_ne_bytes(), Verdict::Goto(target.to_owned()))
    };
    let map = Set::verdict_map("map", [Datatype::HostInteger]).with([
        element(0, "drops"),
        element(1, "passes"),
        element(2, "drops"),
    ]);
    let draws = expressions.into_iter().fold(rule(), RuleBuilder::expression);
    let chain = Chain::base("draws", ChainKind::Filter, Hook::Prerouting, 0).with([draws]);
    let drops = Chain::regular("drops").with([rule().from_address(address("10.1.0.2")).drop()]);
    let chains = vec![chain, drops, Chain::regular("passes")];
    topology[ROUTER].tables.push(Table { chains, sets: vec![map], ..Table::new(Family::Inet, "mine") });
    topology
}

/// Each outcome has the share of its numbers.
#[test]
fn numbers_are_drawn_as_far_as_the_rule_depends_on_them() {
    let walked = |expressions| {
        let topology = drawing(expressions);
        lines(&branches(&topology, UDP, "10.2.0.2"), &topology)
    };
    let from = Register::FIRST;
    let look_up = || Expression::Lookup { set: "map".to_owned(), from, result: LookupResult::Verdict };
    for source in [NumberSource::Random, NumberSource::InTurn, NumberSource::Hash] {
        let drops = walked(vec![generator(source, 3, 0), look_up()]);
        assert_eq!(drops, ["2 of 3: dropped, NoReply", "1 of 3: to 10.2.0.2:80, Answered(10.1.0.2)"]);
        let passes = ["to 10.2.0.2:80, Answered(10.1.0.2)"];
        assert_eq!(walked(vec![generator(source, 1, 1), look_up()]), passes);
        assert_eq!(walked(vec![generator(source, 3, 7), look_up()]), passes, "no number is in the map");
    }
    let is_seven =
        Expression::Compare { from, operator: Comparison::Equal, value: 7_u32.to_ne_bytes().to_vec() };
    let client = Load::IP_SOURCE.into_register(from);
    let is_client = Expression::Compare { from, operator: Comparison::Equal, value: vec![10, 1, 0, 2] };
    let drop = Expression::Verdict(Verdict::Drop);
    let found = walked(vec![generator(NumberSource::InTurn, 10, 1), is_seven, client, is_client, drop]);
    assert_eq!(found, ["9 of 10: to 10.2.0.2:80, Answered(10.1.0.2)", "1 of 10: dropped, NoReply"]);
    // Too many numbers to try them all.
    let found = walked(vec![generator(NumberSource::Random, 1 << 20, 0), look_up()]);
    assert!(found[0].contains("the value is random"), "{found:?}");
}

/// The kernel takes an address of a range by a hash of the source, and keeps a port that is in the range.
#[test]
fn ranges_of_translations_are_branches() {
    let walked = |first: &[u8], last: &[u8], is_port: bool, flags| {
        let at = |slot| Register::at(slot).unwrap();
        let range = Some(RegisterRange { first: at(0), last: at(4) });
        let (address, port) = if is_port { (None, range) } else { (range, None) };
        let chain = Chain::base("nat", ChainKind::Nat, Hook::Prerouting, -100).with([rule()
            .expression(Expression::Immediate { to: at(0), value: first.to_vec() })
            .expression(Expression::Immediate { to: at(4), value: last.to_vec() })
            .expression(Expression::Nat {
                kind: NatKind::Destination,
                family: Family::Ip,
                address,
                port,
                flags,
            })]);
        let mut topology = routed();
        super::routed::add_chain(&mut topology, ROUTER, chain);
        lines(&branches(&topology, UDP, "10.2.0.2"), &topology)
    };
    let none = NatFlags::default();
    let found = walked(&[10, 2, 0, 2], &[10, 2, 0, 4], false, none);
    assert_eq!(found[0], "1 of 3: to 10.2.0.2:80, Answered(10.1.0.2)");
    assert!(found.len() == 3 && found[2].starts_with("1 of 3: lost on router"), "{found:?}");
    assert!(found[1].contains("10.2.0.3") && found[2].contains("10.2.0.4"), "{found:?}");
    let own = ["to 10.2.0.2:80, Answered(10.1.0.2)"];
    assert_eq!(walked(&[0, 79], &[0, 81], true, none), own);
    let found = walked(&[0, 79], &[0, 80], true, NatFlags::RANDOM);
    assert!(
        found[0].starts_with("1 of 2: refused") && found[1].starts_with("1 of 2: to 10.2.0.2:80"),
        "{found:?}"
    );
    let found = walked(&[0, 81], &[0, 82], true, none);
    assert!(found[0].starts_with("if the kernel takes port 81: refused"), "{found:?}");
    assert_eq!(walked(&[10, 2, 0, 0], &[10, 2, 0, 255], false, NatFlags::NETMAP), own, "the host stays");
    let found = walked(&[10, 0, 0, 0], &[10, 255, 255, 255], false, none);
    assert!(found[0].contains("which one of several values"), "{found:?}");
}

/// What a person is shown once is the same in all branches.
#[test]
fn the_first_steps_are_shared() {
    let addresses = servers(3);
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let topology = with_iptables(&service(3), &addresses);
    let found = branches(&topology, TCP, "10.96.0.10");
    let shared = found.shared();
    assert!(shared > 3, "{shared}");
    let [one, other, ..] = found.branches.as_slice() else { panic!() };
    assert_eq!(one.walk.first.steps[..shared], other.walk.first.steps[..shared]);
    assert_ne!(one.walk.first.steps[shared], other.walk.first.steps[shared]);
    assert_eq!(
        branches(&routed(), TCP, "10.2.0.2").shared(),
        branches(&routed(), TCP, "10.2.0.2").branches[0].walk.first.steps.len()
    );
}

/// The host part of an address stays, and of several source ports none is shown.
#[test]
fn networks_are_mapped_and_ranges_of_source_ports_are_not_shown() {
    let walked = |rule: &str, to: &str| {
        let chain = rule.split(' ').next().unwrap_or_default();
        let text = format!("*nat\n:{chain} ACCEPT [0:0]\n-A {rule}\nCOMMIT\n");
        let topology = with_iptables(&text, &[]);
        let found = branches(&topology, UDP, to);
        let [only] = found.branches.as_slice() else { panic!("{rule}: {:?}", lines(&found, &topology)) };
        let End::Delivered { tuple, .. } = only.walk.first.end else {
            panic!("{rule}: {:?}", only.walk.first.end)
        };
        tuple.to_string()
    };
    let seen = |source: &str| format!("udp {source} > 10.2.0.2:80");
    assert_eq!(
        walked("PREROUTING -d 192.0.2.0/24 -j NETMAP --to 10.2.0.0/24", "192.0.2.2"),
        seen("10.1.0.2:40000")
    );
    assert_eq!(walked("POSTROUTING -j NETMAP --to 10.3.0.0/24", "10.2.0.2"), seen("10.3.0.2:40000"));
    let ports = "POSTROUTING -p udp -j SNAT --to-source 10.2.0.1:1024-2000";
    assert_eq!(walked(ports, "10.2.0.2"), seen("10.2.0.1:40000"));
    assert_eq!(
        walked("POSTROUTING -p udp -j SNAT --to-source 10.2.0.1:1024", "10.2.0.2"),
        seen("10.2.0.1:1024")
    );
    assert_eq!(
        walked("POSTROUTING -p udp -j MASQUERADE --to-ports 1024-2000", "10.2.0.2"),
        seen("10.2.0.1:40000")
    );
}
