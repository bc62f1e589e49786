//! The messages of a trace: notes, timelines of packets, counts of lost packets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use fairway_walk::{EndRecord, StepKind, StepRecord, Tuple};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One message of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TraceMessage {
    /// A note about the whole trace.
    Note(String),
    /// A packet at all places where it was observed.
    Packet(Box<PacketTimeline>),
    /// A sign of life, with the counts of packets that were lost so far.
    Watching(Lost),
}

/// Counts of packets and events that a trace missed because there were too many at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Lost {
    /// Packets that captures missed.
    pub captured: u64,
    /// Packets beyond the limit of traced packets, and overruns of the socket that receives the trace messages of
    /// rules.
    pub ruled: u64,
    /// Packets that were observed and not reported.
    pub unreported: u64,
}

/// The timeline of a packet at all places where it was observed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PacketTimeline {
    /// The time of its first observation in nanoseconds since 1970.
    pub at: u64,
    /// The packet as first observed.
    pub title: String,
    /// Whether it goes in the reply direction of its flow.
    pub back: bool,
    /// Its events in order.
    pub entries: Vec<TimelineEntry>,
    /// The end of its path.
    pub end: EndRecord,
    /// Its flow, up to this packet.
    pub flow: FlowSummary,
}

/// An event in the timeline of a packet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TimelineEntry {
    /// The time in nanoseconds since 1970; rules have no time of their own, and get the one of the capture before.
    pub at: u64,
    /// A capture, a rule, a rewrite, or an event of conntrack.
    #[serde(flatten)]
    pub step: StepRecord,
    /// Of a capture: the transport protocol's part of the packet, such as `SYN+ACK` or `echo request 1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// Of a captured ICMP error: the packet that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<Tuple>,
    /// Of a new flow: the addresses and ports that conntrack expects replies with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_reply: Option<Tuple>,
    /// Of a capture: the bytes, if the request asks for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<FrameBytes>,
}

impl TimelineEntry {
    /// The event in one line.
    pub fn text(&self) -> String {
        let mut text = self.step.text();
        if let (StepKind::Conntrack, Some(packet)) = (self.step.kind, self.step.packet) {
            text = match self.expected_reply {
                Some(reply) => format!("{text}: {packet}, answers are expected as {reply}"),
                None => format!("forgets {packet}"),
            };
        }
        if let Some(segment) = &self.segment {
            text.push_str(&format!("  {segment}"));
        }
        if let Some(about) = self.about {
            text.push_str(&format!(", about {about}"));
        }
        text
    }
}

/// The bytes of a captured packet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FrameBytes {
    /// Whether the bytes begin with an Ethernet header; otherwise with the IP header.
    pub ethernet: bool,
    /// Whether the packet left by the interface.
    pub outgoing: bool,
    /// The length of the packet; `bytes` may hold only its beginning.
    pub length: u32,
    /// The bytes, in base64 (RFC 4648, 4).
    #[serde(serialize_with = "write", deserialize_with = "read")]
    pub bytes: Vec<u8>,
}

/// The summary of a flow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FlowSummary {
    /// Its number, from 1 on.
    pub number: u32,
    /// Addresses and ports of its first packet.
    pub original: Option<Tuple>,
    /// Addresses and ports of its first packet after NAT, if NAT changed it.
    pub translated: Option<Tuple>,
    /// The number of the client's flow, if this is a connection of the proxy.
    pub carries: Option<u32>,
    /// The numbers of packets in the original and in the reply direction.
    pub packets: (u64, u64),
    /// The outcome, in words.
    pub outcome: String,
    /// Whether it was answered; none if the trace did not see all of the flow.
    pub answered: Option<bool>,
}

fn write<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64.encode(bytes))
}

fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    BASE64.decode(text).map_err(serde::de::Error::custom)
}
