//! The phases in which a difference is applied, and which objects depend on which.

use std::net::SocketAddr;

use fairway_model::{Namespace, Protocol};

use super::{Key, Object};

/// A phase of applying a difference. The order leaves no unprotected moment: the firewall first, in one transaction;
/// then links, guarded from their first frame; then network namespaces, files, ports and names; removed objects last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Tables, chains, rules and elements are made, changed and removed.
    Firewall,
    /// Sysctls of the host are written.
    Sysctls,
    /// Links with the name of a planned one and the mark of an unknown network are deleted.
    Orphans,
    /// Bridges and dummy parents are made.
    Bridges,
    /// Uplinks are enslaved.
    Uplinks,
    /// Routes of the host are made.
    Routes,
    /// Links without an end on the host are deleted and made.
    NetnsLinks,
    /// Veth pairs are made, and network namespaces are configured.
    Namespaces,
    /// The traffic of veth pairs is limited.
    TrafficLimits,
    /// Files of sandboxes are written.
    Files,
    /// Host ports are bound.
    Ports,
    /// The relay gets ports, names and resolvers.
    Relay,
    /// Links, routes, ports and files are removed, and stale conntrack entries deleted.
    Removal,
    /// Counters of unpublished ports are deleted.
    Counts,
}

impl Phase {
    /// All, in order.
    pub const ALL: [Self; 14] = [
        Self::Firewall,
        Self::Sysctls,
        Self::Orphans,
        Self::Bridges,
        Self::Uplinks,
        Self::Routes,
        Self::NetnsLinks,
        Self::Namespaces,
        Self::TrafficLimits,
        Self::Files,
        Self::Ports,
        Self::Relay,
        Self::Removal,
        Self::Counts,
    ];

    /// Its name, which is that of the failpoint at its end.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Firewall => "firewall",
            Self::Sysctls => "sysctls",
            Self::Orphans => "orphans",
            Self::Bridges => "bridges",
            Self::Uplinks => "uplinks",
            Self::Routes => "routes",
            Self::NetnsLinks => "netns links",
            Self::Namespaces => "namespaces",
            Self::TrafficLimits => "traffic limits",
            Self::Files => "files",
            Self::Ports => "ports",
            Self::Relay => "relay",
            Self::Removal => "flows",
            Self::Counts => "counts",
        }
    }

    /// The phase in which an object is made or changed.
    pub const fn of_wanted(key: &Key) -> Self {
        match key {
            Key::Ruleset | Key::Chain(_) | Key::Rules(..) | Key::Element(..) => Self::Firewall,
            Key::Sysctl(_) => Self::Sysctls,
            Key::Bridge(_) | Key::DummyParent(_) => Self::Bridges,
            Key::Uplink(_) => Self::Uplinks,
            Key::Route(_) => Self::Routes,
            Key::Macvlan(_) | Key::Pair(_) => Self::NetnsLinks,
            Key::Veth(_) | Key::Netns(_) | Key::SandboxRoutes(_) => Self::Namespaces,
            Key::TrafficLimit(_) => Self::TrafficLimits,
            Key::File(..) => Self::Files,
            Key::Socket(..) => Self::Ports,
            Key::Names(_) | Key::View(_) | Key::HostServers => Self::Relay,
        }
    }

    /// The phase in which an object is removed.
    pub const fn of_removed(key: &Key) -> Self {
        match Self::of_wanted(key) {
            Self::Bridges
            | Self::Uplinks
            | Self::Routes
            | Self::TrafficLimits
            | Self::Files
            | Self::Ports => Self::Removal,
            Self::Namespaces if matches!(key, Key::Veth(_)) => Self::Removal,
            other => other,
        }
    }
}

impl Key {
    /// The host port that the object is; none if it is no port.
    pub const fn port(&self) -> Option<(Protocol, SocketAddr)> {
        match self {
            Self::Socket(protocol, address) => Some((*protocol, *address)),
            _ => None,
        }
    }

    /// Whether the object may be made while the firewall lacks a change that belongs to it: it opens no port, and lets
    /// no packet through.
    pub const fn is_safe_unfiltered(&self) -> bool {
        matches!(self, Self::File(..) | Self::Names(_) | Self::View(_) | Self::HostServers)
    }
}

impl Object {
    /// The object of the host that this one cannot be made without.
    pub fn rests_on(&self) -> Option<Key> {
        match self {
            Self::Veth(link) => Some(Key::Bridge(link.bridge.clone())),
            Self::TrafficLimit(limit) => Some(Key::Veth(limit.host_interface.clone())),
            Self::Uplink(port) => Some(Key::Bridge(port.bridge.clone())),
            Self::Macvlan(macvlan) => Some(Key::DummyParent(macvlan.parent.clone())),
            _ => None,
        }
    }

    /// The network namespaces of sandboxes that the object is in.
    pub fn namespaces(&self) -> Vec<&Namespace> {
        match self {
            Self::Veth(link) => link.namespace.iter().collect(),
            Self::Netns(namespace, _) => vec![namespace],
            Self::SandboxRoutes(routes) => vec![&routes.namespace],
            _ => self.netns_links().iter().map(|link| &link.namespace).collect(),
        }
    }

    /// Whether it is a link of a sandbox: the rest of the network namespace is configured with its links or not at all.
    pub const fn is_sandbox_link(&self) -> bool {
        matches!(self, Self::Veth(_) | Self::Macvlan(_) | Self::Pair(_))
    }
}
