//! What `iptables-save` prints, read and said in the language of `nft`.

use super::*;

const IPV4: &str = include_str!("tests/iptables-save.txt");
const IPV6: &str = include_str!("tests/ip6tables-save.txt");

/// Each rule, and what is made of it.
fn readings(family: Family, text: &str) -> String {
    let mut lines = String::new();
    for table in read(family, text) {
        for chain in &table.chains {
            let base = chain.base.as_ref();
            let at = base.map(|it| format!(" {} {} {} {}", it.kind, it.hook, it.priority, it.policy));
            lines += &format!("{} {}{}\n", table.name, chain.name, at.unwrap_or_default());
            for rule in &chain.rules {
                let plain = Rule { text: None, ..rule.clone() };
                lines += &format!("  {}\n    {}\n", table.rule_text(rule), table.rule_text(&plain));
            }
        }
    }
    lines
}

#[test]
fn rules_of_iptables_are_read_as_expressions() {
    insta::assert_snapshot!("iptables", readings(Family::Ip, IPV4));
    insta::assert_snapshot!("ip6tables", readings(Family::Ip6, IPV6));
}

#[test]
fn what_is_not_understood_keeps_its_name() {
    let text = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m odd -m strange -j NFQUEUE\nCOMMIT\n";
    let tables = read(Family::Ip, text);
    let names: Vec<Option<String>> = tables[0].chains[0].rules[0]
        .expressions
        .iter()
        .map(|it| match it {
            Expression::Unknown { attributes, .. } => compat::name(attributes),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["odd", "strange", "NFQUEUE"].map(|name| Some(name.to_owned())));
}

#[test]
fn counts_and_numbers_are_read() {
    let text = "*nat\n:OUTPUT ACCEPT [0:0]\n[7:420] -A OUTPUT -o lo -m comment --comment \"two words\" -j RETURN\nCOMMIT\n";
    let tables = read(Family::Ip, text);
    let rule = &tables[0].chains[0].rules[0];
    assert_eq!(rule.expressions[0], Expression::Counter(Count { packets: 7, bytes: 420 }));
    assert_eq!((rule.handle, rule.comment.as_deref()), (Some(1), Some("two words")));
    assert_eq!(rule.text.as_deref(), Some("-o lo -m comment --comment \"two words\" -j RETURN"));
}

#[test]
fn what_was_printed_takes_the_place_of_bytes_and_leaves_handles() {
    let printed = || {
        read(
            Family::Ip,
            "*filter\n:FORWARD DROP [0:0]\n:X - [0:0]\n-A X -m state --state NEW -j DROP\nCOMMIT\n",
        )
        .remove(0)
    };
    let mut table = Table::new(Family::Ip, "filter");
    let known = Rule {
        expressions: vec![compat::matching("state"), Expression::Counter(Count { packets: 1, bytes: 60 })],
        handle: Some(12),
        ..Rule::default()
    };
    table.chains = vec![Chain::regular("X").with([known.clone()]), Chain::regular("of-nft")];
    let before = table.clone();
    table.chains[1].rules.push(known.clone());
    assert!(!adopt(&mut table, printed()), "a chain with rules is not in it");
    table = before;
    assert!(adopt(&mut table, printed()));
    let rule = &table.chains[0].rules[0];
    assert_eq!(rule.expressions[0], known.expressions[1]);
    assert_eq!(rule.expressions.last(), Some(&Expression::Verdict(Verdict::Drop)));
    assert_eq!((rule.handle, rule.text.as_deref()), (Some(12), Some("-m state --state NEW -j DROP")));
    let mut twice = table.clone();
    twice.chains[0].rules.push(known);
    assert!(!adopt(&mut twice, printed()), "another number of rules");
}
