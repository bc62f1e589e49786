//! The same policy as rules of iptables: Docker 20.10's layout with chains named `FAIRWAY-*`, and what we deny beyond it.
//!
//! Built-in chains hold nothing of ours but jumps to our chains, so that a rule of ours is known by its chain. Docker
//! 20.10 has its rules for each network in FORWARD and POSTROUTING themselves; ours are the same, in chains of their
//! own. Rules come in groups: within a group the order matters, among the
//! groups at one place of a chain it does not, so that a change adds and deletes
//! lines and never needs their positions.

mod chain_name;
mod direct_access;
mod layout;
mod saved;
mod script;
mod tables;
#[cfg(test)]
mod tests;

use super::reason::Reason;
use crate::object::iptables::{RuleTable, USER, is_ours};
use fairway_ruleset::{Chain, Table, rule};

pub use chain_name::GUARD;
pub use direct_access::{DirectAccess, direct, direct_port};
pub use layout::{Host, NetworkRules, hairpin, host, link, network, published, published_port};
pub use saved::Saved;
pub use script::script;
pub use tables::{add_to_tables, remove_from_tables};

/// Why a rule in one of our chains drops, where the table or chain says it: the rules have no comments.
pub fn reason(table: &str, chain: &str) -> Option<Reason> {
    match chain {
        _ if table == RuleTable::Raw.text() => Some(Reason::LoopbackFromOutside),
        chain_name::GUARD => Some(Reason::UnrelatedForward),
        chain_name::RELAY => Some(Reason::RelayDestination),
        _ => None,
    }
}

/// Replaces the rules in our chains of a table by what they do to packets that we allow: those are accepted, whatever
/// rules of other programs come behind, and no other rule is about them. The user's own chain stays as it is.
pub fn accept_in_our_chains(table: &mut Table) {
    for chain in table.chains.iter_mut().filter(|chain| is_ours(&chain.name) && chain.name != USER) {
        let allowed = (chain.name == chain_name::FORWARD).then(|| rule().accept());
        chain.rules = Chain::regular("").with(allowed).rules;
    }
}
