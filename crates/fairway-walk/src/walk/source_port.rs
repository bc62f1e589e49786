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
            self.source_ports.push((tuple.source_port, range));
        }
        let mut packet = Packet::new(tuple, place);
        for (port, range) in self.source_ports.iter().filter(|_| tuple.has_ports()) {
            let ends = [(0, tuple.source_port), (2, tuple.destination_port)];
            if let Some((offset, _)) = ends.into_iter().find(|(_, own)| own == port) {
                packet.vary_port(offset, *range);
            }
        }
        packet
    }
}
