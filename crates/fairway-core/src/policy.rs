//! What is allowed and translated, and the nftables ruleset that follows.
//!
//! The rules are few and fixed; what changes is elements of the sets and maps that they look up. So the cost of a
//! change, and of a packet, does not grow with the number of networks, sandboxes and published ports.

mod base_chains;
pub mod counting;
mod direct_access;
mod icc;
pub mod iptables;
mod lan;
mod packet;
pub mod port;
mod reason;
mod relay;
mod routed_driver;
mod sets;
mod source_guard;

pub use base_chains::drops_unrelated_forwarding;
pub use reason::Reason;

use crate::object::{RulesetSwitches, SETS};
use fairway_ruleset::{Chain, Family, Table, TableFlags, rule};

/// Our table of the inet family: what the host routes, translates and delivers.
pub const TABLE: &str = "fairway";
/// Our table of the bridge family: what passes between the ports of a bridge.
pub const BRIDGE_TABLE: &str = "fairway";
/// The prefix of the names of tables of running traces.
pub const TRACE_TABLE_PREFIX: &str = "fairway-trace-";

/// The tables that follow from the switches, with empty sets.
pub fn ruleset(switches: &RulesetSwitches) -> Vec<Table> {
    let mut inet = Table::new(Family::Inet, TABLE);
    let mut bridge = Table::new(Family::Bridge, BRIDGE_TABLE);
    for table in [&mut inet, &mut bridge] {
        table.flags = TableFlags::OWNED;
        table.sets = SETS.into_iter().filter(|set| set.family() == table.family).map(sets::declare).collect();
    }
    inet.sets.extend(counting::sets());
    inet.chains = base_chains::chains(switches);
    inet.chains.extend([
        direct_access::chain(),
        direct_access::routed_mode(),
        routed_driver::chain(),
        icc::chain(switches),
    ]);
    inet.chains.extend(counting::chains());
    inet.chains.extend(switches.relay_user.into_iter().flat_map(relay::chains));
    for chain in inet.chains.iter_mut().filter(|chain| chain.base.is_some()) {
        let accepted = disabled_families(switches).map(|family| {
            let reason = if family == Family::Ip { Reason::Ipv4Disabled } else { Reason::Ipv6Disabled };
            rule().family(family).accept().comment(reason)
        });
        chain.rules.splice(0..0, Chain::regular("").with(accepted).rules);
    }
    bridge.chains = vec![
        source_guard::chain(switches),
        source_guard::strict_chain(switches),
        icc::bridge_forward(),
        icc::bridge_chain(switches),
    ];
    bridge.chains.extend(lan::chains(switches));
    match switches.bridge_table_only {
        true => vec![bridge],
        false => vec![inet, bridge],
    }
}

/// The families that are neither filtered nor translated.
fn disabled_families(switches: &RulesetSwitches) -> impl Iterator<Item = Family> + use<> {
    let families = [(switches.ipv4_disabled, Family::Ip), (switches.ipv6_disabled, Family::Ip6)];
    families.into_iter().filter(|(is_disabled, _)| *is_disabled).map(|(_, family)| family)
}

/// Switches in place of those that made tables which differ from every ruleset of this version. Which families the
/// tables leave alone is read from them; user 0 for the relay, which no daemon uses, makes the switches differ from
/// all others.
pub fn unknown_switches(found: &[Table]) -> RulesetSwitches {
    let bridge = found.iter().find(|table| table.family == Family::Bridge);
    let (ipv4_disabled, ipv6_disabled) = bridge.map_or((false, false), icc::disabled_in);
    let bridge_table_only = !found.iter().any(|table| table.family == Family::Inet);
    RulesetSwitches {
        ipv4_disabled,
        ipv6_disabled,
        bridge_table_only,
        relay_user: Some(0),
        ..RulesetSwitches::default()
    }
}

/// Whether a table belongs to a trace, by its name.
pub fn is_trace_table(name: &str) -> bool {
    name.starts_with(TRACE_TABLE_PREFIX)
}

#[cfg(test)]
mod tests;
