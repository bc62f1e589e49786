//! What of the rules is there, by what `iptables-save` writes.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::object::iptables::{Place, RuleChain, RuleTable, USER, is_ours};
use crate::object::{Fragment, Key, Object};

/// What of one family is ours: our chains with all that is in them, and in built-in chains the jumps to ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    chains: BTreeMap<RuleChain, Vec<String>>,
}

/// Whether a rule leads to a chain of ours.
fn leads_to_us(rule: &str) -> bool {
    let words: Vec<&str> = rule.split(' ').collect();
    words.windows(2).any(|pair| matches!(pair[0], "-j" | "-g") && is_ours(pair[1]))
}

impl Saved {
    /// Reads what `iptables-save` (IPv4) or `ip6tables-save` wrote.
    pub fn parse(ipv4: bool, text: &str) -> Self {
        let mut saved = Self::default();
        let mut table = None;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = RuleTable::ALL.into_iter().find(|table| table.text() == name.trim());
            }
            let Some(table) = table else { continue };
            let mut words = line.splitn(3, ' ');
            match (words.next(), words.next(), words.next()) {
                (Some("-A"), Some(chain), Some(rule)) if is_ours(chain) || leads_to_us(rule) => {
                    let chain = RuleChain::new(ipv4, table, chain);
                    saved.chains.entry(chain).or_default().push(rule.trim_end().to_owned());
                }
                (Some(chain), Some(_), _) if chain.strip_prefix(':').is_some_and(is_ours) => {
                    saved.chains.entry(RuleChain::new(ipv4, table, &chain[1..])).or_default();
                }
                _ => {}
            }
        }
        saved
    }

    /// Whether there is nothing of ours, but for a chain of the user's rules.
    pub fn is_empty(&self) -> bool {
        self.objects(&Fragment::new()).is_empty()
    }

    /// Whether a chain is there.
    pub fn has_chain(&self, chain: &RuleChain) -> bool {
        !chain.is_ours() || self.chains.contains_key(chain)
    }

    /// How often each rule is in its chain.
    pub fn counts(&self) -> HashMap<(&RuleChain, &str), usize> {
        let mut counts = HashMap::new();
        for (chain, rules) in &self.chains {
            for rule in rules {
                *counts.entry((chain, rule.as_str())).or_default() += 1;
            }
        }
        counts
    }

    /// What is there, as objects of a Plan: groups that are wanted and whole, and single rules that are not. The
    /// user's chain is left out when it is not wanted and holds something.
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

/// What is in one chain.
fn in_chain(
    chain: &RuleChain,
    rules: &[String],
    groups: &HashMap<(&RuleChain, &str), Vec<(&str, Place)>>,
) -> Fragment {
    let mut found = Fragment::new();
    let mut whole: HashSet<&str> = HashSet::new();
    let mut strewn: BTreeMap<String, usize> = BTreeMap::new();
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
                *strewn.entry(rule.clone()).or_default() += 1;
                at += 1;
            }
        }
    }
    // To delete a rule is to delete the first one like it: a group that shares one with what is strewn is made anew.
    let broken = |text: &&&str| text.lines().any(|line| strewn.contains_key(line));
    let broken: Vec<&str> = whole.iter().filter(broken).copied().collect();
    for text in broken {
        found.remove(&Key::Rules(chain.clone(), text.to_owned()));
        for line in text.lines() {
            *strewn.entry(line.to_owned()).or_default() += 1;
        }
    }
    for (rule, times) in strewn {
        found.insert(Key::Rules(chain.clone(), rule), Object::Rules(Place::Misplaced(times)));
    }
    found
}
