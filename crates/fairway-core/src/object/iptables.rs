//! Chains of iptables, and where rules are in them.

use serde::{Deserialize, Serialize};

/// What the names of our chains begin with, and the name of the one that Docker calls `DOCKER`.
pub(crate) const OWN: &str = "FAIRWAY";
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

/// Whether a chain is one of ours by its name.
pub fn is_ours(chain: &str) -> bool {
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
    Misplaced(usize),
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
    pub(crate) fn new(
        chain: RuleChain,
        place: Place,
        lines: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self { chain, place, lines: lines.into_iter().map(Into::into).collect() }
    }

    /// The lines as one text, by which groups of a chain differ.
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }
}
