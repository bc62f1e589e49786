//! What is heard while packets are watched.

use std::fmt;

use super::fingerprint::ObservedPacket;
use crate::explain::shown_name;
use fairway_ruleset::{Family, Hook, Verdict};
use fairway_walk::Tuple;

/// A namespace in which packets are watched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TracedNamespace {
    /// The host's.
    Host,
    /// That of the sandbox with this name.
    Sandbox(String),
}

impl fmt::Display for TracedNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Sandbox(name) => f.write_str(&shown_name(name)),
        }
    }
}

/// Something that was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The namespace that it was heard in.
    pub namespace: TracedNamespace,
    /// What.
    pub what: What,
}

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A packet passed an interface.
    Captured(Captured),
    /// A packet met a rule.
    Ruled(Ruled),
    /// Conntrack has a flow, or has it no more.
    Tracked(Tracked),
}

/// A packet at an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// When, in nanoseconds since 1970.
    pub at: u64,
    /// The interface.
    pub interface: String,
    /// Whether it leaves.
    pub outgoing: bool,
    /// What was seen.
    pub observed: ObservedPacket,
    /// Its bytes, if they are wanted.
    pub frame: Option<Frame>,
}

/// The bytes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Whether it begins with an Ethernet header; else with that of IP.
    pub ethernet: bool,
    /// How long it was; there may be fewer bytes.
    pub length: u32,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A packet at a rule, or at the end of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruled {
    /// The kernel's number for the packet. It is used again and again, and changes when a packet changes its
    /// interface.
    pub id: u32,
    /// The packet, which is told once for each base chain.
    pub head: Option<Head>,
    /// The family of the table.
    pub family: Family,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// Where the base chain hangs that the packet is in, if that is this one.
    pub base: Option<(Hook, i32)>,
    /// What it met.
    pub met: RuleMet,
    /// Where it goes on.
    pub verdict: Verdict,
}

/// A packet as it enters a base chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub observed: ObservedPacket,
    /// Where it arrived.
    pub input: Option<String>,
    /// Where it will leave.
    pub output: Option<String>,
}

/// What a packet met in a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleMet {
    /// A rule.
    Rule {
        /// Its number in its table.
        handle: u64,
        /// Itself as `nft` prints it, if it could be found.
        text: Option<String>,
        /// What it is for, as whoever made it wrote.
        comment: Option<String>,
    },
    /// The end of a chain that was jumped to.
    End,
    /// The policy of a base chain.
    Policy,
}

/// What conntrack tells of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tracked {
    /// What happened to it.
    pub change: Change,
    /// The kernel's number for it.
    pub id: u32,
    /// As its first packet was.
    pub original: Tuple,
    /// As its answers are expected.
    pub reply: Tuple,
}

/// What happened to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was there before.
    Known,
    /// It is new.
    New,
    /// It has been forgotten.
    Forgotten,
}
