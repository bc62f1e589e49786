//! The policy as rules of iptables: Docker 20.10's layout with our names, and what we deny beyond it.
//!
//! Built-in chains hold nothing of ours but jumps to our chains, so that our own rules are known by where they
//! are. Docker 20.10 has its rules for each network in FORWARD and POSTROUTING themselves; ours are the same, in
//! chains of their own. Rules come in groups: within one the order matters, among those at the same
//! place of a chain it does not, so that a change adds and deletes lines and never asks where they are.

mod entry;
mod layout;
mod placed;
mod saved;
mod script;
#[cfg(test)]
mod tests;

use crate::object::iptables::{USER, is_ours};
use fairway_ruleset::{Chain, Table, rule};

pub use entry::{Entry, direct, direct_target};
pub use layout::{GUARD, Host, NetworkRules, hairpin, host, link, network, published};
pub use placed::{place, remove};
pub use saved::Saved;
pub use script::script;

/// What the chains that are ours do to packets of ours: what is allowed is accepted, whatever rules of others come
/// behind, and nothing else that the chains hold is about them. The user's own rules are as they are.
pub fn as_allowed(table: &mut Table) {
    for chain in table.chains.iter_mut().filter(|chain| is_ours(&chain.name) && chain.name != USER) {
        let allowed = (chain.name == layout::FORWARD).then(|| rule().accept());
        chain.rules = Chain::regular("").with(allowed).rules;
    }
}
