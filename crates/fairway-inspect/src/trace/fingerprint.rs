//! A packet as observed at one place, with a fingerprint that identifies it at other places.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fairway_walk::Tuple;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// Extension headers of IPv6 (RFC 8200, 4) that say how long they are: hop-by-hop, routing, destination.
const OPTIONS: [u8; 3] = [0, 43, 60];
const IPV6_FRAGMENT: u8 = 44;
/// ICMPv6 types of multicast listeners (RFC 2710, RFC 3810) and of neighbor discovery (RFC 4861): like ARP, they belong
/// to no flow.
const NEIGHBORS: [std::ops::RangeInclusive<u8>; 2] = [130..=137, 143..=143];
/// How many bytes of the transport header a trace message has (`NFT_TRACETYPE_TRANSPORT_HSIZE`).
const TRANSPORT: usize = 20;

/// The flags of TCP (RFC 9293, 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// The sender has no more data.
    pub const FIN: Self = Self(1);
    /// Opens a connection.
    pub const SYN: Self = Self(2);
    /// Resets the connection.
    pub const RST: Self = Self(4);
    /// Acknowledges received data.
    pub const ACK: Self = Self(16);

    /// Whether all flags of `other` are among these.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // PSH and URG say nothing about the packet's path.
        let names = [(Self::SYN, "SYN"), (Self::FIN, "FIN"), (Self::RST, "RST"), (Self::ACK, "ACK")];
        let set: Vec<&str> = names.iter().filter(|(flag, _)| self.contains(*flag)).map(|it| it.1).collect();
        f.write_str(if set.is_empty() { "no flags" } else { "" })?;
        f.write_str(&set.join("+"))
    }
}

/// The transport protocol's part of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// A TCP segment.
    Tcp {
        /// Its flags.
        flags: TcpFlags,
        /// The sequence number of its first byte.
        sequence: u32,
        /// The length of its data in bytes.
        length: u32,
    },
    /// A packet of another protocol, with the length of its data in bytes.
    Datagram(u32),
    /// An ICMP echo request or reply.
    Echo {
        /// Whether it is a reply.
        reply: bool,
        /// Its sequence number.
        sequence: u16,
    },
    /// An ICMP error: type and code.
    Error(u8, u8),
    /// A fragment other than the first.
    Fragment,
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { flags, length: 0, .. } => write!(f, "{flags}"),
            Self::Tcp { flags, length, .. } => write!(f, "{flags}, {length} bytes"),
            Self::Datagram(length) => write!(f, "{length} bytes"),
            Self::Echo { reply: false, sequence } => write!(f, "echo request {sequence}"),
            Self::Echo { reply: true, sequence } => write!(f, "echo reply {sequence}"),
            Self::Error(kind, code) => f.write_str(&error_in_words(*kind, *code)),
            Self::Fragment => f.write_str("a later fragment"),
        }
    }
}

/// The meaning of an ICMP error (RFC 792); types of ICMPv6 (RFC 4443) have 128 added.
fn error_in_words(kind: u8, code: u8) -> String {
    let text = match (kind, code) {
        (3, 0) | (129, 0) => "network unreachable",
        (3, 1) | (129, 3) => "host unreachable",
        (3, 2) => "protocol unreachable",
        (3, 3) | (129, 4) => "port unreachable",
        (3, 4) | (130, _) => "too long for the next link",
        (3, 9 | 10 | 13) | (129, 1 | 5 | 6) => "administratively prohibited",
        (11, _) | (131, _) => "too many hops",
        (5, _) => "a redirection",
        _ => return format!("ICMP type {}, code {code}", kind & 127),
    };
    text.to_owned()
}

/// The bytes of a packet that NAT does not change.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(Vec<u8>);

/// A packet as observed at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedPacket {
    /// Its addresses and ports.
    pub tuple: Tuple,
    /// Of an ICMP error: addresses and ports of the packet that it is about, as that packet was sent.
    pub about: Option<Tuple>,
    /// The transport protocol's part.
    pub segment: Segment,
    /// Identifies the packet at other places.
    pub fingerprint: Fingerprint,
}

impl fmt::Display for ObservedPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.about {
            Some(about) => write!(f, "{}  {}, about {about}", self.tuple, self.segment),
            None => write!(f, "{}  {}", self.tuple, self.segment),
        }
    }
}

/// The fields of an IP header that traces use.
struct Header {
    protocol: u8,
    source: IpAddr,
    destination: IpAddr,
    /// The identification of an IPv4 packet, which NAT does not change; zeros for IPv6.
    identification: [u8; 2],
    /// The offset of the transport header.
    length: usize,
    /// The length of the packet from the transport header on.
    carried: usize,
    is_later_fragment: bool,
}

impl ObservedPacket {
    /// Parses a packet from its IP header on; none if it is not IP, too short, or of neighbor discovery.
    pub fn of_packet(bytes: &[u8]) -> Option<Self> {
        let header = header(bytes)?;
        Self::of(&header, bytes.get(header.length..).unwrap_or_default())
    }

    /// Parses the headers of a packet; none if they are not IP, too short, or of neighbor discovery.
    pub fn of_headers(network: &[u8], transport: &[u8]) -> Option<Self> {
        Self::of(&header(network)?, transport)
    }

    fn of(header: &Header, transport: &[u8]) -> Option<Self> {
        let Header { protocol, source, destination, identification, carried, .. } = *header;
        let port = |at: usize| transport.get(at..at + 2).map_or(0, |it| u16::from_be_bytes([it[0], it[1]]));
        let byte = |at: usize| transport.get(at).copied().unwrap_or_default();
        let mut tuple = Tuple { protocol, source, destination, source_port: 0, destination_port: 0 };
        let mut about = None;
        let rest = |from: usize| transport.get(from..transport.len().min(TRANSPORT)).unwrap_or_default();
        let after = |header: usize| u32::try_from(carried.saturating_sub(header)).unwrap_or(u32::MAX);
        let (segment, print): (_, Vec<u8>) = match protocol {
            _ if header.is_later_fragment => (Segment::Fragment, Vec::new()),
            TCP => {
                let length = after(usize::from(byte(12) >> 4) * 4);
                let sequence = u32::from(port(4)) << 16 | u32::from(port(6));
                // The sequence and acknowledgement numbers, the flags and the window.
                let print = rest(4).iter().take(12).copied().collect();
                (Segment::Tcp { flags: TcpFlags(byte(13)), sequence, length }, print)
            }
            UDP => (Segment::Datagram(after(8)), [&rest(4)[..rest(4).len().min(2)], rest(8)].concat()),
            // The verification tag, and the first chunk.
            SCTP => (Segment::Datagram(after(12)), [&rest(4)[..rest(4).len().min(4)], rest(12)].concat()),
            ICMP | ICMPV6 => match (protocol, byte(0)) {
                (ICMP, 0 | 8) | (ICMPV6, 128 | 129) => {
                    tuple.source_port = port(4);
                    let reply = matches!(byte(0), 0 | 129);
                    let print = [&transport[..1.min(transport.len())], rest(6)].concat();
                    (Segment::Echo { reply, sequence: port(6) }, print)
                }
                (ICMP, 3 | 4 | 5 | 11 | 12) | (ICMPV6, 1..=4) => {
                    let inner = transport.get(8..).and_then(Self::of_packet);
                    about = inner.map(|inner| inner.tuple);
                    let kind = byte(0) + if protocol == ICMPV6 { 128 } else { 0 };
                    // NAT rewrites the quoted packet too, except for its identification.
                    let print =
                        [&rest(0)[..rest(0).len().min(2)], rest(12).get(..2).unwrap_or_default()].concat();
                    (Segment::Error(kind, byte(1)), print)
                }
                (ICMPV6, kind) if NEIGHBORS.iter().any(|kinds| kinds.contains(&kind)) => return None,
                _ => (Segment::Datagram(after(4)), rest(0).to_vec()),
            },
            _ => (Segment::Datagram(after(0)), rest(0).to_vec()),
        };
        if matches!(protocol, TCP | UDP | SCTP) && segment != Segment::Fragment {
            (tuple.source_port, tuple.destination_port) = (port(0), port(2));
        }
        let family = if source.is_ipv4() { 4 } else { 6 };
        let fingerprint = Fingerprint([&[family, protocol][..], &identification, &print].concat());
        Some(Self { tuple, about, segment, fingerprint })
    }

    /// The tuple of its flow: its own or, of an ICMP error, the reversed tuple of the packet that the error quotes.
    pub fn belongs_to(&self) -> Tuple {
        self.about.map_or(self.tuple, Tuple::reversed)
    }
}

fn header(bytes: &[u8]) -> Option<Header> {
    match bytes.first()? >> 4 {
        4 => {
            let fixed: &[u8; 20] = bytes.first_chunk()?;
            let length = usize::from(fixed[0] & 15) * 4;
            let total = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
            let fragment = u16::from_be_bytes([fixed[6], fixed[7]]);
            let address = |at: usize| Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]);
            Some(Header {
                protocol: fixed[9],
                source: address(12).into(),
                destination: address(16).into(),
                identification: [fixed[4], fixed[5]],
                length,
                // The length may not fit in packets that the network card segments.
                carried: total.saturating_sub(length),
                is_later_fragment: fragment & 0x1fff != 0,
            })
        }
        6 => {
            let fixed: &[u8; 40] = bytes.first_chunk()?;
            let address = |at: usize| {
                let octets: Option<&[u8; 16]> = fixed.get(at..at + 16)?.first_chunk();
                octets.map(|octets| IpAddr::V6(Ipv6Addr::from(*octets)))
            };
            let (mut protocol, mut length) = (fixed[6], 40);
            let mut is_later_fragment = false;
            while OPTIONS.contains(&protocol) || protocol == IPV6_FRAGMENT {
                let Some(option) = bytes.get(length..length + 8) else { break };
                let own = if protocol == IPV6_FRAGMENT { 8 } else { 8 + usize::from(option[1]) * 8 };
                let offset = u16::from_be_bytes([option[2], option[3]]) >> 3;
                is_later_fragment |= protocol == IPV6_FRAGMENT && offset != 0;
                protocol = option[0];
                length += own;
            }
            let payload = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
            Some(Header {
                protocol,
                source: address(8)?,
                destination: address(24)?,
                identification: [0, 0],
                length,
                carried: (payload + 40).saturating_sub(length),
                is_later_fragment,
            })
        }
        _ => None,
    }
}
