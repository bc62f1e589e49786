//! What rules do: sets, actions, and expressions that are not interpreted.

use super::matches::{Found, at, evaluated, evaluated_in, value};
use super::routed::{CLIENT, ROUTER, SERVER, add_chain, ask, comments, filter, listen, routed, sentence};
use super::{TCP, UDP, tuple};
use crate::{End, FlowPosition, Outcome, Sender, Topology, Walker};
use fairway_model::Protocol;
use fairway_ruleset::{
    Chain, ChainKind, Comparison, CtKey, Datatype, Element, Expression, ExtensionKind, Family, Hook,
    LimitRate, Load, LookupResult, MetaKey, NatFlags, NatKind, PayloadBase, Policy, Register, RegisterRange,
    RuleBuilder, Set, SetData, SocketKey, Table, Verdict, compat, rule,
};

fn unknown(name: &str, attributes: &[u8]) -> Expression {
    Expression::Unknown { name: name.to_owned(), attributes: attributes.to_vec() }
}

fn with(expression: Expression) -> RuleBuilder {
    rule().expression(expression)
}

/// The reason for which it is not known whether a rule matches.
fn reason(found: Found) -> String {
    match found {
        Found::Unknown(reason) => reason.rsplit(": ").next().unwrap_or_default().to_owned(),
        found => format!("{found:?}"),
    }
}

/// Adds a table with sets and a forward chain to the router, and walks the client's packet to port 80.
fn with_sets(sets: Vec<Set>, rules: Vec<RuleBuilder>) -> crate::PacketWalk {
    let mut topology = routed();
    let chain = Chain::base("forward", ChainKind::Filter, Hook::Forward, 0).with(rules);
    topology[ROUTER].tables.push(Table { sets, chains: vec![chain], ..Table::new(Family::Inet, "mine") });
    ask(&topology, TCP, "10.2.0.2").first
}

fn drops(walk: &crate::PacketWalk) -> bool {
    match &walk.end {
        End::Dropped { .. } => true,
        End::Delivered { .. } => false,
        end => panic!("{end:?}"),
    }
}

fn unknown_end(walk: &crate::PacketWalk) -> String {
    let End::Unknown { .. } = walk.end else { panic!("{walk:?}") };
    sentence(walk, &routed()).rsplit(": ").next().unwrap_or_default().to_owned()
}

const PORT: &[Load] = &[Load::DESTINATION_PORT];

fn ports(elements: impl IntoIterator<Item = Element>) -> Set {
    Set::new("ports", [Datatype::InetService]).with(elements)
}

#[test]
fn a_set_matches_the_keys_that_it_has() {
    let has = || ports([Element::new([0, 80])]);
    let other = || ports([Element::new([0, 81])]);
    assert!(drops(&with_sets(vec![has()], vec![rule().is_in(PORT, "ports").drop()])));
    assert!(!drops(&with_sets(vec![other()], vec![rule().is_in(PORT, "ports").drop()])));
    assert!(!drops(&with_sets(vec![has()], vec![rule().is_not_in(PORT, "ports").drop()])));
    assert!(drops(&with_sets(vec![other()], vec![rule().is_not_in(PORT, "ports").drop()])));
    assert!(drops(&with_sets(vec![ports([])], vec![rule().is_not_in(PORT, "ports").drop()])));
    let walk = with_sets(vec![], vec![rule().is_in(PORT, "ports").drop()]);
    assert_eq!(unknown_end(&walk), "there is no set ports");
    let walk = with_sets(vec![has()], vec![rule().is_in(PORT, "ports").drop()]);
    let record = walk.record(String::new(), &routed());
    assert_eq!(record.end.rule.element.as_deref(), Some("ports 80"));
}

#[test]
fn a_map_gives_a_value_or_a_verdict() {
    let verdicts = |verdict| {
        vec![Set::verdict_map("ports", [Datatype::InetService]).with([Element::to_verdict([0, 80], verdict)])]
    };
    let by_map = || vec![rule().verdict_of(PORT, "ports")];
    assert!(drops(&with_sets(verdicts(Verdict::Drop), by_map())));
    assert!(!drops(&with_sets(verdicts(Verdict::Accept), by_map())));
    let marks =
        |element: Element| vec![Set::map("ports", [Datatype::InetService], [Datatype::Mark]).with([element])];
    let look_up =
        Expression::Lookup { set: "ports".to_owned(), from: at(0), result: LookupResult::Value(at(4)) };
    let loaded = |value: u32| {
        let compare = Expression::Compare {
            from: at(4),
            operator: Comparison::Equal,
            value: value.to_ne_bytes().to_vec(),
        };
        let port = rule().expression(Load::DESTINATION_PORT.into_register(at(0)));
        vec![port.expression(look_up.clone()).expression(compare).drop()]
    };
    let seven = || marks(Element::to_value([0, 80], 7_u32.to_ne_bytes()));
    assert!(drops(&with_sets(seven(), loaded(7))));
    assert!(!drops(&with_sets(seven(), loaded(8))));
    assert!(!drops(&with_sets(marks(Element::to_value([0, 81], 7_u32.to_ne_bytes())), loaded(7))));
    let walk = with_sets(marks(Element::to_verdict([0, 80], Verdict::Drop)), loaded(7));
    assert_eq!(unknown_end(&walk), "the map ports has no verdict or value for the key");
}

/// A key that is not known matters where the set has elements.
#[test]
fn a_key_that_is_not_known_may_be_in_a_set() {
    let look_up = |result| {
        let random = with(Expression::Meta { key: MetaKey::Random, to: at(0) });
        random.expression(Expression::Lookup { set: "ports".to_owned(), from: at(0), result })
    };
    let filled = || vec![ports([Element::new([0, 80])])];
    let random = "meta random of a simulated packet";
    for result in [LookupResult::Match, LookupResult::NoMatch] {
        assert_eq!(unknown_end(&with_sets(filled(), vec![look_up(result).drop()])), random);
    }
    let map = || {
        vec![
            Set::map("ports", [Datatype::InetService], [Datatype::Mark])
                .with([Element::to_value([0, 80], [0; 4])]),
        ]
    };
    assert_eq!(unknown_end(&with_sets(map(), vec![look_up(LookupResult::Value(at(4))).drop()])), random);
    let verdicts = vec![
        Set::verdict_map("ports", [Datatype::InetService])
            .with([Element::to_verdict([0, 80], Verdict::Drop)]),
    ];
    assert_eq!(unknown_end(&with_sets(verdicts, vec![look_up(LookupResult::Verdict)])), random);
    let verdicts = vec![
        Set::verdict_map("ports", [Datatype::InetService])
            .with([Element::to_verdict([0, 80], Verdict::Accept)]),
    ];
    let walk = with_sets(verdicts, vec![look_up(LookupResult::Verdict)]);
    assert!(!drops(&walk), "with and without the element the packet is accepted");
    // An empty set has no key at all.
    assert!(!drops(&with_sets(vec![ports([])], vec![look_up(LookupResult::Match).drop()])));
    assert!(drops(&with_sets(vec![ports([])], vec![look_up(LookupResult::NoMatch).drop()])));
    // A rule that adds such a key adds nothing that is known.
    let random = with(Expression::Meta { key: MetaKey::Random, to: at(0) });
    let update = random.expression(Expression::Update { set: "ports".to_owned(), from: at(0) });
    assert!(with_sets(vec![ports([]).filled_by_rules(9)], vec![update]).counted.is_empty());
}

#[test]
fn alternatives_match_if_one_of_them_does() {
    let way = |port: u16| {
        vec![
            Load::DESTINATION_PORT.into_register(at(0)),
            Expression::Compare {
                from: at(0),
                operator: Comparison::Equal,
                value: port.to_be_bytes().into(),
            },
        ]
    };
    let one_of = |ways: Vec<Vec<Expression>>, inverted| with(Expression::OneOf { ways, inverted });
    for (ways, matches) in [
        (vec![way(80)], true),
        (vec![way(81)], false),
        (vec![way(81), way(80)], true),
        (vec![way(81), way(82)], false),
        (vec![], false),
        (vec![vec![]], true),
    ] {
        for inverted in [false, true] {
            let expected = if matches == inverted { Found::No } else { Found::Matches };
            assert_eq!(evaluated(one_of(ways.clone(), inverted)), expected, "{ways:?} {inverted}");
        }
    }
    // One that is not known matters only without one that matches.
    let recent = || vec![compat::matching("recent")];
    for inverted in [false, true] {
        let found = evaluated(one_of(vec![recent(), way(80)], inverted));
        assert_eq!(found, if inverted { Found::No } else { Found::Matches });
        let found = evaluated(one_of(vec![recent(), way(81)], inverted));
        assert_eq!(reason(found), "the match depends on earlier packets");
    }
    // Each has registers of its own.
    let leaves = vec![Expression::Immediate { to: at(0), value: vec![0, 80] }, way(81).remove(0)];
    let compares = vec![way(80).remove(1)];
    assert_eq!(
        evaluated(one_of(vec![leaves.into_iter().chain(way(81)).collect(), compares], false)),
        Found::No
    );
}

/// Expressions that are not interpreted, by their possible effects.
#[test]
fn expressions_without_effect_are_passed_over() {
    for expression in [
        Expression::Counter(Default::default()),
        Expression::MetaSet { key: MetaKey::Trace, from: at(0) },
        Expression::MetaSet { key: MetaKey::Priority, from: at(0) },
        unknown("log", &[]),
        unknown("last", &[]),
        unknown("dup", &[]),
        unknown("flow_offload", &[]),
        compat::matching("comment"),
        compat::matching("nfacct"),
        compat::target("LOG"),
        compat::target("TCPMSS"),
    ] {
        assert_eq!(evaluated(with(expression.clone())), Found::Matches, "{expression:?}");
    }
}

#[test]
fn expressions_that_may_match_make_the_outcome_unknown() {
    let limit = LimitRate { amount: 1, seconds: 1, burst: 0, bytes: false, inverted: false };
    let earlier = "the match depends on earlier packets";
    let field = |name: &str| format!("the match {name:?} looks at a field of the packet that is not known");
    for (expression, expected) in [
        (Expression::Limit(limit), earlier.to_owned()),
        (unknown("quota", &[]), earlier.to_owned()),
        (unknown("connlimit", &[]), earlier.to_owned()),
        (compat::matching("statistic"), "the match is random".to_owned()),
        (compat::matching("hashlimit"), earlier.to_owned()),
        (compat::matching("time"), "the match depends on the time".to_owned()),
        (compat::matching("set"), "the members of its ipset are not read".to_owned()),
        (compat::matching("string"), field("string")),
        (compat::matching("dscp"), field("dscp")),
        (compat::matching("odd"), "the match \"odd\" is not known".to_owned()),
        (compat::target("NFQUEUE"), "a program decides (NFQUEUE)".to_owned()),
        (unknown("odd", &[]), "the expression \"odd\" is not known".to_owned()),
        (unknown("objref", &[]), "the effect of its object is not known".to_owned()),
        (unknown("objref", &[8, 0, 1, 0, 0, 0, 0, 10]), "a program decides (synproxy)".to_owned()),
        (unknown("objref", &[8, 0, 1, 0, 0, 0, 0, 2]), earlier.to_owned()),
        (unknown("objref", &[8, 0, 1, 0, 0, 0, 0, 5]), earlier.to_owned()),
        (Expression::MetaSet { key: MetaKey::Length, from: at(0) }, "the rule sets meta length".to_owned()),
        (
            Expression::CtSet { key: CtKey::Zone, direction: None, from: at(0) },
            "the rule sets ct zone".to_owned(),
        ),
    ] {
        assert_eq!(reason(evaluated(with(expression.clone()))), expected, "{expression:?}");
    }
}

#[test]
fn values_that_are_not_known_matter_where_a_rule_compares_them() {
    let extension =
        |kind, present| Expression::Extension { kind, number: 2, offset: 0, length: 1, present, to: at(0) };
    for (load, expected) in [
        (unknown("numgen", &[]), "the value is random".to_owned()),
        (unknown("rt", &[]), "the value of the expression \"rt\" is not known".to_owned()),
        (extension(ExtensionKind::Tcp, true), "the rule looks at tcp option 2".to_owned()),
        (
            Expression::Meta { key: MetaKey::Length, to: at(0) },
            "meta length of a simulated packet".to_owned(),
        ),
        (
            Expression::Ct { key: CtKey::Helper, direction: None, to: at(0) },
            "ct helper of a simulated flow".to_owned(),
        ),
    ] {
        let compare = Expression::Compare { from: at(0), operator: Comparison::Equal, value: vec![9] };
        assert_eq!(evaluated(with(load.clone())), Found::Matches, "{load:?} is not compared");
        assert_eq!(reason(evaluated(with(load.clone()).expression(compare))), expected, "{load:?}");
        let nat = Expression::Redirect { port: Some(at(0).into()), flags: NatFlags::default() };
        assert_eq!(reason(evaluated(with(load.clone()).expression(nat))), expected, "{load:?}");
    }
    // The simulated packet has no extension headers and no IPv4 options.
    for kind in [ExtensionKind::Ipv6, ExtensionKind::Ipv4] {
        let compare =
            |value| Expression::Compare { from: at(0), operator: Comparison::Equal, value: vec![value] };
        assert_eq!(evaluated(with(extension(kind, true)).expression(compare(0))), Found::Matches);
        assert_eq!(evaluated(with(extension(kind, true)).expression(compare(1))), Found::No);
        assert_eq!(evaluated(with(extension(kind, false))), Found::No);
    }
}

/// A map of objects: without an object for the packet the rule does not match.
#[test]
fn objects_of_maps_have_the_effect_of_their_kind() {
    let refers = |kind: u32, key: u16| {
        let attribute = |kind: u16, value: &[u8]| {
            let mut bytes = [(value.len() as u16 + 4).to_ne_bytes(), kind.to_ne_bytes()].concat();
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let attributes = [attribute(3, &at(0).number().to_be_bytes()), attribute(4, b"objects\0")].concat();
        let mut set = Set::new("objects", [Datatype::InetService]).with([Element::new(key.to_be_bytes())]);
        set.data = SetData::Object(kind);
        let load = Load::DESTINATION_PORT.into_register(at(0));
        let rule = with(load).expression(unknown("objref", &attributes)).drop();
        let chain = Chain::base("forward", ChainKind::Filter, Hook::Forward, 0).with([rule]);
        let mut topology = routed();
        topology[ROUTER].tables.push(Table {
            chains: vec![chain],
            sets: vec![set],
            ..Table::new(Family::Inet, "mine")
        });
        sentence(&ask(&topology, TCP, "10.2.0.2").first, &topology)
    };
    let (counter, quota, syn_proxy) = (1, 2, 10);
    assert!(refers(counter, 80).starts_with("dropped"));
    assert!(refers(counter, 81).starts_with("delivered"));
    assert!(refers(quota, 80).ends_with("the match depends on earlier packets"));
    assert!(refers(quota, 81).starts_with("delivered"));
    assert!(refers(syn_proxy, 80).ends_with("a program decides (synproxy)"));
}

/// A rule on a socket matches no first packet for which no socket listens, as a transparent proxy's does.
#[test]
fn a_rule_on_a_socket_needs_one() {
    let transparent = || {
        let load = Expression::Socket { key: SocketKey::Transparent, to: at(0) };
        let compare = Expression::Compare { from: at(0), operator: Comparison::Equal, value: vec![1] };
        with(load).expression(compare)
    };
    let packet = tuple(TCP, "10.1.0.2", "10.2.0.2");
    assert_eq!(evaluated_in(routed(), Hook::Prerouting, transparent(), packet), Found::No);
    let mut topology = routed();
    listen(&mut topology[ROUTER], TCP, "10.2.0.2", 80);
    let found = evaluated_in(topology, Hook::Prerouting, transparent(), packet);
    assert_eq!(reason(found), "the rule looks up a socket of the host");
}

#[test]
fn marks_and_bytes_of_a_value_that_is_not_known_end_the_walk() {
    let random = || with(Expression::Meta { key: MetaKey::Random, to: at(0) });
    let checksum = fairway_ruleset::Checksum::None;
    let base = PayloadBase::Transport;
    for effect in [
        Expression::MetaSet { key: MetaKey::Mark, from: at(0) },
        Expression::CtSet { key: CtKey::Mark, direction: None, from: at(0) },
        Expression::PayloadSet { from: at(0), base, offset: 2, length: 2, checksum },
        Expression::Nat {
            kind: NatKind::Destination,
            family: Family::Ip,
            address: Some(at(0).into()),
            port: None,
            flags: NatFlags::default(),
        },
        Expression::Nat {
            kind: NatKind::Destination,
            family: Family::Ip,
            address: None,
            port: Some(at(0).into()),
            flags: NatFlags::default(),
        },
    ] {
        let found = reason(evaluated(random().expression(effect.clone())));
        assert_eq!(found, "meta random of a simulated packet", "{effect:?}");
    }
}

/// A range of ports or addresses: which one is taken is not known, unless both ends are the same.
#[test]
fn a_range_of_nat_has_one_result_if_its_ends_are_the_same() {
    let range = |first: &[u8], last: &[u8]| {
        let values = value(first).expression(Expression::Immediate { to: at(4), value: last.to_vec() });
        (values, Some(RegisterRange { first: at(0), last: at(4) }))
    };
    let nat = |address, port| Expression::Nat {
        kind: NatKind::Destination,
        family: Family::Ip,
        address,
        port,
        flags: NatFlags::default(),
    };
    let ends = |(values, address): (RuleBuilder, _), is_port: bool| {
        let expression = if is_port { nat(None, address) } else { nat(address, None) };
        let mut topology = routed();
        let chain = Chain::base("nat", ChainKind::Nat, Hook::Prerouting, -100);
        add_chain(&mut topology, ROUTER, chain.with([values.expression(expression)]));
        sentence(&ask(&topology, UDP, "10.2.0.2").first, &topology)
    };
    let several = "which one of several values is taken is not known";
    assert!(ends(range(&[0, 81], &[0, 82]), true).ends_with(several));
    assert!(ends(range(&[0, 79], &[0, 81]), true).starts_with("delivered on server"), "its own port is kept");
    assert!(ends(range(&[0, 80], &[0, 80]), true).starts_with("delivered on server"));
    assert!(ends(range(&[10, 2, 0, 2], &[10, 2, 0, 3]), false).ends_with(several));
    assert!(ends(range(&[10, 2, 0, 2], &[10, 2, 0, 2]), false).starts_with("delivered on server"));
}

#[test]
fn rewritten_bytes_and_marks_are_seen_by_later_rules() {
    let mut topology = routed();
    let rewrites = rule().rewrite_destination_port(Protocol::Udp, 81);
    let seen = rule().to_port(Protocol::Udp, 81).comment("rewritten").set_mark(7);
    let marked = rule().is(Load::Meta(MetaKey::Mark), 7_u32.to_ne_bytes()).comment("marked").set_mark(8);
    filter(&mut topology, ROUTER, Hook::Forward, [rewrites, seen, marked]);
    let first = ask(&topology, UDP, "10.2.0.2").first;
    assert_eq!(comments(&first, &topology, ROUTER), ["rewritten", "marked"]);
    assert_eq!(sentence(&first, &topology), "refused: no socket on server listens at 10.2.0.2:81");
}

/// Policies, jumps, gotos and returns.
#[test]
fn a_chain_ends_with_a_verdict_or_its_policy() {
    let walk = |policy, rules: Vec<RuleBuilder>| {
        let mut topology = routed();
        let mut chain = Chain::base("forward", ChainKind::Filter, Hook::Forward, 0).with(rules);
        chain.base.as_mut().unwrap().policy = policy;
        let on = Chain::regular("on").with([
            rule().to_port(Protocol::Tcp, 81).drop(),
            rule().go_back(),
            rule().drop(),
        ]);
        let out = Chain::regular("out").with([rule().counter()]);
        let missing = Chain::regular("unused");
        topology[ROUTER]
            .tables
            .push(Table { chains: vec![chain, on, out, missing], ..Table::new(Family::Inet, "mine") });
        let walk = ask(&topology, TCP, "10.2.0.2").first;
        sentence(&walk, &topology).split(", ").next().unwrap_or_default().to_owned()
    };
    let delivered = "delivered on server to a server";
    let policy = "dropped on router by the policy of inet mine forward";
    assert_eq!(walk(Policy::Accept, vec![]), delivered);
    assert_eq!(walk(Policy::Drop, vec![]), policy);
    assert_eq!(walk(Policy::Drop, vec![rule().accept()]), delivered);
    assert_eq!(walk(Policy::Drop, vec![rule().go_back(), rule().accept()]), policy);
    assert_eq!(walk(Policy::Drop, vec![rule().jump("on"), rule().accept()]), delivered);
    assert_eq!(walk(Policy::Drop, vec![rule().goto("on"), rule().accept()]), policy);
    assert_eq!(walk(Policy::Drop, vec![rule().goto("out"), rule().accept()]), policy);
    assert_eq!(walk(Policy::Drop, vec![rule().verdict(Verdict::Continue), rule().accept()]), delivered);
    assert_eq!(walk(Policy::Drop, vec![rule().verdict(Verdict::Break), rule().accept()]), delivered);
    let gone = "unknown from here on router: forward: a jump to gone";
    assert_eq!(walk(Policy::Drop, vec![rule().jump("gone")]), gone);
}

/// Only rules with an effect are reported; a jump counts if a rule in its chain did.
#[test]
fn rules_without_effect_are_not_reported() {
    let mut topology = routed();
    let rules = [
        rule().counter().comment("counts"),
        rule().jump("empty").comment("to nothing"),
        rule().set_mark(7).jump("empty").comment("marks and jumps"),
        rule().jump("marks").comment("to a mark"),
        rule().goto("end").comment("to the end"),
    ];
    let chain = Chain::base("forward", ChainKind::Filter, Hook::Forward, 0).with(rules);
    let empty = Chain::regular("empty").with([rule().counter().comment("inside")]);
    let marks = Chain::regular("marks").with([rule().set_mark(1).comment("mark")]);
    let chains = vec![chain, empty, marks, Chain::regular("end")];
    topology[ROUTER].tables.push(Table { chains, ..Table::new(Family::Inet, "mine") });
    let first = ask(&topology, UDP, "10.2.0.2").first;
    assert_eq!(comments(&first, &topology, ROUTER), ["marks and jumps", "to a mark", "mark"]);
    let hits: Vec<_> = first
        .steps
        .iter()
        .filter_map(|step| match step {
            crate::Step::Chain { hits, .. } => {
                Some(hits.iter().map(|hit| (hit.chain.clone(), hit.place)).collect::<Vec<_>>())
            }
            _ => None,
        })
        .collect();
    let at = |chain: &str, place| (chain.to_owned(), Some(place));
    assert_eq!(hits, [[at("forward", 2), at("forward", 3), at("marks", 0)]]);
}

/// A rule of iptables-legacy is known by its number.
#[test]
fn a_rule_whose_effect_is_not_known_is_named() {
    let mut topology = routed();
    let mut table = Table::new(Family::Ip, "filter");
    let mut queue: fairway_ruleset::Rule = rule().counter().expression(compat::target("NFQUEUE")).into();
    queue.handle = Some(3);
    table.chains.push(Chain::base("FORWARD", ChainKind::Filter, Hook::Forward, 0).with([queue]));
    let end = |topology: &Topology| sentence(&ask(topology, UDP, "10.2.0.2").first, topology);
    topology[ROUTER].tables.push(table.clone());
    let text = end(&topology);
    assert!(
        text.starts_with("unknown from here on router: ip filter FORWARD: ")
            && text.contains(" (handle 3): "),
        "{text}"
    );
    assert!(!text.contains("counter"), "{text}");
    topology[ROUTER].tables.clear();
    topology[ROUTER].iptables_legacy.push(table);
    let text = end(&topology);
    assert!(
        text.starts_with("unknown from here on router: legacy ip filter FORWARD: ")
            && text.contains(" (number 3): "),
        "{text}"
    );
}

#[test]
fn a_rule_that_matches_a_user_needs_a_socket() {
    let mut topology = routed();
    filter(&mut topology, CLIENT, Hook::Output, [rule().socket_user(7).drop()]);
    filter(&mut topology, ROUTER, Hook::Forward, [rule().socket_user(7).drop()]);
    for (user, dropped) in [(Some(7), true), (Some(8), false), (None, false)] {
        let sender = Sender { user, ..Sender::of(CLIENT) };
        let walk = Walker::new(&topology).walk_from_program(
            sender,
            tuple(UDP, "0.0.0.0", "10.2.0.2"),
            FlowPosition::First,
        );
        assert_eq!(matches!(walk.end, End::Dropped { namespace: CLIENT, .. }), dropped, "{user:?}");
    }
    filter(&mut topology, SERVER, Hook::Input, [rule().drop()]);
    assert_eq!(ask(&topology, UDP, "10.2.0.2").outcome(), Outcome::NoReply);
    let found =
        evaluated_in(routed(), Hook::Forward, rule().socket_user(0), tuple(UDP, "10.1.0.2", "10.2.0.2"));
    assert_eq!((found, Register::FIRST), (Found::No, at(0)));
}
