//! Compares an observed table with the planned one.

use fairway_inspect::doctor::Deviation;
use fairway_ruleset::{Rule, Table};

/// How flags, sets, chains and rules of a table differ from the planned ones.
pub(super) fn compare(found: &Table, wanted: &Table) -> Vec<Deviation> {
    let name = format!("{} {}", wanted.family, wanted.name);
    let mut deviations = Vec::new();
    if found.flags != wanted.flags {
        let [actual, expected] = [found, wanted].map(|table| format!("{:?}", table.flags));
        deviations.push(Deviation::new(format!("table {name}: flags"), actual, expected));
    }
    for set in &wanted.sets {
        match found.set(&set.name) {
            None => deviations.push(Deviation::missing(format!("set {name} {}", set.name))),
            Some(other) if other != set => {
                let what = format!("set {name} {}", set.name);
                deviations.push(Deviation::new(what, "changed", "as planned"));
            }
            Some(_) => {}
        }
    }
    for chain in &wanted.chains {
        let what = format!("chain {name} {}", chain.name);
        let Some(other) = found.chain(&chain.name) else {
            deviations.push(Deviation::missing(what));
            continue;
        };
        if other.base != chain.base {
            let [actual, expected] = [other, chain].map(|chain| format!("{:?}", chain.base));
            deviations.push(Deviation::new(format!("{what}: hook and policy"), actual, expected));
        }
        let longest = other.rules.len().max(chain.rules.len());
        let place = (0..longest).find(|place| other.rules.get(*place) != chain.rules.get(*place));
        if let Some(place) = place {
            let text = |table: &Table, rules: &[Rule]| {
                rules.get(place).map_or("missing".to_owned(), |rule| table.rule_text(rule))
            };
            let rule = format!("{what}: rule {}", place + 1);
            let (actual, expected) = (text(found, &other.rules), text(wanted, &chain.rules));
            deviations.push(Deviation::new(rule, actual, expected));
        }
    }
    let more = found.chains.iter().filter(|chain| wanted.chain(&chain.name).is_none());
    deviations.extend(more.map(|it| Deviation::new(format!("chain {name} {}", it.name), "there", "none")));
    deviations
}
