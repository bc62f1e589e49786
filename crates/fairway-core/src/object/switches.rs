//! The settings from which the fixed part of the ruleset follows.

use fairway_model::PacketMark;
use serde::{Deserialize, Serialize};

/// The settings from which the fixed part of the ruleset follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesetSwitches {
    /// Connections to published ports from sandboxes and on loopback are left to the proxy.
    pub userland_proxy: bool,
    /// Bridged IPv4 packets meet the IP hooks.
    pub bridge_netfilter_ipv4: bool,
    /// Bridged IPv6 packets meet the IP hooks.
    pub bridge_netfilter_ipv6: bool,
    /// We switched IPv4 forwarding on, so flows that touch none of our bridges are not forwarded.
    pub drop_unrelated_forward_ipv4: bool,
    /// The same for IPv6.
    pub drop_unrelated_forward_ipv6: bool,
    /// IPv4 is neither filtered nor translated.
    pub ipv4_disabled: bool,
    /// The same for IPv6.
    pub ipv6_disabled: bool,
    /// Routed packets are left to iptables: there is no table of the inet family.
    pub bridge_table_only: bool,
    /// Hosts with a route reach published ports at the sandbox's own address.
    pub allow_direct_routing: bool,
    /// Packets with this mark may enter networks that are not internal.
    pub accept_mark: Option<PacketMark>,
    /// The relay's user, which may open connections to our networks and to name servers only.
    pub relay_user: Option<u32>,
}

impl RulesetSwitches {
    /// Whether a family is filtered and translated.
    pub fn filters(&self, ipv4: bool) -> bool {
        !(if ipv4 { self.ipv4_disabled } else { self.ipv6_disabled })
    }
}
