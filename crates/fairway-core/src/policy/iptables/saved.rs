//! What `iptables-save` prints of our rules, as objects of a Plan.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::object::iptables::{Place, RuleChain, RuleTable, USER, is_ours};
use crate::object::{Fragment, Key, Object};
use fairway_ruleset::iptables_save::{Line, leads_to, lines};

/// Our rules of one family: our chains with all that they hold, and in built-in chains the jumps to ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    chains: BTreeMap<RuleChain, Vec<String>>,
}

impl Saved {
    /// Reads what `iptables-save` (IPv4) or `ip6tables-save` printed.
    pub fn parse(ipv4: bool, text: &str) -> Self {
        let mut saved = Self::default();
        let mut table = None;
        for line in lines(text) {
            match (line, table) {
                (Line::Table(name), _) => {
                    table = RuleTable::ALL.into_iter().find(|table| table.text() == name);
                }
                (Line::Chain { name, .. }, Some(table)) if is_ours(name) => {
                    saved.chains.entry(RuleChain::new(ipv4, table, name)).or_default();
                }
                (Line::Rule { chain, text, .. }, Some(table))
                    if is_ours(chain) || leads_to(text, is_ours) =>
                {
                    let chain = RuleChain::new(ipv4, table, chain);
                    saved.chains.entry(chain).or_default().push(text.to_owned());
                }
                _ => {}
            }
        }
        saved
    }

    /// Whether nothing is ours but a chain of the user's rules.
    pub fn is_empty(&self) -> bool {
        self.objects(&Fragment::new()).is_empty()
    }

    /// Whether a chain exists.
    pub fn has_chain(&self, chain: &RuleChain) -> bool {
        !chain.is_ours() || self.chains.contains_key(chain)
    }

    /// How many times each rule is in its chain.
    pub fn counts(&self) -> HashMap<(&RuleChain, &str), usize> {
        let mut counts = HashMap::new();
        for (chain, rules) in &self.chains {
            for rule in rules {
                *counts.entry((chain, rule.as_str())).or_default() += 1;
            }
        }
        counts
    }

    /// The chains and rules as objects of a Plan: wanted groups that are complete, and every other rule by itself. The
    /// user's chain is left out when it is not wanted and holds rules.
    pub fn objects(&self, wanted: &Fragment) -> Fragment {
        let mut found = Fragment::new();
        let mut groups: HashMap<(&RuleChain, &str), Vec<(&str, Place)>> = HashMap::new();
        for (key, object) in wanted {
            if let (Key::Rules(chain, text), Object::Rules(place)) = (key, object) {
                let first = text.lines().next().unwrap_or_default();
                groups.entry((chain, first)).or_default().push((text, *place));
            }
        }
        for (chain, rules) in &self.chains {
            let users = chain.name == USER;
            let key = Key::Chain(chain.clone());
            if chain.is_ours() && (!users || rules.is_empty() || wanted.contains_key(&key)) {
                found.insert(key, Object::Chain);
            }
            if !users {
                found.extend(in_chain(chain, rules, &groups));
            }
        }
        found
    }
}

/// The groups and single rules of one chain.
fn in_chain(
    chain: &RuleChain,
    rules: &[String],
    groups: &HashMap<(&RuleChain, &str), Vec<(&str, Place)>>,
) -> Fragment {
    let mut found = Fragment::new();
    let mut whole: HashSet<&str> = HashSet::new();
    let mut misplaced: BTreeMap<String, usize> = BTreeMap::new();
    let mut last_has_begun = false;
    let mut at = 0;
    while let Some(rule) = rules.get(at) {
        let is_here = |(text, place): &&(&str, Place)| {
            let mut lines = text.lines().enumerate();
            !whole.contains(text)
                && (!last_has_begun || *place != Place::First)
                && lines.all(|(number, line)| rules.get(at + number).is_some_and(|rule| rule == line))
        };
        let group = groups.get(&(chain, rule.as_str())).and_then(|groups| groups.iter().find(is_here));
        match group {
            Some((text, place)) => {
                last_has_begun |= *place == Place::Last;
                whole.insert(text);
                found.insert(Key::Rules(chain.clone(), (*text).to_owned()), Object::Rules(*place));
                at += text.lines().count();
            }
            None => {
                *misplaced.entry(rule.clone()).or_default() += 1;
                at += 1;
            }
        }
    }
    // Deleting a rule deletes the first equal one: a group that has a rule in common with misplaced ones is made anew.
    let broken = |text: &&&str| text.lines().any(|line| misplaced.contains_key(line));
    let broken: Vec<&str> = whole.iter().filter(broken).copied().collect();
    for text in broken {
        found.remove(&Key::Rules(chain.clone(), text.to_owned()));
        for line in text.lines() {
            *misplaced.entry(line.to_owned()).or_default() += 1;
        }
    }
    for (rule, times) in misplaced {
        found.insert(Key::Rules(chain.clone(), rule), Object::Rules(Place::Misplaced(times)));
    }
    found
}
