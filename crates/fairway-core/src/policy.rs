//! What is allowed and translated, in words, and the ruleset that follows.
//!
//! A few rules are fixed; what comes and goes is elements of the sets and maps named here. So the
//! cost of a change, and of a packet, does not grow with what exists.

mod element;
mod isolation;
mod routed;
mod rules;

pub use element::{ElementKey, SETS, SetName};
pub use rules::{BRIDGE_TABLE, TABLE, ruleset};

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
    /// The relay's user, which may open connections to our networks and to name servers only.
    pub relay_user: Option<u32>,
}

impl RulesetSwitches {
    /// What stands for a ruleset that follows from no switches: no daemon asks for a relay that is
    /// root (user 0).
    pub const UNKNOWN: Self = Self {
        userland_proxy: false,
        bridge_netfilter_ipv4: false,
        bridge_netfilter_ipv6: false,
        guard_forward_ipv4: false,
        guard_forward_ipv6: false,
        relay_user: Some(0),
    };
}
