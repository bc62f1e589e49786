//! What a walk consists of.

use std::net::{IpAddr, SocketAddr};

use super::evaluate::RuleHit;
use super::packet::Tuple;
use fairway_ruleset::{Family, Hook, Reject};

/// Where a walk ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// A socket gets it.
    Delivered {
        /// The namespace.
        namespace: String,
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
        namespace: String,
        /// What was asked for.
        tuple: Tuple,
    },
    /// A rule dropped it.
    Dropped {
        /// The namespace.
        namespace: String,
        /// Where, in words: table, chain, rule.
        by: String,
    },
    /// A rule dropped it and its sender is told.
    Rejected {
        /// The namespace.
        namespace: String,
        /// Where, in words.
        by: String,
        /// What the sender is told.
        how: Reject,
    },
    /// The kernel itself drops it, and why.
    Discarded {
        /// The namespace.
        namespace: String,
        /// The reason.
        reason: String,
    },
    /// There is no route; its sender is told.
    NoRoute {
        /// The namespace.
        namespace: String,
        /// Where it was to go.
        destination: IpAddr,
    },
    /// Nobody on the link has the address of the next hop.
    NoNeighbor {
        /// The namespace.
        namespace: String,
        /// The interface.
        interface: String,
        /// Who was asked for.
        next: IpAddr,
    },
    /// It leaves the host by an interface behind which nothing is known.
    Leaves {
        /// The namespace.
        namespace: String,
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
        namespace: String,
        /// The reason.
        reason: String,
    },
}

impl End {
    /// The namespace that it is on.
    pub fn namespace(&self) -> &str {
        match self {
            Self::Delivered { namespace, .. }
            | Self::NoListener { namespace, .. }
            | Self::Dropped { namespace, .. }
            | Self::Rejected { namespace, .. }
            | Self::Discarded { namespace, .. }
            | Self::NoRoute { namespace, .. }
            | Self::NoNeighbor { namespace, .. }
            | Self::Leaves { namespace, .. }
            | Self::Unknown { namespace, .. } => namespace,
        }
    }
}

/// One step of a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A program makes it.
    Made {
        /// The namespace.
        namespace: String,
        /// What it makes.
        tuple: Tuple,
    },
    /// It arrives at an interface: a capture there sees it so.
    Arrives {
        /// The namespace.
        namespace: String,
        /// The interface.
        interface: String,
        /// What a capture sees.
        tuple: Tuple,
    },
    /// It leaves by an interface: a capture there sees it so.
    Leaves {
        /// The namespace.
        namespace: String,
        /// The interface.
        interface: String,
        /// What a capture sees.
        tuple: Tuple,
    },
    /// It met a base chain.
    Chain {
        /// The namespace.
        namespace: String,
        /// The hook.
        hook: Hook,
        /// Whether it is a hook of the bridge.
        bridged: bool,
        /// The chain's priority.
        priority: i32,
        /// The family and name of its table.
        table: String,
        /// Its name.
        chain: String,
        /// The rules that did something, in order; none when no rule was for it, and it went on.
        met: Vec<RuleHit>,
    },
    /// Conntrack knows it, as a new flow or one that it has.
    Tracked {
        /// The namespace.
        namespace: String,
        /// Its state in words.
        state: &'static str,
    },
    /// Its addresses changed.
    Translated {
        /// The namespace.
        namespace: String,
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
        namespace: String,
        /// The route in words.
        route: String,
        /// Why it won.
        why: String,
    },
    /// A bridge sends it from one port to another, or up to the host.
    Bridged {
        /// The namespace.
        namespace: String,
        /// The bridge.
        bridge: String,
        /// Where to: a port, or none for the host itself.
        to: Option<String>,
    },
}

impl Step {
    /// The namespace that it is on.
    pub fn namespace(&self) -> &str {
        match self {
            Self::Made { namespace, .. }
            | Self::Arrives { namespace, .. }
            | Self::Leaves { namespace, .. }
            | Self::Chain { namespace, .. }
            | Self::Tracked { namespace, .. }
            | Self::Translated { namespace, .. }
            | Self::Routed { namespace, .. }
            | Self::Bridged { namespace, .. } => namespace,
        }
    }
}

/// A key that a rule put into a dynamic set, or whose element there counted the packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counted {
    /// The namespace.
    pub namespace: String,
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
