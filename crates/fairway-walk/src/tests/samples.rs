//! Samples: packets of which some values are not known, and the drops that are possible then.

use super::{TCP, UDP, address};
use crate::{PossibleDrop, Sample};
use fairway_ruleset::{
    ByteOrder, Chain, ChainKind, Comparison, CtKey, CtState, Datatype, Element, Expression, Family, FibFlags,
    FibResult, Hook, Load, LookupResult, MetaKey, PayloadBase, Policy, Register, Rule, RuleBuilder, Set,
    Table, Verdict, compat, rule,
};

fn at(slot: u8) -> Register {
    Register::at(slot).unwrap()
}

/// A forwarded segment from 10.0.0.2 by br0 to port 80 of 192.0.2.7 by eth0.
fn known() -> Sample {
    Sample {
        hook: Hook::Forward,
        family: Family::Ip,
        protocol: TCP,
        input: Some("br0".to_owned()),
        output: Some("eth0".to_owned()),
        source: Some(address("10.0.0.2")),
        destination: Some(address("192.0.2.7")),
        destination_port: Some(80),
        translated: false,
        local: vec![address("10.0.0.1")],
    }
}

/// The same without a source address and a port.
fn partly() -> Sample {
    Sample { source: None, destination_port: None, ..known() }
}

fn table(policy: Policy, rules: Vec<RuleBuilder>, sets: Vec<Set>) -> Table {
    let mut chain = Chain::base("base", ChainKind::Filter, Hook::Forward, 0).with(rules);
    chain.base.as_mut().unwrap().policy = policy;
    let refuse = Chain::regular("refuse").with([rule().drop()]);
    let empty = Chain::regular("empty");
    let back = Chain::regular("back").with([rule().go_back(), rule().drop()]);
    Table { chains: vec![chain, refuse, empty, back], sets, ..Table::new(Family::Ip, "theirs") }
}

/// What becomes of a sample at rules of a chain with a policy.
fn met_with(sample: &Sample, policy: Policy, rules: Vec<RuleBuilder>, sets: Vec<Set>) -> &'static str {
    match sample.possible_drops(&table(policy, rules, sets))[..] {
        [] => "passes",
        [PossibleDrop { certain: true, .. }] => "dropped",
        [..] => "may be dropped",
    }
}

fn met(sample: &Sample, matched: RuleBuilder) -> &'static str {
    met_with(sample, Policy::Accept, vec![matched.drop()], vec![])
}

/// What becomes of a sample at a comparison with a value.
fn compared(sample: &Sample, load: Load, operator: Comparison, value: &[u8]) -> &'static str {
    met(sample, rule().compare(load, operator, value))
}

fn name(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

#[test]
fn values_of_a_sample_are_known_or_not() {
    use Comparison::{Equal, NotEqual};
    let ipv6 = Sample {
        family: Family::Ip6,
        source: Some(address("fd00::2")),
        destination: Some(address("2001:db8::7")),
        ..known()
    };
    let octets = |text: &str| match address(text) {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    };
    let number = |value: u32| value.to_ne_bytes().to_vec();
    for (sample, load, value) in [
        (known(), Load::IP_SOURCE, octets("10.0.0.2")),
        (known(), Load::IP_DESTINATION, octets("192.0.2.7")),
        (known(), Load::DESTINATION_PORT, vec![0, 80]),
        (known(), Load::TRANSPORT, vec![TCP]),
        (known(), Load::INPUT_NAME, name("br0")),
        (known(), Load::OUTPUT_NAME, name("eth0")),
        (known(), Load::Meta(MetaKey::NetworkFamily), vec![2]),
        (known(), Load::TCP_FLAGS, vec![2]),
        (known(), Load::Ct(CtKey::State, None), number(CtState::New.number())),
        (known(), Load::Ct(CtKey::Direction, None), vec![0]),
        (ipv6.clone(), Load::IP6_SOURCE, octets("fd00::2")),
        (ipv6.clone(), Load::IP6_DESTINATION, octets("2001:db8::7")),
        (ipv6.clone(), Load::Meta(MetaKey::NetworkFamily), vec![10]),
        (ipv6, Load::Payload(PayloadBase::Network, 6, 1), vec![TCP]),
    ] {
        let mut table = table(Policy::Accept, vec![rule().is(load, value.clone()).drop()], vec![]);
        table.family = sample.family;
        let drops = sample.possible_drops(&table);
        assert!(matches!(drops[..], [PossibleDrop { certain: true, .. }]), "{load:?} {drops:?}");
        table.chains[0].rules = vec![Rule::from(rule().is_not(load, value).drop())];
        assert_eq!(sample.possible_drops(&table), [], "{load:?}");
    }
    let somewhere = Sample { input: None, output: None, destination: None, ..partly() };
    for load in [
        Load::IP_SOURCE,
        Load::IP_DESTINATION,
        Load::SOURCE_PORT,
        Load::DESTINATION_PORT,
        Load::INPUT_NAME,
        Load::OUTPUT_NAME,
        Load::Meta(MetaKey::InputInterface),
        Load::Meta(MetaKey::OutputInterface),
        Load::Meta(MetaKey::Mark),
        Load::Meta(MetaKey::SocketUser),
        Load::Ct(CtKey::Mark, None),
        Load::Ct(CtKey::SourceIpv4, None),
        Load::Payload(PayloadBase::Network, 8, 1),
        Load::Payload(PayloadBase::Network, 4, 2),
        Load::Payload(PayloadBase::Network, 10, 2),
        Load::Payload(PayloadBase::Transport, 4, 4),
        Load::Payload(PayloadBase::Transport, 14, 2),
        Load::Payload(PayloadBase::Transport, 30, 2),
        Load::Fib(FibResult::Interface, FibFlags::SOURCE),
    ] {
        for operator in [Equal, NotEqual] {
            assert_eq!(
                compared(&somewhere, load, operator, &vec![9; load.length().min(2)]),
                "may be dropped",
                "{load:?}"
            );
        }
    }
    // The first segment of a flow is no fragment.
    assert_eq!(compared(&known(), Load::Payload(PayloadBase::Network, 6, 2), Equal, &[0x40, 0]), "dropped");
}

#[test]
fn a_sample_meets_the_filter_chains_of_its_hook_and_family() {
    let drops = || vec![rule().drop()];
    let with = |change: &dyn Fn(&mut Table)| {
        let mut table = table(Policy::Accept, drops(), vec![]);
        change(&mut table);
        known().possible_drops(&table).len()
    };
    let base = |table: &mut Table, change: &dyn Fn(&mut fairway_ruleset::Base)| {
        change(table.chains[0].base.as_mut().unwrap());
    };
    assert_eq!(with(&|_| {}), 1);
    assert_eq!(with(&|table| table.family = Family::Inet), 1);
    assert_eq!(with(&|table| table.family = Family::Ip6), 0);
    assert_eq!(with(&|table| table.family = Family::Bridge), 0);
    assert_eq!(with(&|table| table.flags.dormant = true), 0);
    assert_eq!(with(&|table| base(table, &|base| base.hook = Hook::Input)), 0);
    assert_eq!(with(&|table| base(table, &|base| base.kind = ChainKind::Nat)), 0);
    assert_eq!(with(&|table| base(table, &|base| base.kind = ChainKind::Route)), 1);
    let mut table = table(Policy::Accept, drops(), vec![]);
    let [first, refuse] = [0, 1].map(|place| table.chains[place].clone());
    assert_eq!(known().possible_drops_in(&table, &first).len(), 1);
    assert!(known().possible_drops_in(&table, &refuse).is_empty(), "a chain without a hook");
    table.flags.dormant = true;
    assert!(known().possible_drops(&table).is_empty());
}

#[test]
fn the_addresses_of_the_namespace_are_local() {
    let to = |destination: Option<&str>| {
        let sample = Sample { destination: destination.map(address), ..known() };
        met(&sample, rule().to_local())
    };
    assert_eq!(to(Some("10.0.0.1")), "dropped");
    assert_eq!(to(Some("10.0.0.9")), "passes");
    assert_eq!(to(None), "passes", "an address that is not known stands for one of another host");
    // Which interface has the address is not known: it may be that of the packet.
    let flags = FibFlags(FibFlags::DESTINATION.0 | FibFlags::INPUT.0);
    let local = Load::Fib(FibResult::AddressType, flags);
    let to_own = Sample { destination: Some(address("10.0.0.1")), ..known() };
    assert_eq!(compared(&to_own, local, Comparison::Equal, &2_u32.to_ne_bytes()), "dropped");
    let translated = Sample { translated: true, ..known() };
    assert_eq!(met(&translated, rule().ct_status_dnat()), "dropped");
    assert_eq!(met(&known(), rule().ct_status_dnat()), "passes");
    let datagram = Sample { protocol: UDP, ..known() };
    assert_eq!(met(&datagram, rule().to_port(fairway_model::Protocol::Udp, 80)), "dropped");
    assert_eq!(met(&datagram, rule().to_port(fairway_model::Protocol::Tcp, 80)), "passes");
}

/// A byte that is known and differs decides about equality; order needs all bytes.
#[test]
fn known_bytes_of_a_value_may_decide() {
    use Comparison as C;
    let addresses = Load::Payload(PayloadBase::Network, 12, 8);
    let value = |last: u8| [10, 0, 0, 2, 192, 0, 2, last];
    for (operator, same, other) in [
        (C::Equal, "may be dropped", "passes"),
        (C::NotEqual, "may be dropped", "dropped"),
        (C::Less, "may be dropped", "may be dropped"),
        (C::GreaterOrEqual, "may be dropped", "may be dropped"),
    ] {
        assert_eq!(compared(&partly(), addresses, operator, &value(7)), same, "{operator}");
        assert_eq!(compared(&partly(), addresses, operator, &value(8)), other, "{operator}");
    }
    let range = |first: u8, last: u8| {
        let load = rule().expression(addresses.into_register(at(0)));
        let (first, last) = (value(first).to_vec(), value(last).to_vec());
        met(&partly(), load.expression(Expression::Range { from: at(0), inverted: false, first, last }))
    };
    assert_eq!(range(7, 9), "may be dropped");
}

/// Masks leave out bytes that are not known; other arithmetic keeps their places, or loses them all.
#[test]
fn arithmetic_keeps_track_of_bytes_that_are_not_known() {
    let load = || rule().expression(Load::Payload(PayloadBase::Network, 12, 8).into_register(at(0)));
    let is = |rule: RuleBuilder, from: u8, value: &[u8]| {
        let compare =
            Expression::Compare { from: at(from), operator: Comparison::Equal, value: value.to_vec() };
        met(&partly(), rule.expression(compare))
    };
    let bitwise = |mask: [u8; 8]| {
        load().expression(Expression::Bitwise {
            from: at(0),
            to: at(4),
            mask: mask.to_vec(),
            xor: vec![0; 8],
        })
    };
    let last = [0, 0, 0, 0, 192, 0, 2, 7];
    assert_eq!(is(bitwise([0, 0, 0, 0, 255, 255, 255, 255]), 4, &last), "dropped");
    assert_eq!(is(bitwise([0, 0, 0, 1, 255, 255, 255, 255]), 4, &last), "may be dropped");
    assert_eq!(is(bitwise([255; 8]), 5, &[192, 0, 2, 7]), "dropped");
    assert_eq!(is(bitwise([255; 8]), 5, &[192, 0, 2, 8]), "passes");
    let zero = Expression::Immediate { to: at(8), value: vec![0; 8] };
    let exclusive_or = Expression::ExclusiveOr { one: at(0), other: at(8), to: at(4), length: 8 };
    let xor = || load().expression(zero.clone()).expression(exclusive_or.clone());
    assert_eq!(is(xor(), 5, &[192, 0, 2, 7]), "dropped");
    assert_eq!(is(xor(), 4, &[10, 0, 0, 2]), "may be dropped");
    let turn = |from, length| Expression::Byteorder {
        from,
        to: at(4),
        order: ByteOrder::HostToNetwork,
        length,
        size: 4,
    };
    assert_eq!(is(load().expression(turn(at(0), 8)), 5, &[1, 1, 1, 1]), "may be dropped");
    assert_eq!(is(load().expression(turn(at(1), 4)), 4, &[1, 1, 1, 1]), "passes");
    // The registers after the value stay known, and those that are written again.
    let immediate = |to, value: &[u8]| Expression::Immediate { to, value: value.to_vec() };
    assert_eq!(is(load(), 2, &[1]), "passes");
    assert_eq!(is(load().expression(immediate(at(0), &[1, 2, 3, 4])), 0, &[1, 2, 3, 4]), "dropped");
    assert_eq!(is(load().expression(immediate(at(0), &[1])), 0, &[1, 0, 0, 0]), "dropped");
}

/// A set of pairs: a source, which is not known, and a destination.
#[test]
fn the_known_part_of_a_key_chooses_among_elements() {
    let key = |source: [u8; 4], destination: [u8; 4]| [source, destination].concat();
    let source = [10, 0, 0, 2];
    let (here, elsewhere) = ([192, 0, 2, 7], [192, 0, 2, 8]);
    let set = |elements: Vec<Element>| {
        vec![Set::new("pairs", [Datatype::Ipv4Address, Datatype::Ipv4Address]).with(elements)]
    };
    let (is_in, is_not_in) = (
        || vec![rule().is_in(&[Load::IP_SOURCE, Load::IP_DESTINATION], "pairs").drop()],
        || vec![rule().is_not_in(&[Load::IP_SOURCE, Load::IP_DESTINATION], "pairs").drop()],
    );
    let range = Element::new(key([0; 4], [192, 0, 2, 0])).up_to(key([255; 4], [192, 0, 2, 7]));
    let other_range = Element::new(key([0; 4], [192, 0, 2, 8])).up_to(key([255; 4], [192, 0, 2, 9]));
    for (elements, within, without) in [
        (vec![Element::new(key(source, here))], "may be dropped", "may be dropped"),
        (vec![Element::new(key(source, elsewhere))], "passes", "dropped"),
        (
            vec![Element::new(key(source, elsewhere)), Element::new(key(source, here))],
            "may be dropped",
            "may be dropped",
        ),
        (vec![range], "may be dropped", "may be dropped"),
        (vec![other_range], "passes", "dropped"),
        (vec![], "passes", "dropped"),
        (vec![Element::new([])], "dropped", "passes"),
        (vec![Element::new(key(source, here)), Element::new([])], "dropped", "passes"),
    ] {
        let met = |rules| met_with(&partly(), Policy::Accept, rules, set(elements.clone()));
        assert_eq!((met(is_in()), met(is_not_in())), (within, without), "{elements:?}");
    }
}

#[test]
fn a_map_gives_a_value_that_is_not_known_or_one_of_several_verdicts() {
    let port = Load::DESTINATION_PORT.into_register(at(0));
    let values = |elements: Vec<Element>| {
        vec![Set::map("marks", [Datatype::InetService], [Datatype::Mark]).with(elements)]
    };
    let look_up =
        Expression::Lookup { set: "marks".to_owned(), from: at(0), result: LookupResult::Value(at(4)) };
    let loaded = || vec![rule().expression(port.clone()).expression(look_up.clone()).drop()];
    let element = |key: &[u8]| Element::to_value(key, [7, 0, 0, 0]);
    for (elements, expected) in [
        (vec![element(&[0, 80])], "may be dropped"),
        (vec![], "passes"),
        (vec![element(&[])], "dropped"),
        (vec![element(&[0, 80]), element(&[])], "dropped"),
    ] {
        assert_eq!(
            met_with(&partly(), Policy::Accept, loaded(), values(elements.clone())),
            expected,
            "{elements:?}"
        );
    }
    let compare = Expression::Compare { from: at(4), operator: Comparison::Equal, value: vec![8, 0, 0, 0] };
    let compared =
        vec![rule().expression(port.clone()).expression(look_up.clone()).expression(compare).drop()];
    assert_eq!(met_with(&partly(), Policy::Accept, compared, values(vec![element(&[])])), "may be dropped");

    let verdicts = |elements: Vec<(Vec<u8>, Verdict)>| {
        let elements = elements.into_iter().map(|(key, verdict)| Element::to_verdict(key, verdict));
        vec![Set::verdict_map("ports", [Datatype::InetService]).with(elements)]
    };
    let (a, b) = (vec![0, 80], vec![0, 81]);
    for (elements, policy, expected) in [
        (vec![(a.clone(), Verdict::Drop)], Policy::Accept, "may be dropped"),
        (vec![(a.clone(), Verdict::Drop), (vec![], Verdict::Drop)], Policy::Accept, "dropped"),
        (vec![(a.clone(), Verdict::Accept), (b.clone(), Verdict::Drop)], Policy::Accept, "may be dropped"),
        (vec![(a.clone(), Verdict::Accept), (b.clone(), Verdict::Accept)], Policy::Accept, "passes"),
        (vec![(a.clone(), Verdict::Accept), (vec![], Verdict::Accept)], Policy::Drop, "passes"),
        (vec![(a, Verdict::Accept)], Policy::Drop, "may be dropped"),
        (vec![(b, Verdict::Jump("refuse".to_owned()))], Policy::Accept, "may be dropped"),
        (vec![], Policy::Accept, "passes"),
    ] {
        let rules = vec![rule().verdict_of(&[Load::DESTINATION_PORT], "ports")];
        let text = format!("{elements:?}");
        assert_eq!(met_with(&partly(), policy, rules, verdicts(elements)), expected, "{text}");
    }
}

/// Each drop with its chain and rule, and whether it is certain.
#[test]
fn possible_drops_name_chain_and_rule() {
    let drops = |policy, rules: Vec<RuleBuilder>| -> Vec<(String, Option<u64>, bool)> {
        let mut table = table(policy, rules, vec![]);
        for (number, rule) in table.chains.iter_mut().flat_map(|chain| &mut chain.rules).enumerate() {
            rule.handle = Some(number as u64 + 1);
        }
        let found = partly().possible_drops(&table);
        found.into_iter().map(|it| (it.chain, it.rule, it.certain)).collect()
    };
    let maybe = || rule().is(Load::DESTINATION_PORT, [0, 80]);
    let never = || rule().is(Load::TRANSPORT, [UDP]);
    let at = |chain: &str, rule: u64, certain| (chain.to_owned(), Some(rule), certain);
    let policy = |certain| ("base".to_owned(), None, certain);
    use Policy::{Accept, Drop};
    for (default, rules, expected) in [
        (Accept, vec![], vec![]),
        (Drop, vec![], vec![policy(true)]),
        (Drop, vec![rule().accept()], vec![]),
        (Drop, vec![maybe().accept()], vec![policy(false)]),
        (Drop, vec![never().accept()], vec![policy(true)]),
        (Accept, vec![rule().drop(), rule().drop()], vec![at("base", 1, true)]),
        (Accept, vec![maybe().drop(), rule().drop()], vec![at("base", 1, false), at("base", 2, true)]),
        (Accept, vec![maybe().accept(), rule().drop()], vec![at("base", 2, false)]),
        (Accept, vec![never().drop(), rule().drop()], vec![at("base", 2, true)]),
        (Drop, vec![rule().go_back(), rule().accept()], vec![policy(true)]),
        (Drop, vec![maybe().go_back(), rule().accept()], vec![policy(false)]),
        (Accept, vec![rule().jump("refuse"), rule().drop()], vec![at("refuse", 3, true)]),
        (
            Accept,
            vec![maybe().jump("refuse"), rule().drop()],
            vec![at("refuse", 3, false), at("base", 2, true)],
        ),
        (Accept, vec![rule().jump("empty"), rule().drop()], vec![at("base", 2, true)]),
        (Accept, vec![rule().jump("back"), rule().drop()], vec![at("base", 2, true)]),
        (Drop, vec![rule().goto("empty"), rule().accept()], vec![policy(true)]),
        (Drop, vec![maybe().goto("empty"), rule().accept()], vec![policy(false)]),
        (Drop, vec![maybe().jump("empty"), rule().accept()], vec![]),
        // A chain that does not exist, and an effect that is not known.
        (Drop, vec![rule().jump("gone")], vec![policy(false)]),
        (Drop, vec![rule().expression(compat::target("SOMETHING"))], vec![policy(false)]),
        (
            Accept,
            vec![rule().expression(compat::target("SOMETHING")), rule().drop()],
            vec![at("base", 2, false)],
        ),
    ] {
        let text = format!("{rules:?}");
        assert_eq!(drops(default, rules), expected, "{text}");
    }
}

/// A rule that is rejected is dropped; what a rule writes into the packet is not known after it.
#[test]
fn effects_of_rules_on_samples() {
    assert_eq!(met_with(&known(), Policy::Accept, vec![rule().reject()], vec![]), "dropped");
    // The first of two rules, with a rule behind it that drops: a queue may accept, a transparent proxy goes on.
    let unknown = |name: &str| Expression::Unknown { name: name.to_owned(), attributes: Vec::new() };
    for (name, expected) in [
        ("queue", "passes"),
        ("synproxy", "passes"),
        ("tproxy", "dropped"),
        ("log", "dropped"),
        ("quota", "dropped"),
        ("odd", "may be dropped"),
    ] {
        let rules = vec![rule().expression(unknown(name)), rule().drop()];
        assert_eq!(met_with(&known(), Policy::Accept, rules, vec![]), expected, "{name}");
    }
    let rewrites = rule().rewrite_destination_port(fairway_model::Protocol::Tcp, 81);
    let rules = |port: [u8; 2]| vec![rewrites.clone(), rule().is(Load::DESTINATION_PORT, port).drop()];
    assert_eq!(met_with(&known(), Policy::Accept, rules([0, 80]), vec![]), "may be dropped");
    let other = vec![rewrites.clone(), rule().is(Load::IP_DESTINATION, [192, 0, 2, 7]).drop()];
    assert_eq!(met_with(&known(), Policy::Accept, other, vec![]), "dropped");
    let counters =
        Set { data: fairway_ruleset::SetData::Object(1), ..Set::new("counters", [Datatype::InetService]) };
    let looks = || rule().is_in(&[Load::DESTINATION_PORT], "counters").drop();
    assert_eq!(met_with(&known(), Policy::Accept, vec![looks()], vec![counters]), "may be dropped");
}
