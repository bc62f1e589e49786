//! Rules that a kernel was asked about too: the packets that pass here passed there.

use super::*;
use fairway_model::Protocol;
use fairway_ruleset::{
    CtState, Element, ElementData, Expression, FibFlags, FibResult, Load, LookupResult, Policy, Register,
    RuleBuilder, Set, Verdict, compat, rule,
};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A forwarded segment, or a datagram of the host to its own loopback, whose addresses are not known.
fn sample(hook: Hook) -> Sample {
    let is_query = hook == Hook::Output;
    Sample {
        hook,
        family: Family::Ip,
        protocol: if is_query { UDP } else { TCP },
        input: Some(if is_query { "" } else { "br0" }.to_owned()),
        output: is_query.then(|| LOOPBACK.to_owned()),
        source: None,
        destination: None,
        destination_port: is_query.then_some(53),
        translated: false,
        local: vec![[10, 0, 0, 1].into()],
    }
}

/// Whether the rules, at a chain with this policy, drop a sample: `passes`, `may be dropped` or `dropped`.
fn met(sample: &Sample, policy: Policy, rules: Vec<RuleBuilder>, sets: Vec<Set>) -> &'static str {
    let mut chain = Chain::base("base", ChainKind::Filter, sample.hook, 0).with(rules);
    chain.base.as_mut().unwrap().policy = policy;
    let refuse = Chain::regular("refuse").with([rule().reject()]);
    let table = Table { chains: vec![chain, refuse], sets, ..Table::new(Family::Ip, "theirs") };
    match sample.possible_drops(&table)[..] {
        [] => "passes",
        [PossibleDrop { certain: true, .. }] => "dropped",
        [..] => "may be dropped",
    }
}

#[test]
fn a_first_segment_has_the_flag_syn_and_is_no_fragment() {
    let forwarded = sample(Hook::Forward);
    let not_syn = || {
        let flags = [Load::TCP_FLAGS.into_register(Register::FIRST)];
        let masked = Expression::Bitwise {
            from: Register::FIRST,
            to: Register::FIRST,
            mask: vec![0x17],
            xor: vec![0],
        };
        let differs = Expression::Compare {
            from: Register::FIRST,
            operator: fairway_ruleset::Comparison::NotEqual,
            value: vec![2],
        };
        let all = flags.into_iter().chain([masked, differs]);
        all.fold(rule().transport(Protocol::Tcp), RuleBuilder::expression).ct_state_any(&[CtState::New])
    };
    assert_eq!(met(&forwarded, Policy::Accept, vec![not_syn().drop()], vec![]), "passes");
    let fragment = rule().has_any_bit(Load::Payload(PayloadBase::Network, 6, 2), [0x1f, 0xff]);
    assert_eq!(met(&forwarded, Policy::Accept, vec![fragment.drop()], vec![]), "passes");
    // What a sender may choose is not known.
    let lives = rule().is(Load::Payload(PayloadBase::Network, 8, 1), [1]);
    assert_eq!(met(&forwarded, Policy::Accept, vec![lives.drop()], vec![]), "may be dropped");
    let option = rule().is(Load::Payload(PayloadBase::Transport, 20, 1), [2]);
    assert_eq!(met(&forwarded, Policy::Accept, vec![option.drop()], vec![]), "may be dropped");
}

#[test]
fn the_loopback_interface_is_known_by_its_index_and_its_addresses_are_local() {
    let query = sample(Hook::Output);
    let to_loopback = rule().is(Load::Meta(fairway_ruleset::MetaKey::OutputInterface), 1_u32.to_ne_bytes());
    assert_eq!(met(&query, Policy::Drop, vec![to_loopback.clone().accept()], vec![]), "passes");
    assert_eq!(
        met(&sample(Hook::Forward), Policy::Drop, vec![to_loopback.accept()], vec![]),
        "may be dropped"
    );
    for flags in [FibFlags::SOURCE, FibFlags::DESTINATION] {
        let to = Register::FIRST;
        let kind = Expression::Fib { result: FibResult::AddressType, flags, to };
        let operator = fairway_ruleset::Comparison::Equal;
        let local = Expression::Compare { from: to, operator, value: 2_u32.to_ne_bytes().to_vec() };
        let local = || rule().expression(kind.clone()).expression(local.clone()).accept();
        assert_eq!(met(&query, Policy::Drop, vec![local()], vec![]), "passes");
        assert_eq!(met(&sample(Hook::Forward), Policy::Drop, vec![local()], vec![]), "dropped");
    }
}

/// `-m conntrack --ctstate`, as iptables-nft gives it to the kernel.
fn states(states: u16, inverted: bool, flags: u16) -> RuleBuilder {
    let Expression::Unknown { name, mut attributes } = compat::matching("conntrack") else { panic!() };
    let mut data = vec![0; 160];
    data[146..148].copy_from_slice(&flags.to_ne_bytes());
    data[148..150].copy_from_slice(&u16::from(inverted).to_ne_bytes());
    data[150..152].copy_from_slice(&states.to_ne_bytes());
    attributes.extend([(data.len() as u16 + 4).to_ne_bytes(), 3_u16.to_ne_bytes()].concat());
    attributes.extend(data);
    rule().expression(Expression::Unknown { name, attributes })
}

#[test]
fn states_are_read_from_the_match_of_iptables() {
    const DNAT: u16 = 128;
    let untranslated = sample(Hook::Forward);
    for (asked, inverted, expected) in [
        (6, false, "dropped"),
        (8, false, "passes"),
        (8, true, "dropped"),
        (6, true, "passes"),
        (DNAT, false, "dropped"),
    ] {
        let rules = vec![states(asked, inverted, 1).accept()];
        assert_eq!(met(&untranslated, Policy::Drop, rules, vec![]), expected, "{asked} {inverted}");
    }
    let translated = Sample { translated: true, ..untranslated.clone() };
    assert_eq!(met(&translated, Policy::Drop, vec![states(DNAT, false, 1).accept()], vec![]), "passes");
    // It matches more than states.
    assert_eq!(
        met(&untranslated, Policy::Drop, vec![states(8, false, 3).accept()], vec![]),
        "may be dropped"
    );
}

#[test]
fn extensions_of_iptables_and_objects_have_the_effect_that_is_known_of_them() {
    let forwarded = sample(Hook::Forward);
    let target = |name: &str| rule().expression(compat::target(name));
    for (name, expected) in [
        ("LOG", "dropped"),
        ("MARK", "dropped"),
        ("REJECT", "dropped"),
        ("NFQUEUE", "passes"),
        ("SOMETHING", "may be dropped"),
    ] {
        let rules = vec![target(name), rule().drop()];
        assert_eq!(met(&forwarded, Policy::Accept, rules, vec![]), expected, "{name}");
    }
    // A quota matches above or below a limit (`NFTA_OBJREF_IMM_TYPE`).
    let quota = Expression::Unknown { name: "objref".to_owned(), attributes: vec![8, 0, 1, 0, 0, 0, 0, 2] };
    let rules = vec![rule().expression(quota).drop()];
    assert_eq!(met(&forwarded, Policy::Accept, rules, vec![]), "may be dropped");
}

#[test]
fn a_verdict_map_has_the_verdicts_that_the_known_part_of_the_key_leaves() {
    let sixteen = |name: &str| {
        let mut bytes = name.as_bytes().to_vec();
        bytes.resize(16, 0);
        bytes
    };
    let map = |elements: Vec<(Vec<u8>, Verdict)>| {
        let mut map = Set::verdict_map("zones", [fairway_ruleset::Datatype::InterfaceName; 2]);
        let element = |(key, verdict)| Element { data: ElementData::Verdict(verdict), ..Element::new(key) };
        map.elements = elements.into_iter().map(element).collect();
        map
    };
    let second = Register::FIRST.after(16).unwrap();
    let look_up =
        Expression::Lookup { set: "zones".to_owned(), from: Register::FIRST, result: LookupResult::Verdict };
    let by_zone = || {
        let loads =
            [Load::INPUT_NAME.into_register(Register::FIRST), Load::OUTPUT_NAME.into_register(second)];
        loads.into_iter().chain([look_up.clone()]).fold(rule(), RuleBuilder::expression)
    };
    let met = |elements| met(&sample(Hook::Forward), Policy::Accept, vec![by_zone()], vec![map(elements)]);
    let key = |input: &str| [sixteen(input), sixteen("eth0")].concat();
    // The output interface is not known, the input interface is.
    assert_eq!(met(vec![(key("br1"), Verdict::Drop)]), "passes");
    assert_eq!(met(vec![(key("br0"), Verdict::Drop)]), "may be dropped");
    assert_eq!(met(vec![(key("br0"), Verdict::Goto("refuse".to_owned()))]), "may be dropped");
    assert_eq!(met(vec![(key("br1"), Verdict::Accept), (vec![], Verdict::Drop)]), "dropped");
    assert_eq!(met(vec![(key("br0"), Verdict::Accept), (vec![], Verdict::Drop)]), "may be dropped");
}

#[test]
fn a_chain_that_is_perhaps_left_or_entered_makes_later_drops_possible() {
    let forwarded = sample(Hook::Forward);
    let may_match = || rule().to_port(Protocol::Tcp, 80);
    let drops = |rules| met(&forwarded, Policy::Accept, rules, vec![]);
    assert_eq!(drops(vec![may_match().go_back(), rule().drop()]), "may be dropped");
    assert_eq!(drops(vec![may_match().goto("refuse")]), "may be dropped");
    assert_eq!(drops(vec![rule().jump("refuse")]), "dropped");
    assert_eq!(drops(vec![may_match().set_mark(1), rule().drop()]), "dropped");
    // What a rule sets is not known after it: the packet may not have come to the rule.
    let marked = rule().is(Load::Meta(fairway_ruleset::MetaKey::Mark), 1_u32.to_ne_bytes());
    assert_eq!(drops(vec![may_match().set_mark(1), marked.drop()]), "may be dropped");
}
