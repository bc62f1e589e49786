//! What is told of packets that were watched.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use fairway_walk::{EndRecord, StepKind, StepRecord, Tuple};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One message of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TraceMessage {
    /// What is to be known of the whole trace.
    Note(String),
    /// A packet, wherever it was seen.
    Packet(Box<PacketTimeline>),
    /// That packets are watched still, and how many were lost so far because there were too many.
    Watching(Lost),
}

/// What could not be told because there was too much at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Lost {
    /// Packets that captures missed.
    pub captured: u64,
    /// Packets whose way through rules was not asked for, or times at which the kernel says that it told more of
    /// rules than was heard.
    pub ruled: u64,
    /// Packets that were seen and not told.
    pub unreported: u64,
}

/// A packet at all places where it was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PacketTimeline {
    /// When it was first seen, in nanoseconds since 1970.
    pub at: u64,
    /// What it is: as it was first seen.
    pub title: String,
    /// Whether it goes against the first of its flow.
    pub back: bool,
    /// What happened to it, in order.
    pub entries: Vec<TimelineEntry>,
    /// Where it ends.
    pub end: EndRecord,
    /// Its flow, as far as it has come with it.
    pub flow: FlowSummary,
}

/// Something that happened to a packet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TimelineEntry {
    /// When, in nanoseconds since 1970; the kernel gives rules no time, so they have that of the capture before.
    pub at: u64,
    /// What happened: a capture, a rule, a rewrite, or an event of conntrack.
    #[serde(flatten)]
    pub step: StepRecord,
    /// Of a capture: what the packet is to its protocol, such as `SYN+ACK` or `echo request 1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// Of a captured ICMP error: the packet that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<Tuple>,
    /// Of a new flow: the addresses and ports that conntrack expects replies with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_reply: Option<Tuple>,
    /// Its bytes, if they were captured and are wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<FrameBytes>,
}

impl TimelineEntry {
    /// What happened, in a line.
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
    /// Whether it begins with an Ethernet header; else with that of IP.
    pub ethernet: bool,
    /// Whether it left the interface.
    pub outgoing: bool,
    /// How long it was; there may be fewer bytes.
    pub length: u32,
    /// The bytes, in base64 (RFC 4648, 4).
    #[serde(serialize_with = "write", deserialize_with = "read")]
    pub bytes: Vec<u8>,
}

/// What is known of a flow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FlowSummary {
    /// Its number, from 1 on.
    pub number: u32,
    /// Addresses and ports of its first packet.
    pub original: Option<Tuple>,
    /// Addresses and ports of its first packet after NAT, if NAT changed it.
    pub translated: Option<Tuple>,
    /// The flow that the proxy carries by it.
    pub carries: Option<u32>,
    /// Packets with its first, and against it.
    pub packets: (u64, u64),
    /// What came of it, in words.
    pub outcome: String,
    /// Whether it was answered; none if it was not seen whole.
    pub answered: Option<bool>,
}

fn write<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64.encode(bytes))
}

fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    BASE64.decode(text).map_err(serde::de::Error::custom)
}
