//! Adds the iptables rules of a Plan to the tables of a host, and removes ours from them.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::object::iptables::{Place, RuleChain, RuleTable, USER, is_ours};
use crate::object::{Key, Object};
use fairway_ruleset::{Expression, Family, Rule, Table, Verdict, iptables_save};

/// The lines of a chain: those before all other rules, and those behind.
#[derive(Default)]
struct Lines<'a> {
    first: Vec<&'a str>,
    last: Vec<&'a str>,
}

/// Adds the chains and rules of a Plan where `iptables` would: to tables of nf_tables, or of iptables-legacy where the
/// host has such a table.
pub fn add_to_tables<'a>(
    objects: impl Iterator<Item = (&'a Key, &'a Object)>,
    tables: &mut Vec<Table>,
    legacy: &mut [Table],
) {
    let mut chains: BTreeMap<&RuleChain, Lines<'_>> = BTreeMap::new();
    for (key, object) in objects {
        match (key, object) {
            (Key::Chain(chain), _) => {
                chains.entry(chain).or_default();
            }
            (Key::Rules(chain, text), Object::Rules(place)) => {
                let lines = chains.entry(chain).or_default();
                let lines = if *place == Place::First { &mut lines.first } else { &mut lines.last };
                lines.extend(text.lines());
            }
            _ => {}
        }
    }
    for (family, ipv4) in [(Family::Ip, true), (Family::Ip6, false)] {
        for table in RuleTable::ALL {
            let own: Vec<_> =
                chains.iter().filter(|(chain, _)| (chain.ipv4, chain.table) == (ipv4, table)).collect();
            if own.is_empty() {
                continue;
            }
            let mut text = format!("*{}\n", table.text());
            for (chain, _) in &own {
                text += &format!(":{} ACCEPT\n", chain.name);
            }
            for (chain, lines) in &own {
                for line in lines.first.iter().chain(&lines.last) {
                    text += &format!("-A {} {line}\n", chain.name);
                }
            }
            let is_it = |it: &&mut Table| it.family == family && it.name == table.text();
            let known = match tables.iter_mut().find(is_it) {
                Some(known) => Some(known),
                None => legacy.iter_mut().find(is_it),
            };
            let mut read = iptables_save::read(family, &text).pop();
            for rule in read.iter_mut().flat_map(|table| &mut table.chains).flat_map(|it| &mut it.rules) {
                rule.handle = None;
            }
            match (read, known) {
                (Some(read), Some(known)) => merge(known, read, &own),
                (Some(read), None) => tables.push(read),
                (None, _) => {}
            }
        }
    }
}

/// Adds chains, and rules to existing chains.
fn merge(table: &mut Table, read: Table, own: &[(&&RuleChain, &Lines<'_>)]) {
    for chain in read.chains {
        let Some(known) = table.chains.iter_mut().find(|known| known.name == chain.name) else {
            table.chains.push(chain);
            continue;
        };
        let lines = own.iter().find(|(own, _)| own.name == chain.name);
        let first = lines.map_or(0, |(_, lines)| lines.first.len()).min(chain.rules.len());
        let mut rules = chain.rules;
        let last = rules.split_off(first);
        rules.append(&mut known.rules);
        rules.extend(last);
        known.rules = rules;
    }
}

/// Removes our chains, and the jumps to them, from the tables of a host; the user's own chain stays.
pub fn remove_from_tables(tables: &mut [Table]) {
    let leads = |expression: &Expression| matches!(expression, Expression::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) if is_ours(to));
    let is_other = |rule: &Rule| !rule.expressions.iter().any(leads);
    for table in tables.iter_mut().filter(|table| matches!(table.family, Family::Ip | Family::Ip6)) {
        table.chains.retain(|chain| chain.name == USER || !is_ours(&chain.name));
        for chain in table.chains.iter_mut().filter(|chain| chain.name != USER) {
            chain.rules.retain(is_other);
        }
    }
}
