//! The switches of the fixed part of the ruleset.

use fairway_model::PacketMark;
use serde::{Deserialize, Serialize};

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
    /// Whether a family is filtered and translated.
    pub fn filters(&self, ipv4: bool) -> bool {
        !(if ipv4 { self.spares_ipv4 } else { self.spares_ipv6 })
    }
}
