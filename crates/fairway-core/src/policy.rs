//! What is allowed and translated, in words, and the ruleset that follows.
//!
//! A few rules are fixed; what comes and goes is elements of the sets and maps named here. So the
//! cost of a change, and of a packet, does not grow with what exists.

pub mod counting;
mod element;
mod gateway;
pub mod iptables;
mod isolation;
mod lan;
mod routed;
mod rules;
mod strict;

pub use element::{ElementKey, SETS, SetName};
pub use rules::{BRIDGE_TABLE, TABLE, drops_unrelated_forwarding, ruleset};

use serde::{Deserialize, Serialize};

use crate::model::PacketMark;
use crate::ruleset::{Family, Table};

/// The switches from which the fixed part of the ruleset follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesetSwitches {
    /// Published ports asked for by sandboxes and on loopback are left to the proxy.
    pub userland_proxy: bool,
    /// Bridged IPv4 packets meet the IP hooks.
    pub bridge_netfilter_ipv4: bool,
    /// Bridged IPv6 packets meet the IP hooks.
    pub bridge_netfilter_ipv6: bool,
    /// We switched IPv4 forwarding on, so flows that touch none of our bridges are not forwarded.
    pub guard_forward_ipv4: bool,
    /// The same for IPv6.
    pub guard_forward_ipv6: bool,
    /// IPv4 is neither filtered nor translated.
    pub spares_ipv4: bool,
    /// The same for IPv6.
    pub spares_ipv6: bool,
    /// What is routed is left to iptables: there is no table of the inet family.
    pub bridged_alone: bool,
    /// Who has a route may go straight to published ports of any sandbox.
    pub allow_direct: bool,
    /// Packets with such a mark may enter networks that are not internal.
    pub accept_mark: Option<PacketMark>,
    /// The relay's user, which may open connections to our networks and to name servers only.
    pub relay_user: Option<u32>,
}

impl RulesetSwitches {
    /// What stands for rules that follow from no switches (no daemon asks for a relay that is root, user 0), but of
    /// which it can be told whom they leave alone.
    pub fn unknown(found: &[Table]) -> Self {
        let bridge = found.iter().find(|table| table.family == Family::Bridge);
        let (spares_ipv4, spares_ipv6) = bridge.map_or((false, false), isolation::spares);
        let bridged_alone = !found.iter().any(|table| table.family == Family::Inet);
        Self { spares_ipv4, spares_ipv6, bridged_alone, relay_user: Some(0), ..Self::default() }
    }

    /// Whether a family is filtered and translated.
    pub fn filters(&self, ipv4: bool) -> bool {
        !(if ipv4 { self.spares_ipv4 } else { self.spares_ipv6 })
    }
}
