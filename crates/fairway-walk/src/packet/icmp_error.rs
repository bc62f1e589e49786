//! ICMP errors, which contain the packet that they report.

use std::net::IpAddr;

use super::{
    ACKNOWLEDGEMENT, ICMP, ICMPV6, IPV4_HEADER, IPV6_HEADER, Packet, RESET, SYN, TCP, Tuple, network,
};
use fairway_ruleset::Family;

/// The length of the ICMP header before the reported packet.
const HEADER: usize = 8;
/// "Unreachable" of each family.
const UNREACHABLE: u8 = 3;
const UNREACHABLE_IPV6: u8 = 1;
/// "Time exceeded" of each family.
const EXPIRED: u8 = 11;
const EXPIRED_IPV6: u8 = 3;
/// Of ICMPv6, all types below are errors (RFC 4443, 2.1).
const FIRST_QUESTION_IPV6: u8 = 128;

impl Packet {
    /// Creates the "unreachable" error about a packet.
    pub fn unreachable(source: IpAddr, code: u8, about: &Packet) -> Packet {
        Self::error(source, [UNREACHABLE, UNREACHABLE_IPV6], code, about)
    }

    /// Creates the "time exceeded" error about a packet whose hop limit has run out.
    pub fn expired(source: IpAddr, about: &Packet) -> Packet {
        Self::error(source, [EXPIRED, EXPIRED_IPV6], 0, about)
    }

    /// Creates an error of the type that it has in each family.
    fn error(source: IpAddr, [ipv4, ipv6]: [u8; 2], code: u8, about: &Packet) -> Packet {
        let (protocol, kind) = match about.family() {
            Family::Ip => (ICMP, ipv4),
            _ => (ICMPV6, ipv6),
        };
        let destination = about.tuple().source;
        let tuple = Tuple { protocol, source, destination, source_port: 0, destination_port: 0 };
        let transport = [&[kind, code, 0, 0, 0, 0, 0, 0], &about.network[..], &about.transport].concat();
        Packet { network: network(&tuple, transport.len()), transport, ..Packet::default() }
    }

    /// The packet that an ICMP error reports; none for other packets.
    fn within(&self) -> Option<Packet> {
        let kind = *self.transport.first()?;
        let header = match (self.protocol(), kind) {
            // RFC 792: unreachable, source quench, redirect, time exceeded, parameter problem.
            (ICMP, 3 | 4 | 5 | 11 | 12) => IPV4_HEADER,
            (ICMPV6, kind) if kind < FIRST_QUESTION_IPV6 => IPV6_HEADER,
            _ => return None,
        };
        let (network, transport) = self.transport.get(HEADER..)?.split_at_checked(header)?;
        Some(Packet { network: network.to_vec(), transport: transport.to_vec(), ..Packet::default() })
    }

    /// The tuple of the packet that an ICMP error reports; none for other packets.
    pub fn about(&self) -> Option<Tuple> {
        self.within().map(|packet| packet.tuple())
    }

    /// Replaces addresses and ports of the packet that an ICMP error reports.
    pub fn translate_about(&mut self, to: Tuple) {
        if let Some(mut packet) = self.within() {
            packet.translate(to);
            self.transport.truncate(HEADER);
            self.transport.extend(packet.network);
            self.transport.extend(packet.transport);
        }
    }

    fn flags(&self) -> u8 {
        self.transport.get(13).copied().unwrap_or_default()
    }

    /// Whether the packet is a TCP reset.
    pub fn is_reset(&self) -> bool {
        self.protocol() == TCP && self.flags() & RESET != 0
    }

    /// Whether the packet is an echo reply (true) or an echo request (false); none for other packets.
    pub fn echoes(&self) -> Option<bool> {
        match (self.protocol(), self.transport.first()?) {
            (ICMP, 0) | (ICMPV6, 129) => Some(true),
            (ICMP, 8) | (ICMPV6, 128) => Some(false),
            _ => None,
        }
    }

    /// Whether conntrack accepts the packet as the first of a new flow: `tcp_new`, and `valid_new` of
    /// nf_conntrack_icmp.
    pub fn begins(&self) -> bool {
        let kind = self.transport.first().copied().unwrap_or_default();
        match self.protocol() {
            TCP => {
                let flags = self.flags() & (SYN | RESET | ACKNOWLEDGEMENT);
                flags == SYN || flags == ACKNOWLEDGEMENT
            }
            ICMP => kind == 8,
            ICMPV6 => kind == 128,
            _ => true,
        }
    }
}
