use super::*;
use crate::object::Fragment;

fn read(family: Family, text: &str) -> Table {
    iptables_save::read(family, text).pop().unwrap()
}

/// Our jump first, our drop last, and a chain of our own, in one family.
fn rules(ipv4: bool) -> Fragment {
    let chain = |name: &str| RuleChain::new(ipv4, RuleTable::Filter, name);
    let rules =
        |name: &str, text: &str, place| (Key::Rules(chain(name), text.to_owned()), Object::Rules(place));
    Fragment::from([
        (Key::Chain(chain("FAIRWAY-FORWARD")), Object::Chain),
        rules("FAIRWAY-FORWARD", "-i br-app -j ACCEPT\n-o br-app -j ACCEPT", Place::Last),
        rules("FORWARD", "-j FAIRWAY-FORWARD", Place::First),
        rules("FORWARD", "-i br-app -j DROP", Place::Last),
        // An object of another kind has no rules.
        (Key::Sysctl("net/ipv4/ip_forward".to_owned()), Object::Chain),
    ])
}

/// Each chain of a table and how many rules it has.
fn rule_counts(table: &Table) -> Vec<String> {
    table.chains.iter().map(|chain| format!("{}: {}", chain.name, chain.rules.len())).collect()
}

const FOREIGN: &str = "*filter\n:FORWARD DROP\n-A FORWARD -i docker0 -j ACCEPT\nCOMMIT\n";

#[test]
fn rules_are_added_before_and_behind_those_of_others() {
    let foreign = read(Family::Ip, FOREIGN);
    let mut tables = vec![foreign.clone()];
    add_to_tables(rules(true).iter(), &mut tables, &mut []);
    let [table] = &tables[..] else { panic!("{tables:?}") };
    assert_eq!(rule_counts(table), ["FORWARD: 3", "FAIRWAY-FORWARD: 2"]);
    let expected = read(
        Family::Ip,
        "*filter\n:FORWARD DROP\n:FAIRWAY-FORWARD -\n-A FORWARD -j FAIRWAY-FORWARD\n-A FORWARD -i docker0 -j ACCEPT\n-A FORWARD -i br-app -j DROP\nCOMMIT\n",
    );
    let expressions = |table: &Table| -> Vec<_> {
        table.chains[0].rules.iter().map(|rule| rule.expressions.clone()).collect()
    };
    assert_eq!(expressions(table), expressions(&expected));
    // Rules that are planned have no handle yet; those that were read keep theirs.
    let handles: Vec<_> = table.chains[0].rules.iter().map(|rule| rule.handle).collect();
    assert_eq!(handles, [None, foreign.chains[0].rules[0].handle, None]);
    assert_eq!(table.chains[0].base, foreign.chains[0].base, "the policy stays");
}

#[test]
fn rules_go_to_the_legacy_table_only_where_nf_tables_has_none() {
    let (nft, legacy) = (read(Family::Ip, FOREIGN), read(Family::Ip, FOREIGN));
    let mut tables = vec![nft];
    let mut of_legacy = [legacy.clone()];
    add_to_tables(rules(true).iter(), &mut tables, &mut of_legacy);
    assert_eq!(of_legacy, [legacy], "nf_tables has the table");
    assert_eq!(tables[0].chains.len(), 2);

    let mut none = Vec::new();
    add_to_tables(rules(true).iter(), &mut none, &mut of_legacy);
    assert!(none.is_empty());
    assert_eq!(rule_counts(&of_legacy[0]), ["FORWARD: 3", "FAIRWAY-FORWARD: 2"]);
}

#[test]
fn rules_of_each_family_and_table_make_a_table_of_their_own_where_there_is_none() {
    let mut tables = vec![read(Family::Ip, FOREIGN), read(Family::Ip, "*nat\n:PREROUTING ACCEPT\nCOMMIT\n")];
    let before = tables.clone();
    add_to_tables(rules(false).iter(), &mut tables, &mut []);
    assert_eq!(tables[..2], before[..]);
    let [_, _, new] = &tables[..] else { panic!("{tables:?}") };
    assert_eq!((new.family, new.name.as_str()), (Family::Ip6, "filter"));
    let mut chains = rule_counts(new);
    chains.sort();
    assert_eq!(chains, ["FAIRWAY-FORWARD: 2", "FORWARD: 2"]);
}

#[test]
fn removal_undoes_addition_and_keeps_the_users_chain() {
    let with_user = "*filter\n:FORWARD DROP\n:FAIRWAY-USER -\n-A FORWARD -i docker0 -j ACCEPT\n-A FAIRWAY-USER -j FAIRWAY-FORWARD\nCOMMIT\n";
    let mut tables = vec![read(Family::Ip, with_user), read(Family::Ip6, with_user)];
    let other = Table { family: Family::Inet, ..read(Family::Ip, "*filter\n:FAIRWAY-OLD -\nCOMMIT\n") };
    tables.push(other.clone());
    let before = tables.clone();
    for ipv4 in [true, false] {
        let jump_only = rules(ipv4)
            .into_iter()
            .filter(|(key, _)| !matches!(key, Key::Rules(_, text) if text.ends_with("DROP")));
        add_to_tables(jump_only.collect::<Fragment>().iter(), &mut tables, &mut []);
    }
    assert_ne!(tables, before);
    remove_from_tables(&mut tables);
    assert_eq!(tables, before);
    assert_eq!(tables[2], other, "tables of other families are not those of iptables");
}
