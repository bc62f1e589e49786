//! A conntrack flow with its NAT bindings.

use std::net::IpAddr;

use super::packet::Tuple;
use fairway_ruleset::CtDirection;

/// Bits of a flow's status (`IPS_*`, linux/netfilter/nf_conntrack_common.h).
const SEEN_REPLY: u32 = 2;
const CONFIRMED: u32 = 8;
const SOURCE_TRANSLATED: u32 = 16;
const DESTINATION_TRANSLATED: u32 = 32;

/// A flow of one namespace, from its first packet on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The tuple of the first packet, as it arrived.
    pub original: Tuple,
    /// The tuple of the first packet after all translation.
    pub translated: Tuple,
    /// Whether the destination has its NAT binding; a later chain does not change it.
    pub destination_decided: bool,
    /// Whether the source has its NAT binding.
    pub source_decided: bool,
    /// Whether a reply was seen.
    pub answered: bool,
    /// Whether the flow is confirmed: its first packet passed all hooks.
    pub confirmed: bool,
    /// Its mark.
    pub mark: u32,
}

impl Flow {
    /// Creates the flow of a first packet.
    pub fn new(original: Tuple) -> Self {
        Self {
            original,
            translated: original,
            destination_decided: false,
            source_decided: false,
            answered: false,
            confirmed: false,
            mark: 0,
        }
    }

    /// The direction of a packet that arrived as `tuple`; none for packets of other flows.
    pub fn direction(&self, tuple: Tuple) -> Option<CtDirection> {
        if tuple == self.original {
            Some(CtDirection::Original)
        } else if tuple == self.translated.reversed() {
            Some(CtDirection::Reply)
        } else {
            None
        }
    }

    /// Whether NAT changed an address or port.
    pub fn is_translated(&self) -> bool {
        self.original != self.translated
    }

    /// The status that `ct status` shows.
    pub fn status(&self) -> u32 {
        let source = (self.original.source, self.original.source_port)
            != (self.translated.source, self.translated.source_port);
        let destination = (self.original.destination, self.original.destination_port)
            != (self.translated.destination, self.translated.destination_port);
        [
            (self.answered, SEEN_REPLY),
            (self.confirmed, CONFIRMED),
            (source, SOURCE_TRANSLATED),
            (destination, DESTINATION_TRANSLATED),
        ]
        .into_iter()
        .filter(|(holds, _)| *holds)
        .fold(0, |status, (_, bit)| status | bit)
    }

    /// The tuple of a packet after its destination was translated: on arrival, or when a local program sent it.
    pub fn destination_of(&self, packet: Tuple, direction: CtDirection) -> Tuple {
        let whole = self.all_of(direction);
        Tuple { destination: whole.destination, destination_port: whole.destination_port, ..packet }
    }

    /// The tuple of a packet after its source was translated: when it leaves or is delivered.
    pub fn source_of(&self, packet: Tuple, direction: CtDirection) -> Tuple {
        let whole = self.all_of(direction);
        Tuple { source: whole.source, source_port: whole.source_port, ..packet }
    }

    fn all_of(&self, direction: CtDirection) -> Tuple {
        match direction {
            CtDirection::Original => self.translated,
            CtDirection::Reply => self.original.reversed(),
        }
    }

    /// Translates the destination if it has no binding yet.
    pub fn translate_destination(&mut self, address: Option<IpAddr>, port: Option<u16>) {
        self.destination_decided = true;
        self.translated.destination = address.unwrap_or(self.translated.destination);
        if self.translated.has_ports() {
            self.translated.destination_port = port.unwrap_or(self.translated.destination_port);
        }
    }

    /// Translates the source if it has no binding yet.
    pub fn translate_source(&mut self, address: Option<IpAddr>, port: Option<u16>) {
        self.source_decided = true;
        self.translated.source = address.unwrap_or(self.translated.source);
        if self.translated.has_ports() {
            self.translated.source_port = port.unwrap_or(self.translated.source_port);
        }
    }
}
