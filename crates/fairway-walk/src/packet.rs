//! A packet as bytes, which rules match and rewrite.

mod icmp_error;
mod protocol_name;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use fairway_model::MacAddress;
use fairway_ruleset::{Family, PayloadBase};
use serde::{Deserialize, Serialize};

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const HOP_LIMIT: u8 = 64;
/// Flags of TCP: RFC 9293, 3.1.
const SYN: u8 = 0x02;
const RESET: u8 = 0x04;
const ACKNOWLEDGEMENT: u8 = 0x10;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

/// The addresses, ports and protocol that identify a flow in one direction, as in conntrack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tuple {
    /// The number of the transport protocol (IANA); in JSON its name, if it has one here.
    #[serde(with = "protocol_name")]
    pub protocol: u8,
    /// The source address.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// The source port, or the identifier of an ICMP echo; 0 for protocols without.
    pub source_port: u16,
    /// The destination port; 0 for protocols without.
    pub destination_port: u16,
}

impl Tuple {
    /// The tuple of the reply.
    pub fn reversed(self) -> Self {
        let has_identifier = matches!(self.protocol, ICMP | ICMPV6);
        let (source_port, destination_port) = match has_identifier {
            true => (self.source_port, self.destination_port),
            false => (self.destination_port, self.source_port),
        };
        Self { source: self.destination, destination: self.source, source_port, destination_port, ..self }
    }

    /// Its layer 3 family.
    pub fn family(&self) -> Family {
        if self.source.is_ipv4() { Family::Ip } else { Family::Ip6 }
    }

    /// Source address and port, as `10.0.0.1:80` or `[fd00::1]:80`.
    pub fn source_text(&self) -> String {
        end(self.source, self.source_port, self.has_ports())
    }

    /// Destination address and port, as [`Tuple::source_text`] writes them.
    pub fn destination_text(&self) -> String {
        end(self.destination, self.destination_port, self.has_ports())
    }

    /// Whether its protocol has ports.
    pub fn has_ports(&self) -> bool {
        matches!(self.protocol, TCP | UDP | SCTP)
    }
}

fn end(address: IpAddr, port: u16, has_ports: bool) -> String {
    match (address, has_ports) {
        (IpAddr::V6(address), true) => format!("[{address}]:{port}"),
        (address, true) => format!("{address}:{port}"),
        (address, false) => address.to_string(),
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            TCP => "tcp",
            UDP => "udp",
            SCTP => "sctp",
            ICMP | ICMPV6 => "icmp",
            other => return write!(f, "protocol {other} {} > {}", self.source, self.destination),
        };
        write!(f, "{protocol} {} > {}", self.source_text(), self.destination_text())
    }
}

/// The position of a packet in its flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FlowPosition {
    /// The first packet.
    First,
    /// The first reply.
    Reply,
    /// Any later packet.
    Established,
    /// A TCP reset; for other protocols the same as the first reply.
    Reset,
}

/// A packet, each of its headers as bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Packet {
    link: Vec<u8>,
    network: Vec<u8>,
    transport: Vec<u8>,
    /// A bit for each byte of the three headers whose value is not known.
    unknown: [u64; 3],
    /// A port that stands for any of a range: its offset in the transport header, and the range.
    any_port: Option<(u32, (u16, u16))>,
    /// The packet's mark, which is not among its bytes.
    pub mark: u32,
}

impl Packet {
    /// A packet of a flow, without a link header.
    pub fn new(tuple: Tuple, place: FlowPosition) -> Self {
        let transport = transport(&tuple, place);
        let unknown = [0, made_up_network(&tuple), made_up_transport(&tuple, place)];
        Self { network: network(&tuple, transport.len()), transport, unknown, ..Self::default() }
    }

    /// Takes one from the hop limit (`ip_forward` in net/ipv4/ip_forward.c, `ip6_forward` in net/ipv6/ip6_output.c);
    /// returns whether the packet may be forwarded.
    pub fn pass_on(&mut self) -> bool {
        let offset = if self.family() == Family::Ip { 8 } else { 7 };
        match self.network.get_mut(offset) {
            Some(limit) if *limit > 1 => {
                *limit -= 1;
                true
            }
            _ => false,
        }
    }

    /// Makes the port at an offset of the transport header stand for any of a range.
    pub fn vary_port(&mut self, offset: u32, range: (u16, u16)) {
        self.any_port = Some((offset, range));
    }

    /// The bytes among those from an offset on that are of the port that stands for any of a range, as bits from the first
    /// one on, and the range; none if there are none.
    pub fn any_port(&self, base: PayloadBase, offset: u32, length: u32) -> Option<(u64, (u16, u16))> {
        let (at, range) = self.any_port.filter(|_| base == PayloadBase::Transport)?;
        let bytes = bits(at..at + 2).checked_shr(offset).unwrap_or_default() & bits(0..length);
        (bytes != 0).then_some((bytes, range))
    }

    /// Marks bytes of a header as not known.
    pub fn forget(&mut self, base: PayloadBase, bytes: Range<u32>) {
        if let Some(header) = header(base) {
            self.unknown[header] |= bits(bytes);
        }
    }

    /// The bytes among those from an offset on whose values are not known, as bits from the first one on.
    pub fn unknown(&self, base: PayloadBase, offset: u32, length: u32) -> u64 {
        let unknown = header(base).map_or(0, |header| self.unknown[header]);
        unknown.checked_shr(offset).unwrap_or_default() & bits(0..length)
    }

    /// Adds an Ethernet header, or replaces the one that the packet has. The source 0 stands for one that is not
    /// known.
    pub fn frame(&mut self, source: MacAddress, destination: MacAddress) {
        self.unknown[0] = if source == MacAddress::default() { bits(6..12) } else { 0 };
        let kind: u16 = if self.family() == Family::Ip { 0x0800 } else { 0x86dd };
        self.link = [&destination.0[..], &source.0[..], &kind.to_be_bytes()[..]].concat();
    }

    /// Changes the destination of the frame; does nothing without a frame.
    pub fn readdress(&mut self, destination: MacAddress) {
        if let Some(bytes) = self.link.get_mut(..6) {
            bytes.copy_from_slice(&destination.0);
        }
    }

    /// Addresses the frame to the sender of another packet's frame.
    pub fn frame_back(&mut self, to: &Packet) {
        self.link = to.link.clone();
        self.unknown[0] = if to.unknown[0] == 0 { 0 } else { bits(0..6) };
        if let [destination, source] = [0, 6].map(|at| to.link.get(at..at + 6).map(<[u8]>::to_vec))
            && let (Some(destination), Some(source)) = (destination, source)
        {
            self.link[..6].copy_from_slice(&source);
            self.link[6..12].copy_from_slice(&destination);
        }
    }

    /// The destination address of the frame; none without a frame.
    pub fn frame_destination(&self) -> Option<MacAddress> {
        Some(MacAddress(self.link.get(..6)?.try_into().ok()?))
    }

    /// Its layer 3 family.
    pub fn family(&self) -> Family {
        if self.network.first().is_some_and(|byte| byte >> 4 == 6) { Family::Ip6 } else { Family::Ip }
    }

    /// Bytes from a header on; none if the packet is too short.
    pub fn bytes(&self, base: PayloadBase, offset: u32, length: u32) -> Option<&[u8]> {
        let header = match base {
            PayloadBase::Link => &self.link,
            PayloadBase::Network => &self.network,
            PayloadBase::Transport => &self.transport,
            PayloadBase::Inner => return None,
        };
        let offset = offset as usize;
        header.get(offset..offset.checked_add(length as usize)?)
    }

    /// Replaces bytes and returns whether the packet has them. Checksums are not updated.
    pub fn replace(&mut self, base: PayloadBase, offset: u32, bytes: &[u8]) -> bool {
        let (number, header) = match base {
            PayloadBase::Link => (0, &mut self.link),
            PayloadBase::Network => (1, &mut self.network),
            PayloadBase::Transport => (2, &mut self.transport),
            PayloadBase::Inner => return false,
        };
        let offset = offset as usize;
        match header.get_mut(offset..offset.saturating_add(bytes.len())) {
            Some(place) => {
                let end = offset + bytes.len();
                let is_port =
                    |(at, _): &(u32, _)| number == 2 && offset < *at as usize + 2 && (*at as usize) < end;
                // NAT gave it another port.
                if place != bytes && self.any_port.as_ref().is_some_and(is_port) {
                    self.any_port = None;
                }
                place.copy_from_slice(bytes);
                self.unknown[number] &= !bits(offset as u32..(offset + bytes.len()) as u32);
                true
            }
            None => false,
        }
    }

    /// The packet's addresses, ports and protocol.
    pub fn tuple(&self) -> Tuple {
        let protocol = self.protocol();
        let (source_port, destination_port) = match protocol {
            TCP | UDP | SCTP => (self.port(0), self.port(2)),
            ICMP | ICMPV6 => (self.port(4), 0),
            _ => (0, 0),
        };
        let [source, destination] = [self.address(true), self.address(false)];
        Tuple { protocol, source, destination, source_port, destination_port }
    }

    /// Replaces addresses and ports; protocol and family stay.
    pub fn translate(&mut self, to: Tuple) {
        for (source, address) in [(true, to.source), (false, to.destination)] {
            let bytes = match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            if address.is_ipv4() == (self.family() == Family::Ip) {
                self.replace(PayloadBase::Network, self.address_offset(source), &bytes);
            }
        }
        if to.has_ports() {
            self.replace(PayloadBase::Transport, 0, &to.source_port.to_be_bytes());
            self.replace(PayloadBase::Transport, 2, &to.destination_port.to_be_bytes());
        }
    }

    fn protocol(&self) -> u8 {
        let offset = if self.family() == Family::Ip { 9 } else { 6 };
        self.network.get(offset).copied().unwrap_or_default()
    }

    fn port(&self, offset: usize) -> u16 {
        let bytes = self.transport.get(offset..offset + 2).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u16::from_be_bytes)
    }

    /// The bytes of an address in the network header.
    pub fn address_bytes(&self, source: bool) -> Range<u32> {
        let offset = self.address_offset(source);
        offset..offset + if self.family() == Family::Ip { 4 } else { 16 }
    }

    fn address_offset(&self, source: bool) -> u32 {
        match (self.family(), source) {
            (Family::Ip, true) => 12,
            (Family::Ip, false) => 16,
            (_, true) => 8,
            (_, false) => 24,
        }
    }

    fn address(&self, source: bool) -> IpAddr {
        let offset = self.address_offset(source);
        let length = if self.family() == Family::Ip { 4 } else { 16 };
        let bytes = self.bytes(PayloadBase::Network, offset, length).unwrap_or_default();
        match bytes.len() {
            4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).unwrap_or_default())),
            _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).unwrap_or_default())),
        }
    }
}

/// The position of a header's bits in [`Packet::unknown`].
fn header(base: PayloadBase) -> Option<usize> {
    match base {
        PayloadBase::Link => Some(0),
        PayloadBase::Network => Some(1),
        PayloadBase::Transport => Some(2),
        PayloadBase::Inner => None,
    }
}

/// A bit for each byte of a range, of the first 64 bytes.
pub(crate) fn bits(bytes: Range<u32>) -> u64 {
    let below = |end: u32| 1_u64.checked_shl(end).map_or(u64::MAX, |bit| bit - 1);
    below(bytes.end) & !below(bytes.start)
}

/// The bytes of [`network`] that only a real packet has, as bits: lengths, identifier and checksum, or flow label.
fn made_up_network(tuple: &Tuple) -> u64 {
    match tuple.source {
        IpAddr::V4(_) => bits(2..6) | bits(10..12),
        IpAddr::V6(_) => bits(2..6),
    }
}

/// The bytes of [`transport`] that only a real packet has. The source port is taken as known, unless it stands for any
/// ([`Packet::vary_port`]).
fn made_up_transport(tuple: &Tuple, place: FlowPosition) -> u64 {
    match (tuple.protocol, place) {
        // Sequence numbers, length of the options, window, checksum.
        (TCP, FlowPosition::First) => bits(4..8) | bits(12..13) | bits(14..18),
        (TCP, _) => bits(4..13) | bits(14..18),
        (UDP, _) => bits(4..8),
        (SCTP, FlowPosition::First) => bits(8..12) | bits(14..16),
        (SCTP, _) => bits(4..16),
        // Identifiers are like source ports.
        (ICMP | ICMPV6, _) => bits(2..4) | bits(6..8),
        _ => 0,
    }
}

/// An IPv4 header without options (RFC 791, 3.1), or an IPv6 header (RFC 8200, 3).
fn network(tuple: &Tuple, payload: usize) -> Vec<u8> {
    match (tuple.source, tuple.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            const DONT_FRAGMENT: u16 = 0x4000;
            let mut bytes = vec![0x45, 0];
            bytes.extend(((IPV4_HEADER + payload) as u16).to_be_bytes());
            bytes.extend([0, 0]);
            bytes.extend(DONT_FRAGMENT.to_be_bytes());
            bytes.extend([HOP_LIMIT, tuple.protocol, 0, 0]);
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            bytes
        }
        (source, destination) => {
            let mut bytes = vec![0x60, 0, 0, 0];
            bytes.extend((payload as u16).to_be_bytes());
            bytes.extend([tuple.protocol, HOP_LIMIT]);
            for address in [source, destination] {
                match address {
                    IpAddr::V4(address) => bytes.extend(address.to_ipv6_mapped().octets()),
                    IpAddr::V6(address) => bytes.extend(address.octets()),
                }
            }
            debug_assert_eq!(bytes.len(), IPV6_HEADER);
            bytes
        }
    }
}

fn transport(tuple: &Tuple, place: FlowPosition) -> Vec<u8> {
    let ports = [tuple.source_port.to_be_bytes(), tuple.destination_port.to_be_bytes()].concat();
    match tuple.protocol {
        TCP => {
            let (syn, reset, acknowledgement) = (SYN, RESET, ACKNOWLEDGEMENT);
            let flags = match place {
                FlowPosition::First => syn,
                FlowPosition::Reply => syn | acknowledgement,
                FlowPosition::Established => acknowledgement,
                FlowPosition::Reset => reset | acknowledgement,
            };
            [&ports[..], &[0; 8], &[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]].concat()
        }
        UDP => [&ports[..], &[0, 8, 0, 0]].concat(),
        SCTP => [&ports[..], &[0; 8], &[1, 0, 0, 20]].concat(),
        ICMP | ICMPV6 => {
            // Echo and its reply: RFC 792 and RFC 4443, 4.
            let kind = match (tuple.protocol, place) {
                (ICMP, FlowPosition::Reply | FlowPosition::Reset) => 0,
                (ICMP, _) => 8,
                (_, FlowPosition::Reply | FlowPosition::Reset) => 129,
                (_, _) => 128,
            };
            let [high, low] = tuple.source_port.to_be_bytes();
            vec![kind, 0, 0, 0, high, low, 0, 1]
        }
        _ => Vec::new(),
    }
}
