//! Scripts for `iptables-restore --noflush`.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::Saved;
use crate::object::iptables::{Place, RuleChain, RuleTable, is_ours};
use crate::object::{Difference, Key, Object};

/// How many lines are committed at once: what the program sends to the kernel for more would not fit into the send
/// buffer of a socket (`net.core.wmem_max`), which only the machine's own root may exceed.
const MOST_LINES: usize = 500;

/// The script that makes the rules of one family follow a difference; none if there is nothing to do.
///
/// It relies upon the rules that the difference states. When another program has changed them meanwhile, `found` has the
/// actual ones: then only those are deleted, and missing chains are made.
///
/// The user's own chain is made if it is not there, and never deleted here: that is tried by itself
/// ([`super::USER`]), for it must not be emptied.
pub fn script(ipv4: bool, difference: &Difference, found: Option<&Saved>) -> Option<String> {
    let mut text = String::new();
    for table in RuleTable::ALL {
        let mut part = Part { ipv4, table, found, lines: String::new() };
        part.declare(difference);
        part.delete(difference);
        part.add(difference);
        part.forget(difference);
        let lines: Vec<&str> = part.lines.split_inclusive('\n').collect();
        for some in lines.chunks(MOST_LINES) {
            // Writing to a text cannot fail.
            let _ = write!(text, "*{}\n{}COMMIT\n", table.text(), some.concat());
        }
    }
    (!text.is_empty()).then_some(text)
}

/// What is done in one table.
struct Part<'a> {
    ipv4: bool,
    table: RuleTable,
    found: Option<&'a Saved>,
    lines: String,
}

impl Part<'_> {
    fn concerns(&self, chain: &RuleChain) -> bool {
        chain.ipv4 == self.ipv4 && chain.table == self.table
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a text cannot fail.
        let _ = writeln!(self.lines, "{line}");
    }

    /// A chain that is declared is emptied if it is there.
    fn declare(&mut self, difference: &Difference) {
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for (key, object) in difference.wanted() {
            match (key, object) {
                (Key::Chain(chain), _) if self.concerns(chain) => {
                    names.insert(&chain.name);
                }
                (Key::Rules(chain, text), _) if self.concerns(chain) && self.found.is_some() => {
                    names.insert(&chain.name);
                    let words: Vec<&str> = text.split([' ', '\n']).collect();
                    names.extend(words.windows(2).filter(|pair| pair[0] == "-j").map(|pair| pair[1]));
                }
                _ => {}
            }
        }
        for name in names.into_iter().filter(|name| is_ours(name)) {
            let chain = RuleChain::new(self.ipv4, self.table, name);
            if self.found.is_none_or(|found| !found.has_chain(&chain)) && !chain.is_users() {
                self.line(format_args!(":{name} - [0:0]"));
            }
        }
    }

    fn delete(&mut self, difference: &Difference) {
        let other = difference.changed.iter().map(|(key, (old, _))| (key, old));
        let found = self.found.map(Saved::counts);
        for (key, object) in difference.removed.iter().chain(other) {
            let (Key::Rules(chain, text), Object::Rules(place)) = (key, object) else { continue };
            if !self.concerns(chain) || difference.removed.contains_key(&Key::Chain(chain.clone())) {
                // A chain that goes is emptied as a whole.
                continue;
            }
            let times = if let Place::Misplaced(times) = place { *times } else { 1 };
            for rule in text.lines() {
                let there = found.as_ref().map_or(times, |found| *found.get(&(chain, rule)).unwrap_or(&0));
                for _ in 0..times.min(there) {
                    self.line(format_args!("-D {} {rule}", chain.name));
                }
            }
        }
    }

    fn add(&mut self, difference: &Difference) {
        for (key, object) in difference.wanted() {
            let (Key::Rules(chain, text), Object::Rules(place)) = (key, object) else { continue };
            if !self.concerns(chain) {
                continue;
            }
            let name = &chain.name;
            match place {
                Place::First => {
                    for rule in text.lines().rev() {
                        self.line(format_args!("-I {name} {rule}"));
                    }
                }
                Place::Last | Place::Misplaced(_) => {
                    for rule in text.lines() {
                        self.line(format_args!("-A {name} {rule}"));
                    }
                }
            }
        }
    }

    /// Deletes the removed chains: first they are emptied, so that none is jumped to by another. Other programs may have
    /// added rules to them.
    fn forget(&mut self, difference: &Difference) {
        let chains = difference.removed.keys().filter_map(|key| match key {
            Key::Chain(chain) if self.concerns(chain) && !chain.is_users() => Some(chain),
            _ => None,
        });
        let there = |chain: &&RuleChain| self.found.is_none_or(|found| found.has_chain(chain));
        let chains: Vec<&RuleChain> = chains.filter(there).collect();
        for command in ["-F", "-X"] {
            for chain in &chains {
                self.line(format_args!("{command} {}", chain.name));
            }
        }
    }
}
