//! An unknown match ends the evaluation only where the result depends on it.

use super::{End, Evaluation, Facts};
use crate::lookup::Lookup;
use crate::{FlowPosition, NamespaceId, Packet, Tuple, empty_namespace};
use fairway_ruleset::{
    Chain, ChainKind, Expression, Hook, LimitRate, MetaKey, Register, RuleBuilder, Table, compat, rule,
};

/// The end of a TCP segment to port 80 at these rules, and the verdicts on its way.
fn walked(rules: Vec<RuleBuilder>, others: Vec<Chain>) -> (End, Vec<String>) {
    let mut table = Table::new(fairway_ruleset::Family::Ip, "mine");
    table.chains.push(Chain::base("fwd", ChainKind::Filter, Hook::Forward, 0).with(rules));
    table.chains.extend(others);
    for (handle, rule) in table.chains.iter_mut().flat_map(|chain| &mut chain.rules).enumerate() {
        rule.handle = Some(handle as u64 + 1);
    }
    let namespace = empty_namespace("host");
    let lookup = Lookup::default();
    let facts = Facts {
        namespace: &namespace,
        input: None,
        output: None,
        flow: None,
        related: false,
        untracked: false,
        user: None,
        ports: None,
        is_sample: false,
        lookup: (&lookup, NamespaceId::HOST),
        choices: None,
    };
    let tuple = Tuple {
        protocol: 6,
        source: [10, 0, 0, 1].into(),
        destination: [10, 0, 0, 2].into(),
        source_port: 40_000,
        destination_port: 80,
    };
    let mut evaluation = Evaluation::new(facts, &table);
    let end = evaluation.run(&table.chains[0], &mut Packet::new(tuple, FlowPosition::First));
    let hits = evaluation.hits.iter().filter_map(|hit| hit.rule.clone());
    (end, hits.collect())
}

fn recent() -> RuleBuilder {
    rule().expression(compat::matching("recent"))
}

fn to_port(rule: RuleBuilder, port: u16) -> RuleBuilder {
    rule.to_port(fairway_model::Protocol::Tcp, port)
}

#[test]
fn an_unknown_match_is_ignored_where_both_forks_end_alike() {
    let limit = LimitRate { amount: 3, seconds: 60, burst: 5, bytes: false, inverted: false };
    let log = rule().expression(Expression::Limit(limit)).expression(compat::target("LOG"));
    assert_eq!(walked(vec![log, rule().drop()], vec![]).0, End::Dropped);
    assert_eq!(walked(vec![recent().drop(), rule().drop()], vec![]), (End::Dropped, vec!["drop".to_owned()]));
    assert_eq!(walked(vec![recent().accept()], vec![]).0, End::Accepted);
    let back = Chain::regular("logging").with([recent().go_back(), rule().expression(compat::target("LOG"))]);
    assert_eq!(walked(vec![rule().jump("logging"), rule().drop()], vec![back]).0, End::Dropped);
}

#[test]
fn an_unknown_target_of_a_rule_that_does_not_match_is_ignored() {
    assert_eq!(walked(vec![to_port(recent(), 81).drop()], vec![]).0, End::Accepted);
    assert_eq!(
        walked(vec![to_port(rule(), 81).expression(compat::target("NFQUEUE"))], vec![]).0,
        End::Accepted
    );
}

#[test]
fn an_unknown_match_that_decides_is_reported_with_its_rule() {
    let (end, met) = walked(vec![rule().set_mark(7), to_port(recent(), 80).drop()], vec![]);
    let End::Unknown(reason) = end else { panic!("{end:?}") };
    assert!(reason.starts_with("ip mine fwd: ") && reason.contains("(handle 2)"), "{reason}");
    assert!(reason.ends_with("the match depends on earlier packets"), "{reason}");
    assert_eq!(met.len(), 1, "{met:?}");
    let (end, _) = walked(vec![recent().set_mark(7)], vec![]);
    assert!(matches!(end, End::Unknown(_)), "a mark may decide later: {end:?}");
    let (end, _) = walked(vec![to_port(rule(), 80).expression(compat::target("NFQUEUE"))], vec![]);
    assert!(matches!(end, End::Unknown(_)), "{end:?}");
}

#[test]
fn an_unknown_value_matters_where_a_rule_compares_it() {
    let chance = || {
        let loads = Expression::Unknown { name: "numgen".to_owned(), attributes: Vec::new() };
        rule().expression(loads)
    };
    assert_eq!(walked(vec![to_port(chance(), 81).drop()], vec![]).0, End::Accepted);
    let (from, value) = (Register::FIRST, vec![0; 4]);
    let compare = Expression::Compare { from, operator: fairway_ruleset::Comparison::Equal, value };
    let (end, _) = walked(vec![chance().expression(compare).drop()], vec![]);
    assert!(matches!(&end, End::Unknown(reason) if reason.ends_with("the value is random")), "{end:?}");
    let mark = Expression::MetaSet { key: MetaKey::Mark, from };
    assert!(matches!(walked(vec![chance().expression(mark)], vec![]).0, End::Unknown(_)));
}

#[test]
fn the_number_of_forks_is_limited() {
    let rules: Vec<RuleBuilder> = (0..200).map(|_| recent().jump("on")).collect();
    let on = Chain::regular("on").with([recent().go_back()]);
    let (end, _) = walked(rules.into_iter().chain([rule().drop()]).collect(), vec![on]);
    assert!(matches!(end, End::Unknown(_)), "{end:?}");
}

/// Chains as `iptables-save` may print them, which the kernel would refuse: jumps in a loop, or too many jumps.
#[test]
fn jump_loops_end_the_evaluation() {
    let ends = |rules: Vec<RuleBuilder>, others: Vec<Chain>| {
        let End::Unknown(reason) = walked(rules, others).0 else { panic!("it is known") };
        assert!(reason.contains("lead into one another"), "{reason}");
    };
    ends(vec![rule().goto("one")], vec![Chain::regular("one").with([rule().goto("one")])]);
    let two = [("one", "two"), ("two", "one")].map(|(name, to)| Chain::regular(name).with([rule().goto(to)]));
    ends(vec![rule().jump("one")], two.into());
    ends(vec![rule().jump("one")], vec![Chain::regular("one").with([rule().jump("one")])]);
    let fan = (0..15).map(|depth| {
        let jumps = (0..10).map(|_| rule().jump(&format!("at{}", depth + 1)));
        Chain::regular(format!("at{depth}")).with(jumps)
    });
    ends(vec![rule().jump("at0")], fan.chain([Chain::regular("at15")]).collect());
}

/// The evaluation ends for random jumps between random chains.
#[test]
fn random_jumps_end() {
    let mut rng = fairway_model::Rng::new(1);
    for _ in 0..200 {
        let chains = (0..6).map(|number| {
            let rules = (0..rng.below(6)).map(|_| {
                let begins = if rng.below(4) == 0 { recent() } else { rule() };
                let to = format!("at{}", rng.below(7));
                match rng.below(8) {
                    0 => begins.accept(),
                    1 => begins.drop(),
                    2 => begins.go_back(),
                    3 | 4 => begins.goto(&to),
                    _ => begins.jump(&to),
                }
            });
            Chain::regular(format!("at{number}")).with(rules.collect::<Vec<_>>())
        });
        let chains = chains.collect();
        let (_, met) = walked(vec![rule().jump("at0"), recent().jump("at1"), rule().goto("at2")], chains);
        assert!(met.len() <= super::chain::MOST_WAYS, "{}", met.len());
    }
}
