//! Packet traces: captures, nf_tables' traces and conntrack's events, joined to one timeline for each packet.
//!
//! Captures at interfaces, nf_tables' tracing and conntrack each report a part of a packet's path, in their own time
//! and with the addresses that the packet has there. The [`Joiner`] receives these events in any order, and returns one
//! timeline for each packet: the interfaces, the rules, the rewrites and the end; and a summary of its flow.

mod event;
mod filter;
mod fingerprint;
mod flow;
mod join;
mod order;
mod output;
mod rules;
#[cfg(test)]
mod tests;
mod timeline;
mod traced_host;
mod tracing;
mod world;

use std::time::Duration;

pub use event::{
    Captured, Change, ConntrackEvent, Event, EventKind, Frame, Head, RuleMet, RuleTrace, TracedNamespace,
};
pub use filter::{Filter, Pattern, Side};
pub use fingerprint::{Fingerprint, ObservedPacket, Segment, TcpFlags};
pub use join::Joiner;
pub use output::{FlowSummary, FrameBytes, Lost, PacketTimeline, TimelineEntry, TraceMessage};
pub use rules::RuleTexts;
pub use traced_host::{Proxied, PublishedPair, TraceEnd, TraceQuery, TracedContainer, TracedHost};
pub use tracing::{OVERFLOW, sandbox_table, tables};
pub use world::filter_of_world;

/// The request for a trace: which packets, and for how long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceRequest {
    /// The client: as for `explain`, or `any`; none for every client.
    pub from: Option<String>,
    /// The server, and its port.
    pub to: Option<String>,
    /// How many bytes of each packet to return; none for no bytes.
    pub bytes: Option<usize>,
    /// After how many packets the trace ends.
    pub count: Option<u64>,
    /// After how long the trace ends.
    pub duration: Option<Duration>,
}
