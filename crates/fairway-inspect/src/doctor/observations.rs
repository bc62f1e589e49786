//! The observed state that the checks examine.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ipnet::IpNet;

use super::Deviation;
use crate::conflict::{FirewallConflict, ForeignTable};
use fairway_model::{HostFacts, Protocol};
use fairway_walk::Route;

/// A network interface of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkState {
    /// The interface index.
    pub index: u32,
    /// The interface name.
    pub name: String,
    /// The driver, such as `bridge`; empty for hardware and for loopback.
    pub kind: String,
    /// Whether it is the loopback interface.
    pub loopback: bool,
    /// Whether it is up.
    pub up: bool,
    /// The MTU in bytes.
    pub mtu: u32,
    /// The index of the bridge that it is a port of.
    pub bridge: Option<u32>,
    /// Whether it has Fairway's mark.
    pub ours: bool,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<IpNet>,
    /// Whether it has an IPv6 address or route with a lifetime, from a router advertisement or from DHCP.
    pub advertised: bool,
}

/// How much of a limit is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The number in use.
    pub used: u64,
    /// The largest number.
    pub limit: u64,
}

impl Usage {
    /// Whether at least this percentage is used.
    pub fn reaches(self, percent: u64) -> bool {
        self.used.saturating_mul(100) >= self.limit.saturating_mul(percent)
    }

    /// The percentage that is used.
    pub fn percent(self) -> u64 {
        self.used.saturating_mul(100).checked_div(self.limit).unwrap_or(100)
    }
}

/// The file descriptors of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// The process.
    pub pid: u32,
    /// The open descriptors and the soft limit.
    pub open: Usage,
    /// The hard limit.
    pub hard: u64,
}

/// A published port that Fairway does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnheldPort {
    /// The protocol.
    pub protocol: Protocol,
    /// The address and port to bind.
    pub address: SocketAddr,
    /// The name of the sandbox that publishes it.
    pub sandbox: String,
    /// The process that holds it, by id and name; none if it cannot be seen.
    pub holder: Option<(u32, String)>,
}

/// A sandbox whose namespace differs from the Plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceState {
    /// The name of the sandbox.
    pub sandbox: String,
    /// The path of its network namespace.
    pub namespace: String,
    /// The properties that differ.
    pub deviations: Vec<Deviation>,
}

/// The state of the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayState {
    /// Whether it answers the daemon.
    pub answers: bool,
    /// Its process.
    pub pid: u32,
    /// The parts of its confinement that are not in force, each with the reason.
    pub missing: Vec<(String, String)>,
}

impl Default for RelayState {
    fn default() -> Self {
        Self { answers: true, pid: 0, missing: Vec::new() }
    }
}

/// A file in a sandbox that is not the one Fairway mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplacedFile {
    /// The name of the sandbox.
    pub sandbox: String,
    /// The path in the sandbox.
    pub path: String,
}

/// A time in which the store cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreOutage {
    /// How long ago the first change failed, in seconds.
    pub seconds: u64,
    /// Why the last one failed.
    pub error: String,
}

/// The observed state of a host and of the daemon.
#[derive(Debug, Clone, Default)]
pub struct Observations {
    /// The time in nanoseconds since 1970.
    pub now: i64,
    /// Whether a daemon runs.
    pub daemon: bool,
    /// Whether a daemon was set up on this host: its unit or its store exists.
    pub installed: bool,
    /// Checks that cannot be carried out, by identifier, each with the reason.
    pub not_examined: BTreeMap<&'static str, String>,
    /// The facts of the host that decisions depend on, observed anew.
    pub facts: HostFacts,
    /// The interfaces of the host.
    pub links: Vec<LinkState>,
    /// The routes of the host.
    pub routes: Vec<Route>,
    /// The values of sysctls by their paths under `/proc/sys`; those that the kernel does not have are missing.
    pub sysctls: BTreeMap<String, String>,
    /// The packets that `rp_filter` has dropped (`IPReversePathFilter`).
    pub source_check_drops: u64,
    /// The tables of foreign firewalls.
    pub tables: Vec<ForeignTable>,
    /// The conflicts with foreign firewalls, each with the names of the affected networks.
    pub firewall_conflicts: BTreeMap<FirewallConflict, Vec<String>>,
    /// The error of trying the kernel's features.
    pub kernel_lacks: Option<String>,
    /// The tracked connections.
    pub connections: Option<Usage>,
    /// The entries of the IPv4 and the IPv6 neighbor table.
    pub neighbors: [Option<Usage>; 2],
    /// The file descriptors of the daemon.
    pub descriptors: Option<Descriptors>,
    /// The directory of the daemon's store and logs, and how many bytes its file system has left.
    pub data_root: Option<(String, u64)>,
    /// The relay.
    pub relay: RelayState,
    /// Why the store cannot be written; none if it can.
    pub store_outage: Option<StoreOutage>,
    /// The records of the store that are no part of the World: the key, and why.
    pub orphans: Vec<(String, String)>,
    /// Objects that differ from the Plan, described in text.
    pub drift: Vec<String>,
    /// Objects with Fairway's mark that are not in the Plan, described in text.
    pub leaks: Vec<String>,
    /// Sandboxes whose namespace differs from the Plan.
    pub changed_namespaces: Vec<NamespaceState>,
    /// Files in sandboxes that are not those that Fairway mounted.
    pub replaced_files: Vec<ReplacedFile>,
    /// Published ports that Fairway does not hold.
    pub unheld_ports: Vec<UnheldPort>,
    /// The daemon's recent repairs: the time in nanoseconds since 1970, and the object.
    pub repairs: Vec<(i64, String)>,
}

impl Observations {
    /// The value of a numeric sysctl.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.sysctls.get(path)?.parse().ok()
    }

    /// The effective IPv4 setting of an interface where the kernel takes the larger of the interface's and `all`.
    pub(super) fn effective(&self, interface: &str, key: &str) -> u64 {
        let of = |name: &str| self.number(&format!("net/ipv4/conf/{name}/{key}")).unwrap_or_default();
        of(interface).max(of("all"))
    }

    /// The interface with this name.
    pub(super) fn link(&self, name: &str) -> Option<&LinkState> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The ports of a bridge.
    pub(super) fn ports_of(&self, bridge: &LinkState) -> impl Iterator<Item = &LinkState> {
        let index = bridge.index;
        self.links.iter().filter(move |link| link.bridge == Some(index))
    }

    /// The interfaces that packets are routed over: up, not a bridge port, not loopback.
    pub(super) fn routed_links(&self) -> impl Iterator<Item = &LinkState> {
        self.links.iter().filter(|link| link.up && !link.loopback && link.bridge.is_none())
    }
}
