//! What may enter a network without having been translated, as in [`crate::policy`]'s sets.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::chain_name::DIRECT;
use crate::object::RulesetSwitches;
use crate::object::iptables::{Place, RuleChain, RuleTable, Rules};
use fairway_model::Protocol;

/// What may enter a network without having been translated to a published port.
#[derive(Debug, Clone, Copy, Default)]
pub struct DirectAccess<'a> {
    /// Whatever there is.
    pub unprotected: bool,
    /// What is published, from everywhere; and ICMP.
    pub routed: bool,
    /// The subnets of other hosts, to which it is open and which are spoken to untranslated.
    pub peers: Option<&'a [IpNet]>,
    /// What is published, from these interfaces.
    pub trusted: &'a [String],
}

impl DirectAccess<'_> {
    /// Who may enter, as rules of the chain that decides about packets into the network.
    pub(super) fn lines(&self, ipv4: bool, bridge: &str, switches: &RulesetSwitches) -> Vec<String> {
        let from_outside = format!("! -i {bridge} -o {bridge}");
        let icmp = if ipv4 { "icmp" } else { "ipv6-icmp" };
        let mut lines = Vec::new();
        if let Some(mark) = switches.accept_mark {
            // All bits are not written.
            let mask = if mark.mask == u32::MAX { String::new() } else { format!("/{:#x}", mark.mask) };
            lines.push(format!("{from_outside} -m mark --mark {:#x}{mask} -j ACCEPT", mark.value));
        }
        if self.unprotected {
            lines.push(format!("{from_outside} -j ACCEPT"));
        }
        for peer in self.peers.into_iter().flatten() {
            lines.push(format!("-s {peer} {from_outside} -j ACCEPT"));
        }
        let everywhere = self.routed || self.peers.is_some();
        if everywhere {
            lines.push(format!("{from_outside} -p {icmp} -j ACCEPT"));
        }
        if everywhere || switches.allow_direct_routing {
            lines.push(format!("{from_outside} -j {DIRECT}"));
        } else {
            lines.extend(self.trusted.iter().map(|from| format!("-i {from} -o {bridge} -j {DIRECT}")));
        }
        lines
    }

    /// Whether sandboxes of other networks may be among those who enter.
    pub(super) fn admits_networks(&self, switches: &RulesetSwitches) -> bool {
        let direct = self.routed || (switches.allow_direct_routing && self.peers.is_none());
        self.unprotected || direct || switches.accept_mark.is_some() || !self.trusted.is_empty()
    }
}

/// A published port by the sandbox's own address, for those who may go straight there.
pub fn direct(to: IpAddr, protocol: Protocol, port: u16) -> Rules {
    let line = format!("-d {} -p {protocol} -m {protocol} --dport {port} -j ACCEPT", IpNet::from(to));
    Rules::new(RuleChain::new(to.is_ipv4(), RuleTable::Filter, DIRECT), Place::Last, [line])
}

/// What a rule of [`direct`] is about; none of others.
pub fn direct_port(chain: &RuleChain, text: &str) -> Option<(Protocol, SocketAddr)> {
    let words: Vec<&str> = text.split(' ').collect();
    let ["-d", to, "-p", protocol, "-m", _, "--dport", port, "-j", "ACCEPT"] = words[..] else { return None };
    let to = SocketAddr::new(to.parse::<IpNet>().ok()?.addr(), port.parse().ok()?);
    (chain.name == DIRECT).then_some((Protocol::from_name(protocol)?, to))
}
