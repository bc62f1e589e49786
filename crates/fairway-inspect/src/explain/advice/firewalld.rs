//! Advice for packets that firewalld drops on the host: the commands of firewalld that accept them, which stay after its
//! reload.

use fairway_core::world::World;
use fairway_model::Protocol;
use fairway_model::shell::quote;
use fairway_ruleset::Hook;
use fairway_walk::{PacketWalk, RuleHit, Step, Tuple};

/// The table of firewalld with the backend nf_tables.
const TABLE: &str = "firewalld";
/// The chain of what comes to the host, followed by the name of a zone.
const ZONE: &str = "filter_IN_";
/// What follows the name of a zone in the names of its other chains.
const PARTS: [&str; 5] = ["_pre", "_log", "_deny", "_allow", "_post"];

/// The advice for a rule of firewalld; none for a rule of another program.
pub(super) fn firewalld(world: &World, walk: &PacketWalk, hook: Hook, hit: &RuleHit) -> Option<String> {
    if hit.table != TABLE {
        return None;
    }
    let tuple = walk.steps.iter().rev().find_map(|step| match step {
        Step::Translated { to, .. } => Some(to),
        Step::Arrives { tuple, .. } | Step::Leaves { tuple, .. } | Step::Made { tuple, .. } => Some(tuple),
        _ => None,
    })?;
    match hook {
        Hook::Forward => {
            let bridge = quote(bridge(world, tuple)?);
            let integrate = match world.settings().firewall_integration {
                true => "",
                false => "; or run the daemon with --firewall-integration",
            };
            Some(format!(
                "that is a rule of firewalld: firewall-cmd --permanent --zone=trusted --add-interface={bridge} && firewall-cmd --reload{integrate}"
            ))
        }
        Hook::Input => {
            let protocol = Protocol::from_number(tuple.protocol)?;
            let zone = zone(&hit.chain).map(|zone| format!("--zone={} ", quote(zone))).unwrap_or_default();
            let port = format!("{}/{protocol}", tuple.destination_port);
            Some(format!("that is a rule of firewalld: firewall-cmd {zone}--add-port={port}"))
        }
        _ => None,
    }
}

/// The bridge of the network that a packet comes from, else of that which it goes to.
fn bridge<'a>(world: &'a World, tuple: &Tuple) -> Option<&'a str> {
    [tuple.source, tuple.destination].into_iter().find_map(|address| {
        let has = |it: &fairway_model::Subnet| it.subnet.contains(&address);
        let mut networks = world.networks().filter(|network| network.driver.has_bridge());
        networks.find(|network| network.subnets.iter().any(has)).map(|network| network.bridge.as_str())
    })
}

/// The zone that a chain is of; none for the chains of all zones.
fn zone(chain: &str) -> Option<&str> {
    let rest = chain.strip_prefix(ZONE)?;
    Some(PARTS.iter().find_map(|part| rest.strip_suffix(part)).unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_is_read_from_the_chain() {
        for (chain, expected) in [
            ("filter_IN_public", Some("public")),
            ("filter_IN_my_zone_deny", Some("my_zone")),
            ("filter_INPUT", None),
            ("filter_FWD_public", None),
        ] {
            assert_eq!(zone(chain), expected, "{chain}");
        }
    }
}
