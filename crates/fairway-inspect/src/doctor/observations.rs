//! What is looked at.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ipnet::IpNet;

use super::Deviation;
use crate::conflict::{FirewallConflict, ForeignTable};
use fairway_model::{HostFacts, Protocol};
use fairway_walk::Route;

/// A link of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkSeen {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its driver's name; empty for hardware and for loopback.
    pub kind: String,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// Whether it is up.
    pub up: bool,
    /// The largest packet in bytes.
    pub mtu: u32,
    /// The bridge that it is a port of, by number.
    pub bridge: Option<u32>,
    /// Whether it bears a mark of Fairway's.
    pub ours: bool,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<IpNet>,
    /// Whether it has an IPv6 address or route that a router advertised, or that somebody lends it: it goes after a
    /// time unless it is told again.
    pub advertised: bool,
}

/// How much of something is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// So much is used.
    pub used: u64,
    /// There can be so much.
    pub most: u64,
}

impl Share {
    /// Whether at least so many percent are used.
    pub fn reaches(self, percent: u64) -> bool {
        self.used.saturating_mul(100) >= self.most.saturating_mul(percent)
    }

    /// How many percent are used.
    pub fn percent(self) -> u64 {
        self.used.saturating_mul(100).checked_div(self.most).unwrap_or(100)
    }
}

/// The descriptors of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// The process.
    pub pid: u32,
    /// Those that are open, of those that may be.
    pub open: Share,
    /// How far the limit may be raised without more rights.
    pub hard: u64,
}

/// A published port that Fairway does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostPort {
    /// The protocol.
    pub protocol: Protocol,
    /// Where it is to be held.
    pub at: SocketAddr,
    /// The sandbox that it is published for, by name.
    pub sandbox: String,
    /// The process that has it, by number and name, as far as it can be seen.
    pub holder: Option<(u32, String)>,
}

/// A sandbox that is inside not as it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside {
    /// Its name.
    pub sandbox: String,
    /// The path of its network namespace.
    pub namespace: String,
    /// What is other.
    pub differences: Vec<Deviation>,
}

/// The relay, as the daemon reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// Whether it answers.
    pub answers: bool,
    /// Its process.
    pub pid: u32,
    /// The parts of its confinement that are not in force, and why.
    pub missing: Vec<(String, String)>,
}

impl Default for Relay {
    fn default() -> Self {
        Self { answers: true, pid: 0, missing: Vec::new() }
    }
}

/// A file of a sandbox that its process does not see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplacedFile {
    /// The name of the sandbox.
    pub sandbox: String,
    /// The path where another file is seen.
    pub path: String,
}

/// What was seen of a host.
#[derive(Debug, Clone, Default)]
pub struct Observations {
    /// Nanoseconds since 1970.
    pub now: i64,
    /// Whether a daemon runs.
    pub daemon: bool,
    /// Checks that cannot be made, by identifier, and why.
    pub unseen: BTreeMap<&'static str, String>,
    /// The host as decisions know it, observed anew.
    pub facts: HostFacts,
    /// Its links.
    pub links: Vec<LinkSeen>,
    /// Its routes.
    pub routes: Vec<Route>,
    /// Settings, by their paths under `/proc/sys`: those that the kernel has here of those that were looked at.
    pub sysctls: BTreeMap<String, String>,
    /// Packets that `rp_filter` dropped since the host's network began (`IPReversePathFilter`).
    pub dropped_by_source: u64,
    /// The tables of others.
    pub tables: Vec<ForeignTable>,
    /// What they drop, each with the names of the networks that it is about.
    pub firewall_conflicts: BTreeMap<FirewallConflict, Vec<String>>,
    /// What the kernel lacks, in words.
    pub lacking: Option<String>,
    /// Connections that are tracked.
    pub connections: Option<Share>,
    /// Neighbours that are known, of IPv4 and IPv6.
    pub neighbours: [Option<Share>; 2],
    /// Open descriptors of the daemon.
    pub descriptors: Option<Descriptors>,
    /// The relay.
    pub relay: Relay,
    /// What is other than it shall be, in words.
    pub drift: Vec<String>,
    /// What is there and belongs to nothing, in words.
    pub leaks: Vec<String>,
    /// Sandboxes that are inside not as they were made.
    pub inside: Vec<Inside>,
    /// Files of sandboxes that their processes do not see.
    pub replaced_files: Vec<ReplacedFile>,
    /// Published ports that are not held.
    pub lost: Vec<LostPort>,
    /// When the daemon mended something, in nanoseconds since 1970, and what.
    pub mended: Vec<(i64, String)>,
}

impl Observations {
    /// A setting that is a number; none where the kernel has none such.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.sysctls.get(path)?.parse().ok()
    }

    /// A setting of an interface, where that of `all` counts for it too.
    pub(super) fn larger(&self, interface: &str, key: &str) -> u64 {
        let of = |name: &str| self.number(&format!("net/ipv4/conf/{name}/{key}")).unwrap_or_default();
        of(interface).max(of("all"))
    }

    pub(super) fn link(&self, name: &str) -> Option<&LinkSeen> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The ports of a bridge.
    pub(super) fn ports_of(&self, bridge: &LinkSeen) -> impl Iterator<Item = &LinkSeen> {
        let index = bridge.index;
        self.links.iter().filter(move |link| link.bridge == Some(index))
    }

    /// Links that packets are routed by: up, no port of a bridge, not loopback.
    pub(super) fn routers(&self) -> impl Iterator<Item = &LinkSeen> {
        self.links.iter().filter(|link| link.up && !link.loopback && link.bridge.is_none())
    }
}
