//! Flows of a trace: which packets belong to one flow, and its outcome.

use std::collections::HashMap;

use super::event::{Change, ConntrackEvent};
use super::fingerprint::{ObservedPacket, Segment, TcpFlags};
use super::output::FlowSummary;
use fairway_ruleset::CtDirection;
use fairway_walk::Tuple;

const TCP: u8 = 6;
/// How many flows are kept; the oldest are dropped.
const REMEMBERED: usize = 4096;

/// A flow, as far as its packets and conntrack's events were observed.
#[derive(Debug, Clone, Default)]
pub struct Flow {
    /// Its number, once a packet of it was reported.
    pub number: Option<u32>,
    original: Option<Tuple>,
    /// Addresses and ports that conntrack expects replies with.
    reply: Option<Tuple>,
    /// The kernel's identifier of the flow.
    id: Option<u32>,
    /// Whether the filter matches it.
    pub is_meant: bool,
    /// Whether its conntrack entry was reported.
    pub announced: bool,
    /// The number of the client's flow, if this is a connection of the proxy.
    pub carries: Option<u32>,
    /// The time of its first packet.
    pub began: u64,
    packets: (u64, u64),
    /// The sequence number of its first segment.
    first_sequence: Option<u32>,
    began_before: bool,
    accepted: bool,
    established: bool,
    ended: bool,
    /// The sender and the kind of the refusal.
    refused: Option<String>,
    /// The reason why its last lost packet was dropped.
    dropped: Option<String>,
}

impl Flow {
    /// Addresses and ports of its first packet.
    pub fn original(&self) -> Option<Tuple> {
        self.original
    }

    /// Addresses and ports that conntrack expects replies with, if known.
    pub fn expects(&self) -> Option<Tuple> {
        self.reply
    }

    /// Whether the client is known, given this packet of the flow.
    pub fn knows_its_beginning(&self, observed: &ObservedPacket) -> bool {
        match observed.segment {
            Segment::Tcp { flags, .. } => {
                self.reply.is_some() || self.first_sequence.is_some() || flags.contains(TcpFlags::SYN)
            }
            _ => true,
        }
    }

    /// Records a packet: its direction, the namespace or address `maker` that sent it, and the reason why it was
    /// dropped.
    pub fn see(
        &mut self,
        observed: &ObservedPacket,
        direction: CtDirection,
        maker: &str,
        dropped: Option<&str>,
    ) {
        let forth = direction == CtDirection::Original;
        let is_first = self.packets == (0, 0);
        *(if forth { &mut self.packets.0 } else { &mut self.packets.1 }) += 1;
        self.dropped = dropped.map(str::to_owned).or(self.dropped.take().filter(|_| forth));
        match observed.segment {
            Segment::Tcp { flags, sequence, .. } => {
                let (syn, ack) = (flags.contains(TcpFlags::SYN), flags.contains(TcpFlags::ACK));
                match (forth, syn, ack) {
                    (true, true, false) => self.first_sequence = Some(sequence),
                    (false, true, true) => self.accepted |= dropped.is_none(),
                    (true, false, true) => self.established |= self.accepted,
                    _ => {}
                }
                self.began_before |= is_first && !syn;
                if flags.contains(TcpFlags::RST) && !forth && !self.established && !self.began_before {
                    self.refused = Some(format!("refused by {maker}: a TCP reset"));
                }
                self.ended |= flags.contains(TcpFlags::FIN) || flags.contains(TcpFlags::RST);
            }
            Segment::Error(..) if !forth => {
                self.refused = Some(format!("refused by {maker}: {}", observed.segment));
            }
            _ => {}
        }
    }

    /// Whether a packet opens another connection between the same addresses and ports.
    fn is_another(&self, observed: &ObservedPacket, direction: CtDirection) -> bool {
        let Segment::Tcp { flags, sequence, .. } = observed.segment else { return false };
        let begins = flags.contains(TcpFlags::SYN) && !flags.contains(TcpFlags::ACK);
        begins
            && (self.packets.0 + self.packets.1 > 0)
            && (direction == CtDirection::Reply || self.first_sequence.is_none_or(|first| first != sequence))
    }

    fn outcome(&self) -> (String, Option<bool>) {
        let is_tcp = self.original.is_some_and(|tuple| tuple.protocol == TCP);
        let (_, back) = self.packets;
        if is_tcp && self.established {
            let ended = if self.ended { "established, and closed" } else { "established" };
            return (ended.to_owned(), Some(true));
        }
        if let Some(refused) = &self.refused {
            return (refused.clone(), Some(false));
        }
        if let Some(dropped) = &self.dropped {
            return (dropped.clone(), Some(false));
        }
        if is_tcp && self.began_before {
            let (text, answered) = match back {
                0 => ("seen one way only; it began before", None),
                _ => ("seen both ways; it began before", Some(true)),
            };
            return (text.to_owned(), answered);
        }
        match (back, is_tcp) {
            (0, _) => ("no answer seen".to_owned(), Some(false)),
            (_, true) if self.accepted => ("accepted by the server; its client is silent".to_owned(), None),
            (_, true) => ("answered, and not accepted".to_owned(), None),
            (_, false) => ("answered".to_owned(), Some(true)),
        }
    }

    /// The summary of the flow.
    pub fn summary(&self) -> FlowSummary {
        let (outcome, answered) = self.outcome();
        let translated = self.reply.map(Tuple::reversed).filter(|tuple| Some(*tuple) != self.original);
        FlowSummary {
            number: self.number.unwrap_or_default(),
            original: self.original,
            translated,
            carries: self.carries,
            packets: self.packets,
            outcome,
            answered,
        }
    }
}

/// All flows of a trace.
#[derive(Debug, Default)]
pub struct Flows {
    all: HashMap<u64, Flow>,
    /// The flow and the direction of packets, by their addresses at any place.
    places: HashMap<Tuple, (u64, CtDirection)>,
    next: u64,
    numbered: u32,
}

impl Flows {
    /// Finds the flow and the direction of packets with these addresses.
    pub fn find(&self, tuple: Tuple) -> Option<(u64, CtDirection)> {
        self.places.get(&tuple).copied().filter(|(key, _)| self.all.contains_key(key))
    }

    /// The flow with this key.
    pub fn get(&mut self, key: u64) -> Option<&mut Flow> {
        self.all.get_mut(&key)
    }

    /// The flow and the direction of a packet, given its observations in order; a new flow if none is known, or if the
    /// packet opens another connection.
    pub fn of(&mut self, observed: &[&ObservedPacket], at: u64) -> Option<(u64, CtDirection)> {
        let first = observed.first()?;
        let known = observed.iter().find_map(|observed| self.find(observed.belongs_to()));
        let another = |flow: &Flow, direction| flow.is_another(first, direction);
        let (key, direction) = match known {
            Some((key, direction)) if !self.all.get(&key).is_some_and(|flow| another(flow, direction)) => {
                (key, direction)
            }
            _ => {
                let direction = match first.about {
                    Some(_) => CtDirection::Reply,
                    None => CtDirection::Original,
                };
                let original =
                    if first.about.is_some() { first.belongs_to().reversed() } else { first.tuple };
                (self.add(Flow { original: Some(original), began: at, ..Flow::default() }), direction)
            }
        };
        for observed in observed {
            self.put(observed.belongs_to(), key, direction);
        }
        Some((key, direction))
    }

    /// Records an event of conntrack; returns the flow if it was reported and is now removed.
    pub fn track(&mut self, tracked: &ConntrackEvent, at: u64) -> Option<u64> {
        let known = self.find(tracked.original);
        if tracked.change == Change::Forgotten {
            let (key, _) = known?;
            let flow = self.all.get(&key)?;
            return (flow.id == Some(tracked.id) && flow.number.is_some()).then_some(key);
        }
        let key = match known {
            // A packet of the flow was observed before the event.
            Some((key, CtDirection::Original))
                if self.all.get(&key).is_some_and(|flow| flow.id.is_none_or(|id| id == tracked.id)) =>
            {
                key
            }
            _ => self.add(Flow { began: at, announced: tracked.change == Change::Known, ..Flow::default() }),
        };
        if let Some(flow) = self.all.get_mut(&key) {
            (flow.original, flow.reply) = (Some(tracked.original), Some(tracked.reply));
            flow.id = Some(tracked.id);
        }
        self.put(tracked.original, key, CtDirection::Original);
        self.put(tracked.reply, key, CtDirection::Reply);
        None
    }

    /// Records how conntrack of another namespace than the host's translates a flow: its packets on both sides are those
    /// of one flow. What the host's conntrack says of it decides what is reported.
    pub fn relate(&mut self, tracked: &ConntrackEvent, at: u64) {
        if tracked.change == Change::Forgotten || tracked.original.source.is_loopback() {
            return;
        }
        let (key, direction) = match self.find(tracked.original).or(self.find(tracked.reply.reversed())) {
            Some(known) => known,
            None => {
                let flow = Flow { original: Some(tracked.original), began: at, ..Flow::default() };
                (self.add(flow), CtDirection::Original)
            }
        };
        self.put(tracked.original, key, direction);
        self.put(tracked.reply.reversed(), key, direction);
    }

    /// Gives a flow its number, if it has none, and finds the client's flow of a proxy's connection: the latest one for
    /// which `is_carried` holds.
    pub fn number(&mut self, key: u64, is_carried: impl Fn(&Tuple) -> bool) -> Option<u32> {
        let flow = self.all.get(&key)?;
        if flow.number.is_some() {
            return flow.number;
        }
        let taken: Vec<u32> = self.all.values().filter_map(|flow| flow.carries).collect();
        let began = flow.began;
        let carried = self.all.values().filter(|other| other.began <= began);
        let carried = carried.filter(|other| other.original.is_some_and(|tuple| is_carried(&tuple)));
        let carried = carried.filter_map(|other| Some((other.began, other.number?)));
        let carried = carried.filter(|(_, number)| !taken.contains(number)).max();
        self.numbered += 1;
        let number = self.numbered;
        let flow = self.all.get_mut(&key)?;
        flow.number = Some(number);
        flow.carries = carried.map(|(_, number)| number);
        flow.number
    }

    fn put(&mut self, tuple: Tuple, key: u64, direction: CtDirection) {
        let back = match direction {
            CtDirection::Original => CtDirection::Reply,
            CtDirection::Reply => CtDirection::Original,
        };
        self.places.insert(tuple, (key, direction));
        // An echo reply has the identifier of its request; for other protocols this is another tuple.
        self.places.insert(tuple.reversed(), (key, back));
    }

    fn add(&mut self, flow: Flow) -> u64 {
        if self.all.len() >= REMEMBERED {
            let oldest = self.next.saturating_sub(REMEMBERED as u64 / 2);
            self.all.retain(|key, _| *key >= oldest);
            self.places.retain(|_, (key, _)| *key >= oldest);
        }
        self.next += 1;
        self.all.insert(self.next, flow);
        self.next
    }
}
