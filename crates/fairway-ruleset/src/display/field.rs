//! The names of what rules look at.

use super::super::{Datatype, PayloadBase};
pub(super) use crate::datatype::hexadecimal;

/// EtherType of IPv4.
pub(super) const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub(super) const IPV6: u16 = 0x86dd;
/// EtherType of ARP.
pub(super) const ARP: u16 = 0x0806;

/// What earlier expressions of the rule said the packet is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Protocols {
    /// The EtherType.
    pub network: Option<u16>,
    /// The number in the IP header.
    pub transport: Option<u8>,
}

/// A named run of bytes of a packet.
pub(super) struct Field {
    /// As `nft` names it.
    pub name: String,
    /// What kind of value it is.
    pub datatype: Datatype,
    /// Whether the name says what an earlier comparison said, which then need not be printed.
    pub implies_network: bool,
    /// The same for the transport protocol.
    pub implies_transport: bool,
}

/// (protocol, offset, length, name, type)
type Row = (u16, u32, u32, &'static str, Datatype);

const LINK: &[Row] = &[
    (0, 0, 6, "ether daddr", Datatype::EtherAddress),
    (0, 6, 6, "ether saddr", Datatype::EtherAddress),
    (0, 12, 2, "ether type", Datatype::EtherType),
];

const NETWORK: &[Row] = &[
    (IPV4, 8, 1, "ip ttl", Datatype::Other { number: 4, length: 1 }),
    (IPV4, 9, 1, "ip protocol", Datatype::InetProtocol),
    (IPV4, 12, 4, "ip saddr", Datatype::Ipv4Address),
    (IPV4, 16, 4, "ip daddr", Datatype::Ipv4Address),
    (IPV6, 6, 1, "ip6 nexthdr", Datatype::InetProtocol),
    (IPV6, 7, 1, "ip6 hoplimit", Datatype::Other { number: 4, length: 1 }),
    (IPV6, 8, 16, "ip6 saddr", Datatype::Ipv6Address),
    (IPV6, 24, 16, "ip6 daddr", Datatype::Ipv6Address),
    (ARP, 6, 2, "arp operation", Datatype::ArpOperation),
    (ARP, 8, 6, "arp saddr ether", Datatype::EtherAddress),
    (ARP, 14, 4, "arp saddr ip", Datatype::Ipv4Address),
    (ARP, 18, 6, "arp daddr ether", Datatype::EtherAddress),
    (ARP, 24, 4, "arp daddr ip", Datatype::Ipv4Address),
];

const TRANSPORT: &[Row] = &[
    (6, 0, 2, "tcp sport", Datatype::InetService),
    (6, 2, 2, "tcp dport", Datatype::InetService),
    (6, 13, 1, "tcp flags", Datatype::Other { number: 4, length: 1 }),
    (6, 13, 1, "tcp flags", Datatype::Other { number: 15, length: 1 }),
    (17, 0, 2, "udp sport", Datatype::InetService),
    (17, 2, 2, "udp dport", Datatype::InetService),
    (1, 0, 1, "icmp type", Datatype::IcmpType),
    (58, 0, 1, "icmpv6 type", Datatype::Icmpv6Type),
    (58, 8, 16, "icmpv6 taddr", Datatype::Ipv6Address),
];

const ANY_TRANSPORT: &[Row] =
    &[(0, 0, 2, "th sport", Datatype::InetService), (0, 2, 2, "th dport", Datatype::InetService)];

/// The name of bytes, given what is known of the packet. The first bytes of an address have the
/// address's name: that is how `nft` compares prefixes of whole bytes.
pub(super) fn field(protocols: Protocols, base: PayloadBase, offset: u32, length: u32) -> Field {
    let find = |rows: &'static [Row], protocol: u16| {
        rows.iter().find(|row| {
            let whole = row.2 == length;
            let leading = length < row.2 && matches!(row.4, Datatype::Ipv4Address | Datatype::Ipv6Address);
            row.0 == protocol && row.1 == offset && (whole || leading)
        })
    };
    let (row, implies_network, implies_transport) = match base {
        PayloadBase::Link => (find(LINK, 0), false, false),
        PayloadBase::Network => (protocols.network.and_then(|protocol| find(NETWORK, protocol)), true, false),
        PayloadBase::Transport => {
            match protocols.transport.and_then(|protocol| find(TRANSPORT, protocol.into())) {
                // ICMP and ICMPv6 are words of one layer 3 protocol each.
                Some(row) => (Some(row), matches!(row.0, 1 | 58), true),
                None => (find(ANY_TRANSPORT, 0), false, false),
            }
        }
        PayloadBase::Inner => (None, false, false),
    };
    match row {
        Some(row) => Field { name: row.3.to_owned(), datatype: row.4, implies_network, implies_transport },
        None => Field {
            name: format!("@{base},{},{}", offset * 8, length * 8),
            datatype: Datatype::Bytes,
            implies_network: false,
            implies_transport: false,
        },
    }
}

/// An address and its prefix length, if the mask is that of a prefix.
pub(super) fn prefix_text(datatype: Datatype, address: &[u8], mask: &[u8]) -> Option<String> {
    if !matches!(datatype, Datatype::Ipv4Address | Datatype::Ipv6Address) {
        return None;
    }
    let mut bits = mask.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1));
    let length = bits.by_ref().take_while(|bit| *bit).count();
    if bits.any(|bit| bit) {
        return None;
    }
    let mut whole = address.to_vec();
    whole.resize(datatype.length(), 0);
    Some(format!("{}/{length}", datatype.text(&whole)))
}
