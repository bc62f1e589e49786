//! The steps and the end of a packet walk.

use std::net::{IpAddr, SocketAddr};

use super::discard::DiscardReason;
use super::evaluate::RuleHit;
use super::packet::Tuple;
use super::topology::{NamespaceId, PortState, RouteKind, Topology};
use fairway_ruleset::{Family, Hook, Reject};

/// The end of a packet walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// A socket gets the packet.
    Delivered {
        /// The namespace.
        namespace: NamespaceId,
        /// The owner of the socket.
        owner: String,
        /// The addresses and ports that the socket sees.
        tuple: Tuple,
        /// The target of the proxy, if the socket is a proxy's.
        proxy: Option<SocketAddr>,
    },
    /// No socket listens at the port: TCP gets a reset, other protocols an ICMP error.
    NoListener {
        /// The namespace.
        namespace: NamespaceId,
        /// The addresses and ports of the packet.
        tuple: Tuple,
    },
    /// A rule or policy drops the packet.
    Dropped {
        /// The namespace.
        namespace: NamespaceId,
        /// The rule or policy.
        by: Box<RuleHit>,
    },
    /// A rule rejects the packet.
    Rejected {
        /// The namespace.
        namespace: NamespaceId,
        /// The rule.
        by: Box<RuleHit>,
        /// The refusal that the sender gets.
        how: Reject,
    },
    /// The kernel itself discards the packet.
    Discarded {
        /// The namespace.
        namespace: NamespaceId,
        /// The reason.
        reason: DiscardReason,
    },
    /// The destination has no route; the sender gets an error.
    NoRoute {
        /// The namespace.
        namespace: NamespaceId,
        /// The destination.
        destination: IpAddr,
        /// The kind of the route by which it is refused; none without a route.
        by: Option<RouteKind>,
    },
    /// No neighbor on the link has the address of the next hop.
    NoNeighbor {
        /// The namespace.
        namespace: NamespaceId,
        /// The interface.
        interface: String,
        /// The address of the next hop.
        next: IpAddr,
        /// Why the neighbor that has the address does not answer, if there is one.
        silence: Option<Silence>,
    },
    /// The packet leaves the topology by an interface.
    Leaves {
        /// The namespace.
        namespace: NamespaceId,
        /// The interface.
        interface: String,
        /// The next router, or the destination on that link.
        next: IpAddr,
        /// The addresses and ports that a capture sees there.
        tuple: Tuple,
    },
    /// The further way is not known.
    Unknown {
        /// The namespace.
        namespace: NamespaceId,
        /// The reason.
        reason: String,
    },
}

/// Why a neighbor does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// A bridge port on the way does not forward.
    Port {
        /// The namespace of the bridge.
        namespace: NamespaceId,
        /// The port.
        port: String,
        /// Its state.
        state: PortState,
    },
    /// It may not use the address: the address is tentative.
    Tentative {
        /// Its namespace.
        namespace: NamespaceId,
        /// The interface with the address.
        interface: String,
    },
}

impl Silence {
    /// The reason in words.
    pub(super) fn in_words(&self, topology: &Topology) -> String {
        match self {
            Self::Port { namespace, port, state } => {
                format!("the bridge port {port} of {} is {}", topology.name(*namespace), state.name())
            }
            Self::Tentative { namespace, interface } => format!(
                "it is tentative on {interface} of {}, or duplicate address detection failed",
                topology.name(*namespace)
            ),
        }
    }
}

impl End {
    /// The namespace.
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
    /// A program sends the packet.
    Made {
        /// The namespace.
        namespace: NamespaceId,
        /// The addresses and ports of the packet.
        tuple: Tuple,
    },
    /// The packet arrives at an interface, as a capture there shows it.
    Arrives {
        /// The namespace.
        namespace: NamespaceId,
        /// The interface.
        interface: String,
        /// The addresses and ports that a capture sees.
        tuple: Tuple,
    },
    /// The packet leaves by an interface, as a capture there shows it.
    Leaves {
        /// The namespace.
        namespace: NamespaceId,
        /// The interface.
        interface: String,
        /// The addresses and ports that a capture sees.
        tuple: Tuple,
    },
    /// The packet passes a base chain.
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
        /// The table.
        table: String,
        /// Whether the table is one of iptables-legacy.
        legacy: bool,
        /// Its name.
        chain: String,
        /// The rules that had an effect, in order; none when no rule matched and the packet went on.
        hits: Vec<RuleHit>,
    },
    /// Conntrack finds or begins the packet's flow.
    Tracked {
        /// The namespace.
        namespace: NamespaceId,
        /// Conntrack's state of the packet as text.
        state: &'static str,
    },
    /// NAT rewrites addresses or ports.
    Translated {
        /// The namespace.
        namespace: NamespaceId,
        /// The tuple before NAT.
        from: Tuple,
        /// The tuple after NAT.
        to: Tuple,
        /// Whether a rule decided now; else conntrack repeats the translation of the first packet.
        now: bool,
    },
    /// A route is chosen.
    Routed {
        /// The namespace.
        namespace: NamespaceId,
        /// The route, as `ip route` prints it.
        route: String,
        /// Why the route was chosen.
        why: String,
    },
    /// A bridge forwards the frame to a port, or up to the host.
    Bridged {
        /// The namespace.
        namespace: NamespaceId,
        /// The bridge.
        bridge: String,
        /// The port; none for the host itself.
        to: Option<String>,
    },
    /// The packet meets a program at an interface, of which only the name is known.
    Program {
        /// The namespace.
        namespace: NamespaceId,
        /// The interface.
        interface: String,
        /// The program in words.
        what: String,
    },
}

impl Step {
    /// The namespace.
    pub fn namespace(&self) -> NamespaceId {
        match self {
            Self::Made { namespace, .. }
            | Self::Arrives { namespace, .. }
            | Self::Leaves { namespace, .. }
            | Self::Chain { namespace, .. }
            | Self::Tracked { namespace, .. }
            | Self::Translated { namespace, .. }
            | Self::Routed { namespace, .. }
            | Self::Bridged { namespace, .. }
            | Self::Program { namespace, .. } => *namespace,
        }
    }
}

/// A key that a rule added to a dynamic set, or whose element there counted the packet.
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
    /// The steps.
    pub steps: Vec<Step>,
    /// The elements of dynamic sets that counted the packet.
    pub counted: Vec<Counted>,
    /// The end.
    pub end: End,
}
