//! The walk of a connection as it is drawn: legs of stops, each at one place of a picture.

use serde::{Deserialize, Serialize};

/// A place in a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum Spot {
    /// A sandbox's place on a network, by the numbers of the network and of the member.
    Member(usize, usize),
    /// The bridge or parent interface of a network, by the network's number.
    Network(usize),
    /// The host's own stack: its routes, its firewall, its programs.
    Host,
    /// An uplink of the host, by its number.
    Uplink(usize),
    /// The subnets and routers behind an uplink, by its number.
    Beyond(usize),
    /// A place that is not drawn.
    Elsewhere,
}

/// The main event of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum Badge {
    /// The packet passes.
    Passes,
    /// Its addresses change.
    Rewritten,
    /// A socket receives the packet.
    Delivered,
    /// The packet is dropped.
    Lost,
    /// The packet leaves the host, or its fate is unknown.
    Unknown,
}

/// The events of a packet at one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Stop {
    /// Its number within the walk, from 1.
    pub number: usize,
    /// The place.
    pub spot: Spot,
    /// The main event.
    pub badge: Badge,
    /// The place as text.
    pub place: String,
    /// The events as text.
    pub lines: Vec<String>,
}

impl Stop {
    /// The events in one line.
    pub fn in_short(&self) -> String {
        if let (Badge::Passes, [_, _, ..]) = (self.badge, &self.lines[..]) {
            let mut places: Vec<&str> =
                self.lines.iter().map(|line| line.split(": ").next().unwrap_or_default()).collect();
            places.dedup();
            return places.join(", ");
        }
        self.lines.last().cloned().unwrap_or_default()
    }
}

/// The direction of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum LegKind {
    /// From the client.
    Asks,
    /// From the server.
    Answers,
}

/// The path of one packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Leg {
    /// The direction.
    pub kind: LegKind,
    /// The direction as text.
    pub title: String,
    /// The stops in order.
    pub stops: Vec<Stop>,
}

/// The walk of a connection, drawn over a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Walk {
    /// The query.
    pub question: String,
    /// The packets, in the order in which they go.
    pub legs: Vec<Leg>,
    /// The result.
    pub sentence: String,
    /// Advice if the connection fails.
    pub advice: Option<String>,
    /// Whether the connection is answered; none if unknown.
    pub answered: Option<bool>,
}
