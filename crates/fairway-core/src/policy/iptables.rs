//! The policy as rules of iptables: Docker 20.10's layout with our names, and what we deny beyond it.
//!
//! Built-in chains hold nothing of ours but jumps to our chains, so that our own rules are known by where they
//! are. Docker 20.10 has its rules for each network in FORWARD and POSTROUTING themselves; ours are the same, in
//! chains of their own. Rules come in groups ([`Rules`]): within one the order matters, among those at the same
//! [`Place`] of a chain it does not, so that a change adds and deletes lines and never asks where they are.

mod entry;
mod layout;
mod placed;
mod saved;
mod script;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::ruleset::{Chain, Table, rule};

pub use entry::{Entry, direct, direct_target};
pub use layout::{GUARD, Host, NetworkRules, hairpin, host, link, network, published};
pub use placed::{place, remove};
pub use saved::Saved;
pub use script::script;

/// What the names of our chains begin with, and the name of the one that Docker calls `DOCKER`.
const OWN: &str = "FAIRWAY";
/// Where users put rules of their own, which come before ours.
pub const USER: &str = "FAIRWAY-USER";

/// A table, in the order in which changes are made: what restricts, what decides, what translates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RuleTable {
    /// Before conntrack.
    Raw,
    /// Decisions.
    Filter,
    /// Translations.
    Nat,
}

impl RuleTable {
    /// All, in order.
    pub const ALL: [Self; 3] = [Self::Raw, Self::Filter, Self::Nat];

    /// Its name.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }
}

/// A chain of iptables (IPv4) or ip6tables.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RuleChain {
    /// Of iptables; else of ip6tables.
    pub ipv4: bool,
    /// Its table.
    pub table: RuleTable,
    /// Its name.
    pub name: String,
}

impl RuleChain {
    /// A chain by its name.
    pub fn new(ipv4: bool, table: RuleTable, name: &str) -> Self {
        Self { ipv4, table, name: name.to_owned() }
    }

    /// Whether it is one of ours.
    pub fn is_ours(&self) -> bool {
        is_ours(&self.name)
    }

    /// Whether its rules are the user's.
    pub fn is_users(&self) -> bool {
        self.name == USER
    }
}

/// What the chains that are ours do to packets of ours: what is allowed is accepted, whatever rules of others come
/// behind, and nothing else that the chains hold is about them. The user's own rules are as they are.
pub fn as_allowed(table: &mut Table) {
    for chain in table.chains.iter_mut().filter(|chain| is_ours(&chain.name) && chain.name != USER) {
        let allowed = (chain.name == layout::FORWARD).then(|| rule().accept());
        chain.rules = Chain::regular("").with(allowed).rules;
    }
}

fn is_ours(chain: &str) -> bool {
    chain.strip_prefix(OWN).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Where in its chain a group of rules is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// Before all that is last.
    First,
    /// Behind all that is first.
    Last,
    /// Where it should not be, so many times. Only found, never wanted.
    Strewn(usize),
}

/// Rules that follow one another in a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The chain.
    pub chain: RuleChain,
    /// Where in it.
    pub place: Place,
    /// Each rule as `iptables-save` writes it, without the chain.
    pub lines: Vec<String>,
}

impl Rules {
    fn new(chain: RuleChain, place: Place, lines: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { chain, place, lines: lines.into_iter().map(Into::into).collect() }
    }

    /// The lines as one text, which tells groups of a chain apart.
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }
}
