//! Ethernet frames: forged to attack, and read to see what arrived.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A MAC address.
pub type Mac = [u8; 6];

/// The MAC address that every interface of a LAN takes frames for.
pub const BROADCAST: Mac = [0xff; 6];

const TYPE_IPV4: u16 = 0x0800;
const TYPE_ARP: u16 = 0x0806;
const TYPE_IPV6: u16 = 0x86dd;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_SCTP: u8 = 132;
const PROTOCOL_ICMPV6: u8 = 58;
/// A neighbour advertisement of ICMPv6 (RFC 4861, 4.4), and its flags solicited and override.
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const SOLICITED_OVERRIDE: u8 = 0x60;
const TCP_SYN: u8 = 0x02;
const SCTP_INIT: u8 = 1;
const SCTP_INIT_ACK: u8 = 2;

/// Who sends a frame to whom on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// The sender.
    pub source: Mac,
    /// The receiver.
    pub destination: Mac,
}

/// What an ARP frame is (RFC 826).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArpOperation {
    /// Who has the target address?
    Request,
    /// The sender address is at the sender's MAC address.
    Reply,
}

/// An ARP frame that says that `sender_address` is at `sender`.
#[must_use]
pub fn arp(
    ethernet: Ethernet,
    operation: ArpOperation,
    sender: Mac,
    sender_address: Ipv4Addr,
    target: Mac,
    target_address: Ipv4Addr,
) -> Vec<u8> {
    let mut frame = header(ethernet, TYPE_ARP);
    // Ethernet and IPv4, with the lengths of their addresses.
    frame.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, if operation == ArpOperation::Request { 1 } else { 2 }]);
    frame.extend_from_slice(&sender);
    frame.extend_from_slice(&sender_address.octets());
    frame.extend_from_slice(&target);
    frame.extend_from_slice(&target_address.octets());
    frame
}

/// A UDP datagram, by IPv4 or IPv6 as its destination is; none if the source is of the other family.
#[must_use]
pub fn udp(
    ethernet: Ethernet,
    source: SocketAddr,
    destination: SocketAddr,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let mut segment = Vec::with_capacity(8 + payload.len());
    segment.extend_from_slice(&source.port().to_be_bytes());
    segment.extend_from_slice(&destination.port().to_be_bytes());
    segment.extend_from_slice(&u16::try_from(8 + payload.len()).ok()?.to_be_bytes());
    segment.extend_from_slice(&[0, 0]);
    segment.extend_from_slice(payload);
    packet(ethernet, source.ip(), destination.ip(), PROTOCOL_UDP, segment, Some(6))
}

/// The first segment of a TCP connection; none if the addresses are of two families.
#[must_use]
pub fn tcp_syn(ethernet: Ethernet, source: SocketAddr, destination: SocketAddr) -> Option<Vec<u8>> {
    let mut segment = Vec::with_capacity(20);
    segment.extend_from_slice(&source.port().to_be_bytes());
    segment.extend_from_slice(&destination.port().to_be_bytes());
    // Sequence number 1, nothing acknowledged, five words of header, a window of 64 KiB, no urgent data.
    segment.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, TCP_SYN, 0xff, 0xff, 0, 0, 0, 0]);
    packet(ethernet, source.ip(), destination.ip(), PROTOCOL_TCP, segment, Some(16))
}

/// The first packet of an SCTP association, or with `answer` the second (RFC 9260, 3.3.2 and 3.3.3), each with a
/// tag of `tag`; none if the addresses are of two families.
#[must_use]
pub fn sctp_init(
    ethernet: Ethernet,
    source: SocketAddr,
    destination: SocketAddr,
    tag: u32,
    answer: bool,
) -> Option<Vec<u8>> {
    let mut segment = Vec::with_capacity(40);
    segment.extend_from_slice(&source.port().to_be_bytes());
    segment.extend_from_slice(&destination.port().to_be_bytes());
    // An INIT has no verification tag; its answer has the tag that the INIT gave.
    segment.extend_from_slice(&if answer { tag } else { 0 }.to_be_bytes());
    segment.extend_from_slice(&[0; 4]);
    // The chunk: its kind, no flags, its length; the tag, a window of 64 KiB, one stream each way, number 1.
    segment.extend_from_slice(&[
        if answer { SCTP_INIT_ACK } else { SCTP_INIT },
        0,
        0,
        if answer { 28 } else { 20 },
    ]);
    segment.extend_from_slice(&tag.to_be_bytes());
    segment.extend_from_slice(&[0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    if answer {
        // A cookie of four bytes.
        segment.extend_from_slice(&[0, 7, 0, 8, 1, 2, 3, 4]);
    }
    let sum = crc32c(&segment);
    segment[8..12].copy_from_slice(&sum.to_le_bytes());
    packet(ethernet, source.ip(), destination.ip(), PROTOCOL_SCTP, segment, None)
}

/// CRC32c, as SCTP has it (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    const REVERSED: u32 = 0x82f6_3b78;
    let step = |sum: u32, _| if sum & 1 == 1 { (sum >> 1) ^ REVERSED } else { sum >> 1 };
    !bytes.iter().fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), step))
}

/// A neighbour advertisement (RFC 4861) that says that `claimed` is at `at`, whatever was known before.
#[must_use]
pub fn neighbor_advertisement(
    ethernet: Ethernet,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    claimed: Ipv6Addr,
    at: Mac,
) -> Option<Vec<u8>> {
    let mut message = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, SOLICITED_OVERRIDE, 0, 0, 0];
    message.extend_from_slice(&claimed.octets());
    // The option "target link-layer address", one unit of eight bytes.
    message.extend_from_slice(&[2, 1]);
    message.extend_from_slice(&at);
    packet(ethernet, source.into(), destination.into(), PROTOCOL_ICMPV6, message, Some(2))
}

fn header(ethernet: Ethernet, kind: u16) -> Vec<u8> {
    [&ethernet.destination[..], &ethernet.source, &kind.to_be_bytes()].concat()
}

/// Puts an IP header before a segment whose internet checksum, if it has one, is at `checksum_at`, still zero.
fn packet(
    ethernet: Ethernet,
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    mut segment: Vec<u8>,
    checksum_at: Option<usize>,
) -> Option<Vec<u8>> {
    let length = u16::try_from(segment.len()).ok()?;
    // Neighbour discovery only counts with a hop limit of 255, for nothing routed can have it.
    let hop_limit = 255;
    let (mut frame, pseudo) = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut ip = vec![0x45, 0];
            ip.extend_from_slice(&length.checked_add(20)?.to_be_bytes());
            ip.extend_from_slice(&[0, 0, 0x40, 0, hop_limit, protocol, 0, 0]);
            ip.extend_from_slice(&source.octets());
            ip.extend_from_slice(&destination.octets());
            let sum = checksum(&ip);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            let [a, b] = length.to_be_bytes();
            let pseudo = [&source.octets()[..], &destination.octets(), &[0, protocol, a, b]].concat();
            ([header(ethernet, TYPE_IPV4), ip].concat(), pseudo)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let [a, b] = length.to_be_bytes();
            let ip = [0x60, 0, 0, 0, a, b, protocol, hop_limit];
            let addresses = [source.octets(), destination.octets()].concat();
            let pseudo = [&addresses[..], &[0, 0, a, b, 0, 0, 0, protocol]].concat();
            ([&header(ethernet, TYPE_IPV6)[..], &ip, &addresses].concat(), pseudo)
        }
        _ => return None,
    };
    if let Some(at) = checksum_at {
        let sum = checksum(&[pseudo, segment.clone()].concat());
        segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    frame.extend_from_slice(&segment);
    Some(frame)
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// What a frame says, as far as tests ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its ends on the wire.
    pub ethernet: Ethernet,
    /// What it carries.
    pub content: Content,
}

/// What a frame carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// ARP.
    Arp {
        /// Request or reply.
        operation: ArpOperation,
        /// Where the sender says that its address is.
        sender: Mac,
        /// The address of the sender.
        sender_address: Ipv4Addr,
        /// The address that is asked for, or of who asked.
        target_address: Ipv4Addr,
    },
    /// A packet of IPv4 or IPv6.
    Packet {
        /// From.
        source: IpAddr,
        /// To.
        destination: IpAddr,
        /// TCP is 6, UDP 17, SCTP 132, ICMP 1, ICMPv6 58. IPv6 extension headers are not followed.
        protocol: u8,
        /// What follows the IP header.
        segment: Vec<u8>,
    },
    /// Anything else, by its EtherType.
    Other(u16),
}

impl Content {
    /// Whether it is SCTP and its checksum is right.
    #[must_use]
    pub fn is_sound_sctp(&self) -> bool {
        let Content::Packet { protocol: PROTOCOL_SCTP, segment, .. } = self else { return false };
        let Some((sum, mut rest)) = segment.get(8..12).map(|sum| (sum.to_vec(), segment.clone())) else {
            return false;
        };
        rest[8..12].fill(0);
        crc32c(&rest).to_le_bytes()[..] == sum[..]
    }

    /// The ports of TCP, UDP or SCTP, source first.
    #[must_use]
    pub fn ports(&self) -> Option<(u16, u16)> {
        match self {
            Content::Packet { protocol: PROTOCOL_TCP | PROTOCOL_UDP | PROTOCOL_SCTP, segment, .. } => {
                let [a, b, c, d] = *segment.first_chunk()?;
                Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
            }
            _ => None,
        }
    }
}

/// Reads a frame; none if it is cut short.
#[must_use]
pub fn read(frame: &[u8]) -> Option<Seen> {
    let (destination, rest) = frame.split_first_chunk::<6>()?;
    let (source, rest) = rest.split_first_chunk::<6>()?;
    let (kind, rest) = rest.split_first_chunk::<2>()?;
    let content = match u16::from_be_bytes(*kind) {
        TYPE_ARP => Content::Arp {
            operation: if rest.get(7)? == &1 { ArpOperation::Request } else { ArpOperation::Reply },
            sender: *rest.get(8..)?.first_chunk()?,
            sender_address: Ipv4Addr::from(*rest.get(14..)?.first_chunk::<4>()?),
            target_address: Ipv4Addr::from(*rest.get(24..)?.first_chunk::<4>()?),
        },
        TYPE_IPV4 => Content::Packet {
            source: Ipv4Addr::from(*rest.get(12..)?.first_chunk::<4>()?).into(),
            destination: Ipv4Addr::from(*rest.get(16..)?.first_chunk::<4>()?).into(),
            protocol: *rest.get(9)?,
            segment: rest.get(usize::from(rest.first()? & 0x0f) * 4..)?.to_vec(),
        },
        TYPE_IPV6 => Content::Packet {
            source: Ipv6Addr::from(*rest.get(8..)?.first_chunk::<16>()?).into(),
            destination: Ipv6Addr::from(*rest.get(24..)?.first_chunk::<16>()?).into(),
            protocol: *rest.get(6)?,
            segment: rest.get(40..)?.to_vec(),
        },
        other => Content::Other(other),
    };
    Some(Seen { ethernet: Ethernet { source: *source, destination: *destination }, content })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        // The example of RFC 1071, section 3: the sum is ddf2.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&[0x01]), !0x0100);
    }

    #[test]
    fn the_checksum_of_sctp_is_that_of_the_rfc() {
        // RFC 3720, B.4: 32 bytes of zeros, and of ones.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn two_families_make_no_packet() {
        let ethernet = Ethernet { source: [2, 0, 0, 0, 0, 1], destination: BROADCAST };
        let (four, six) = ("10.0.0.1:1".parse().unwrap(), "[fd00::1]:1".parse().unwrap());
        assert_eq!(udp(ethernet, four, six, b""), None);
    }

    #[test]
    fn a_frame_cut_short_is_not_read() {
        let ethernet = Ethernet { source: [2, 0, 0, 0, 0, 1], destination: BROADCAST };
        let source = "10.0.0.1:1000".parse().unwrap();
        let whole = udp(ethernet, source, "10.0.0.2:53".parse().unwrap(), b"").unwrap();
        assert_eq!(read(&whole).unwrap().content.ports(), Some((1000, 53)));
        assert_eq!(read(&whole[..30]), None);
    }
}
