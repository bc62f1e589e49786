//! What a walk consists of.

use std::net::{IpAddr, SocketAddr};

use super::evaluate::RuleHit;
use super::packet::Tuple;
use super::topology::NamespaceId;
use fairway_ruleset::{Family, Hook, Reject};

/// Where a walk ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// A socket gets it.
    Delivered {
        /// The namespace.
        namespace: NamespaceId,
        /// Whose socket.
        owner: String,
        /// What the socket sees.
        tuple: Tuple,
        /// Where it is carried from there, if the socket is a proxy's.
        proxy: Option<SocketAddr>,
    },
    /// Nobody listens there: TCP is reset, others get an ICMP error.
    NoListener {
        /// The namespace.
        namespace: NamespaceId,
        /// What was asked for.
        tuple: Tuple,
    },
    /// A rule dropped it.
    Dropped {
        /// The namespace.
        namespace: NamespaceId,
        /// The rule or policy.
        by: Box<RuleHit>,
    },
    /// A rule dropped it and its sender is told.
    Rejected {
        /// The namespace.
        namespace: NamespaceId,
        /// The rule.
        by: Box<RuleHit>,
        /// What the sender is told.
        how: Reject,
    },
    /// The kernel itself drops it, and why.
    Discarded {
        /// The namespace.
        namespace: NamespaceId,
        /// The reason.
        reason: String,
    },
    /// There is no route; its sender is told.
    NoRoute {
        /// The namespace.
        namespace: NamespaceId,
        /// Where it was to go.
        destination: IpAddr,
    },
    /// Nobody on the link has the address of the next hop.
    NoNeighbor {
        /// The namespace.
        namespace: NamespaceId,
        /// The interface.
        interface: String,
        /// Who was asked for.
        next: IpAddr,
    },
    /// It leaves the host by an interface behind which nothing is known.
    Leaves {
        /// The namespace.
        namespace: NamespaceId,
        /// The interface.
        interface: String,
        /// Its next router, or its destination on that link.
        next: IpAddr,
        /// What a capture sees there.
        tuple: Tuple,
    },
    /// What happens from here on is not known, and why.
    Unknown {
        /// The namespace.
        namespace: NamespaceId,
        /// The reason.
        reason: String,
    },
}

impl End {
    /// The namespace that it is on.
    pub fn namespace(&self) -> NamespaceId {
        match self {
            Self::Delivered { namespace, .. }
            | Self::NoListener { namespace, .. }
            | Self::Dropped { namespace, .. }
            | Self::Rejected { namespace, .. }
            | Self::Discarded { namespace, .. }
            | Self::NoRoute { namespace, .. }
            | Self::NoNeighbor { namespace, .. }
            | Self::Leaves { namespace, .. }
            | Self::Unknown { namespace, .. } => *namespace,
        }
    }
}

/// One step of a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A program makes it.
    Made {
        /// The namespace.
        namespace: NamespaceId,
        /// What it makes.
        tuple: Tuple,
    },
    /// It arrives at an interface: a capture there sees it so.
    Arrives {
        /// The namespace.
        namespace: NamespaceId,
        /// The interface.
        interface: String,
        /// What a capture sees.
        tuple: Tuple,
    },
    /// It leaves by an interface: a capture there sees it so.
    Leaves {
        /// The namespace.
        namespace: NamespaceId,
        /// The interface.
        interface: String,
        /// What a capture sees.
        tuple: Tuple,
    },
    /// It met a base chain.
    Chain {
        /// The namespace.
        namespace: NamespaceId,
        /// The hook.
        hook: Hook,
        /// Whether it is a hook of the bridge.
        bridged: bool,
        /// The chain's priority.
        priority: i32,
        /// The family of its table.
        family: Family,
        /// Its table.
        table: String,
        /// Whether the table is one of iptables-legacy.
        legacy: bool,
        /// Its name.
        chain: String,
        /// The rules that did something, in order; none when no rule was for it, and it went on.
        hits: Vec<RuleHit>,
    },
    /// Conntrack knows it, as a new flow or one that it has.
    Tracked {
        /// The namespace.
        namespace: NamespaceId,
        /// Its state in words.
        state: &'static str,
    },
    /// Its addresses changed.
    Translated {
        /// The namespace.
        namespace: NamespaceId,
        /// Before.
        from: Tuple,
        /// After.
        to: Tuple,
        /// Whether a rule decided it now; else conntrack remembers.
        now: bool,
    },
    /// A route won.
    Routed {
        /// The namespace.
        namespace: NamespaceId,
        /// The route in words.
        route: String,
        /// Why it won.
        why: String,
    },
    /// A bridge sends it from one port to another, or up to the host.
    Bridged {
        /// The namespace.
        namespace: NamespaceId,
        /// The bridge.
        bridge: String,
        /// Where to: a port, or none for the host itself.
        to: Option<String>,
    },
}

impl Step {
    /// The namespace that it is on.
    pub fn namespace(&self) -> NamespaceId {
        match self {
            Self::Made { namespace, .. }
            | Self::Arrives { namespace, .. }
            | Self::Leaves { namespace, .. }
            | Self::Chain { namespace, .. }
            | Self::Tracked { namespace, .. }
            | Self::Translated { namespace, .. }
            | Self::Routed { namespace, .. }
            | Self::Bridged { namespace, .. } => *namespace,
        }
    }
}

/// A key that a rule put into a dynamic set, or whose element there counted the packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counted {
    /// The namespace.
    pub namespace: NamespaceId,
    /// The family of the table.
    pub family: Family,
    /// The table.
    pub table: String,
    /// The set.
    pub set: String,
    /// The key, as the kernel has it.
    pub key: Vec<u8>,
}

/// The walk of one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketWalk {
    /// Its steps.
    pub steps: Vec<Step>,
    /// What dynamic sets counted on its way.
    pub counted: Vec<Counted>,
    /// Its end.
    pub end: End,
}
