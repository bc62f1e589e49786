//! Source ports that stand for any port that the sender's kernel may take.

use super::Walker;
use crate::packet::{FlowPosition, Packet, Tuple};
use crate::topology::NetworkNamespace;

/// The ports of a kernel whose range is not known (`net.ipv4.ip_local_port_range`).
const DEFAULT: (u16, u16) = (32_768, 60_999);
/// The ports of a host whose system is not known: those of Linux, and those that are for this (RFC 6335, 6).
const REMOTE: (u16, u16) = (32_768, u16::MAX);

impl Walker<'_> {
    /// The same walker, for which the source port of a first packet stands for any port that the sender may take: a rule
    /// that matches some of these ports is a choice.
    pub fn with_any_source_port(self) -> Self {
        Self { any_source_port: true, ..self }
    }

    /// A packet of a flow. The first packet of a flow comes from `sender`; none if that is outside the topology.
    pub(super) fn packet(
        &mut self,
        sender: Option<&NetworkNamespace>,
        tuple: Tuple,
        place: FlowPosition,
    ) -> Packet {
        if self.any_source_port && place == FlowPosition::First && tuple.has_ports() {
            let range = sender.map_or(REMOTE, |sender| sender.local_ports.unwrap_or(DEFAULT));
            self.source_ports.push(((tuple.source, tuple.source_port), range));
        }
        let mut packet = Packet::new(tuple, place);
        let any = || self.source_ports.iter().rev().filter(|_| tuple.has_ports());
        let from_sender = any().find(|(sender, _)| *sender == (tuple.source, tuple.source_port));
        match from_sender.filter(|_| place != FlowPosition::Reply) {
            Some((_, range)) => packet.vary_port(0, *range),
            // NAT may have changed the sender's address, to which replies go.
            None => {
                if let Some((_, range)) = any().find(|((_, port), _)| *port == tuple.destination_port) {
                    packet.vary_port(2, *range);
                }
            }
        }
        packet
    }
}
