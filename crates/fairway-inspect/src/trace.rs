//! Real packets, watched at all places at once, told as one.
//!
//! Captures at interfaces, nf_tables' own tracing and conntrack each tell a part of what happens to a packet, in their
//! own time and with the addresses that it has just there. The [`Joiner`] takes all that is heard, in any order, and
//! tells of each packet once: where it was, what it met, what was rewritten, and where it ended; and of its flow what
//! has come of it.

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
mod tracing;

use std::time::Duration;

pub use event::{Captured, Change, Event, Frame, Head, RuleMet, Ruled, TracedNamespace, Tracked, What};
pub use filter::{Filter, Pattern, Side};
pub use fingerprint::{Fingerprint, ObservedPacket, Segment, TcpFlags};
pub use join::Joiner;
pub use output::{FlowSummary, FrameBytes, Lost, PacketTimeline, TimelineEntry, TraceMessage};
pub use rules::RuleTexts;
pub use tracing::{OVERFLOW, sandbox_table, tables};

/// What is to be watched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceRequest {
    /// Who begins: as for `explain`, or `any`; none for everybody.
    pub from: Option<String>,
    /// Who is asked, and at which port.
    pub to: Option<String>,
    /// How many bytes of each packet are wanted; none if no bytes are.
    pub bytes: Option<usize>,
    /// After how many packets it ends.
    pub count: Option<u64>,
    /// After how long it ends.
    pub duration: Option<Duration>,
}
