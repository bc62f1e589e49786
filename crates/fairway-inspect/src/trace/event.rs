//! Events of a trace: captured packets, rules that packets met, conntrack's events.

use std::fmt;

use super::fingerprint::ObservedPacket;
use fairway_ruleset::{Family, Hook, Verdict};
use fairway_walk::Tuple;

/// A network namespace in which packets are traced.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TracedNamespace {
    /// The host's namespace.
    Host,
    /// The namespace of a container, by its name in texts.
    Container(String),
}

impl fmt::Display for TracedNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Container(name) => f.write_str(name),
        }
    }
}

/// An event of a trace, and its namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The namespace of the event.
    pub namespace: TracedNamespace,
    /// The event.
    pub kind: EventKind,
}

/// An event of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// A packet passed an interface.
    Captured(Captured),
    /// A packet met a rule.
    Rule(RuleTrace),
    /// Conntrack added or removed a flow.
    Conntrack(ConntrackEvent),
}

/// A packet that was captured at an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// The time in nanoseconds since 1970.
    pub at: u64,
    /// The interface.
    pub interface: String,
    /// Whether the packet leaves by the interface.
    pub outgoing: bool,
    /// The packet.
    pub observed: ObservedPacket,
    /// Its bytes, if the request asks for them.
    pub frame: Option<Frame>,
}

/// The bytes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Whether the bytes begin with an Ethernet header; otherwise with the IP header.
    pub ethernet: bool,
    /// The length of the packet; `bytes` may hold only its beginning.
    pub length: u32,
    /// The bytes, from the first header on.
    pub bytes: Vec<u8>,
}

/// A trace message of nf_tables: a packet at a rule, or at the end of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleTrace {
    /// The kernel's number for the packet. The kernel reuses numbers, and gives a packet another one when the packet
    /// changes its interface.
    pub id: u32,
    /// The packet; the kernel sends its headers once for each base chain.
    pub head: Option<Head>,
    /// The family of the table.
    pub family: Family,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// Hook and priority of the chain, if it is a base chain.
    pub base: Option<(Hook, i32)>,
    /// The rule, or the end of the chain.
    pub met: RuleMet,
    /// The verdict.
    pub verdict: Verdict,
}

/// A packet as it enters a base chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its addresses, ports and protocol.
    pub observed: ObservedPacket,
    /// The interface that it arrived on.
    pub input: Option<String>,
    /// The interface that it will leave by.
    pub output: Option<String>,
}

/// What a packet met in a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleMet {
    /// A rule of the chain.
    Rule {
        /// Its handle.
        handle: u64,
        /// The rule as `nft` prints it, if its text is known.
        text: Option<String>,
        /// Its comment.
        comment: Option<String>,
    },
    /// The end of a chain that was jumped to.
    End,
    /// The policy of a base chain.
    Policy,
}

/// An event of conntrack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConntrackEvent {
    /// Whether the flow was added or removed.
    pub change: Change,
    /// The kernel's identifier of the flow.
    pub id: u32,
    /// Addresses and ports of its first packet.
    pub original: Tuple,
    /// Addresses and ports that conntrack expects replies with.
    pub reply: Tuple,
}

/// The change of a flow in conntrack's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The flow existed when the trace began.
    Known,
    /// The flow was added.
    New,
    /// The flow was removed.
    Forgotten,
}
