//! What is allowed and translated, in words, and the ruleset that follows.
//!
//! A few rules are fixed; what comes and goes is elements of the sets and maps named here. So the
//! cost of a change, and of a packet, does not grow with what exists.

pub mod counting;
mod gateway;
pub mod iptables;
mod isolation;
mod lan;
mod routed;
mod rules;
mod strict;

pub use rules::{BRIDGE_TABLE, TABLE, drops_unrelated_forwarding, ruleset};

use crate::object::RulesetSwitches;
use fairway_ruleset::{Family, Table};

/// What stands for rules that follow from no switches (no daemon asks for a relay that is root, user 0), but of
/// which it can be told whom they leave alone.
pub fn unknown_switches(found: &[Table]) -> RulesetSwitches {
    let bridge = found.iter().find(|table| table.family == Family::Bridge);
    let (ipv4_disabled, ipv6_disabled) = bridge.map_or((false, false), isolation::spares);
    let bridge_table_only = !found.iter().any(|table| table.family == Family::Inet);
    RulesetSwitches {
        ipv4_disabled,
        ipv6_disabled,
        bridge_table_only,
        relay_user: Some(0),
        ..RulesetSwitches::default()
    }
}

/// What the names of the tables of running traces begin with.
pub const TRACE_TABLE_PREFIX: &str = "fairway-trace-";

/// Whether a table belongs to a trace, by its name.
pub fn is_trace_table(name: &str) -> bool {
    name.starts_with(TRACE_TABLE_PREFIX)
}

#[cfg(test)]
mod tests;
