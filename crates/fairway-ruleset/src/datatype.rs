//! The types that `nft` knows values by.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// How many bits a type's number has in the type of a concatenation.
const TYPE_BITS: u32 = 6;
const TYPE_MASK: u32 = (1 << TYPE_BITS) - 1;

/// What kind of value some bytes are. The numbers are those of `nft` (`enum datatypes` in its
/// `include/datatype.h`): the kernel only keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Datatype {
    /// An IPv4 address.
    Ipv4Address,
    /// An IPv6 address.
    Ipv6Address,
    /// A hardware address.
    EtherAddress,
    /// The EtherType of a frame.
    EtherType,
    /// What an ARP packet wants.
    ArpOperation,
    /// A transport protocol.
    InetProtocol,
    /// A port.
    InetService,
    /// The type of an ICMP message.
    IcmpType,
    /// The type of an ICMPv6 message.
    Icmpv6Type,
    /// A mark.
    Mark,
    /// The index of an interface.
    InterfaceIndex,
    /// The name of an interface, padded to 16 bytes.
    InterfaceName,
    /// The group of an interface.
    InterfaceGroup,
    /// The hardware type of an interface.
    HardwareType,
    /// A user.
    UserId,
    /// A group.
    GroupId,
    /// The state of a flow.
    CtState,
    /// The direction of a packet in its flow.
    CtDirection,
    /// What was done to a flow.
    CtStatus,
    /// A layer 3 protocol family.
    NetworkFamily,
    /// Whom a packet was sent to.
    PacketType,
    /// The kind of an address.
    FibType,
    /// Yes or no.
    Boolean,
    /// A day of the week.
    DayOfWeek,
    /// A number of four bytes in the host's order.
    HostInteger,
    /// Bytes of which nothing else is known.
    Bytes,
    /// A type of `nft` that is not known here.
    Other {
        /// Its number.
        number: u8,
        /// Its length in bytes.
        length: u8,
    },
}

/// (type, number, length, name, whether the host's byte order)
const KNOWN: &[(Datatype, u8, u8, &str, bool)] = &[
    (Datatype::NetworkFamily, 2, 1, "nf_proto", true),
    (Datatype::Ipv4Address, 7, 4, "ipv4_addr", false),
    (Datatype::Ipv6Address, 8, 16, "ipv6_addr", false),
    (Datatype::EtherAddress, 9, 6, "ether_addr", false),
    (Datatype::EtherType, 10, 2, "ether_type", false),
    (Datatype::ArpOperation, 11, 2, "arp_op", false),
    (Datatype::InetProtocol, 12, 1, "inet_proto", false),
    (Datatype::InetService, 13, 2, "inet_service", false),
    (Datatype::IcmpType, 14, 1, "icmp_type", false),
    (Datatype::Mark, 19, 4, "mark", true),
    (Datatype::InterfaceIndex, 20, 4, "iface_index", true),
    (Datatype::HardwareType, 21, 2, "iface_type", true),
    (Datatype::UserId, 24, 4, "uid", true),
    (Datatype::GroupId, 25, 4, "gid", true),
    (Datatype::CtState, 26, 4, "ct_state", true),
    (Datatype::CtDirection, 27, 1, "ct_dir", false),
    (Datatype::CtStatus, 28, 4, "ct_status", true),
    (Datatype::Icmpv6Type, 29, 1, "icmpv6_type", false),
    (Datatype::PacketType, 31, 1, "pkt_type", true),
    (Datatype::InterfaceGroup, 35, 4, "devgroup", true),
    (Datatype::FibType, 38, 4, "fib_addrtype", true),
    (Datatype::Boolean, 39, 1, "boolean", true),
    (Datatype::InterfaceName, 41, 16, "ifname", true),
    (Datatype::DayOfWeek, 45, 1, "day", false),
    (Datatype::HostInteger, 4, 4, "integer", true),
];

/// The days as `nft` has them, in quotes.
const DAYS: &[(u8, &str)] = &[
    (0, "\"Sunday\""),
    (1, "\"Monday\""),
    (2, "\"Tuesday\""),
    (3, "\"Wednesday\""),
    (4, "\"Thursday\""),
    (5, "\"Friday\""),
    (6, "\"Saturday\""),
];

impl Datatype {
    /// The number that `nft` knows it by.
    pub fn number(self) -> u8 {
        match self {
            Self::Other { number, .. } => number,
            known => known.entry().map_or(4, |entry| entry.1),
        }
    }

    /// How many bytes a value has, padding of a concatenation not counted.
    pub fn length(self) -> usize {
        match self {
            Self::Other { length, .. } => length.into(),
            known => known.entry().map_or(0, |entry| entry.2.into()),
        }
    }

    /// Whether its bytes are in the host's order, which set declarations state for `nft`.
    pub fn is_host_order(self) -> bool {
        self.entry().is_some_and(|entry| entry.4)
    }

    /// The word that `nft` has for it.
    pub fn name(self) -> &'static str {
        self.entry().map_or("integer", |entry| entry.3)
    }

    /// The number of a concatenation: those of its parts, six bits each, the first part highest.
    pub fn number_of(parts: &[Self]) -> u32 {
        parts.iter().fold(0, |number, part| number << TYPE_BITS | u32::from(part.number()))
    }

    /// How many bytes values of these parts have: those of the part, or the padded ones of all.
    pub fn length_of(parts: &[Self]) -> usize {
        match parts {
            [single] => single.length(),
            several => several.iter().map(|part| part.padded_length()).sum(),
        }
    }

    /// How many bytes a value has as part of a concatenation.
    pub fn padded_length(self) -> usize {
        self.length().next_multiple_of(4)
    }

    /// The parts of a number. `lengths` are those of the parts if the kernel reported them, else only
    /// that of the whole; they size what is not known here.
    pub fn parts_of(number: u32, lengths: &[usize], whole: usize) -> Vec<Self> {
        let mut numbers = Vec::new();
        let mut rest = number;
        while rest != 0 {
            numbers.push((rest & TYPE_MASK) as u8);
            rest >>= TYPE_BITS;
        }
        numbers.reverse();
        let fits = |parts: &[Self]| Self::length_of(parts) == whole;
        let named: Vec<Self> = numbers
            .iter()
            .enumerate()
            .map(|(at, &number)| {
                let known = if numbers.len() == 1 { Some(whole) } else { lengths.get(at).copied() };
                Self::from_number(number, known)
            })
            .collect();
        if !named.is_empty() && fits(&named) {
            return named;
        }
        if lengths.len() > 1 {
            let sized: Vec<Self> =
                lengths.iter().map(|&length| Self::Other { number: 4, length: length as u8 }).collect();
            if fits(&sized) {
                return sized;
            }
        }
        vec![Self::Other { number: (number & TYPE_MASK) as u8, length: whole as u8 }]
    }

    fn from_number(number: u8, known: Option<usize>) -> Self {
        match KNOWN.iter().find(|entry| entry.1 == number) {
            Some(entry) if known.is_none_or(|length| length == entry.2.into()) => entry.0,
            _ => Self::Other { number, length: known.unwrap_or(4) as u8 },
        }
    }

    fn entry(self) -> Option<&'static (Self, u8, u8, &'static str, bool)> {
        KNOWN.iter().find(|entry| entry.0 == self)
    }

    /// A value as `nft` prints it.
    pub fn text(self, bytes: &[u8]) -> String {
        let host = |bytes: &[u8]| bytes.try_into().map(u32::from_ne_bytes).ok();
        match self {
            Self::Ipv4Address => match <[u8; 4]>::try_from(bytes) {
                Ok(octets) => Ipv4Addr::from(octets).to_string(),
                Err(_) => hexadecimal(bytes),
            },
            Self::Ipv6Address => match <[u8; 16]>::try_from(bytes) {
                Ok(octets) => Ipv6Addr::from(octets).to_string(),
                Err(_) => hexadecimal(bytes),
            },
            Self::EtherAddress if bytes.len() == 6 => {
                bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
            }
            Self::EtherType => match bytes {
                [0x08, 0x00] => "ip".into(),
                [0x08, 0x06] => "arp".into(),
                [0x86, 0xdd] => "ip6".into(),
                [0x81, 0x00] => "vlan".into(),
                _ => hexadecimal(bytes),
            },
            Self::InterfaceName => interface_name(bytes),
            Self::Mark => host(bytes).map_or_else(|| hexadecimal(bytes), |mark| format!("0x{mark:08x}")),
            Self::CtState => flags(bytes, CT_STATES),
            Self::CtStatus => flags(bytes, CT_STATUSES),
            Self::NetworkFamily => word(bytes, &[(2, "ipv4"), (10, "ipv6")]),
            Self::CtDirection => word(bytes, &[(0, "original"), (1, "reply")]),
            Self::InetProtocol => word(
                bytes,
                &[(1, "icmp"), (2, "igmp"), (6, "tcp"), (17, "udp"), (58, "ipv6-icmp"), (132, "sctp")],
            ),
            Self::PacketType => word(bytes, &[(0, "host"), (1, "broadcast"), (2, "multicast"), (3, "other")]),
            Self::FibType => match host(bytes) {
                Some(number) => word(&[number as u8], FIB_TYPES),
                None => hexadecimal(bytes),
            },
            Self::Icmpv6Type => word(bytes, ICMPV6_TYPES),
            Self::IcmpType => {
                word(bytes, &[(0, "echo-reply"), (3, "destination-unreachable"), (8, "echo-request")])
            }
            Self::ArpOperation => match bytes {
                [0, 1] => "request".into(),
                [0, 2] => "reply".into(),
                _ => hexadecimal(bytes),
            },
            Self::Boolean => if bytes.iter().all(|byte| *byte == 0) { "missing" } else { "exists" }.into(),
            Self::DayOfWeek => word(bytes, DAYS),
            Self::Other { number: 4, .. } if (1..=4).contains(&bytes.len()) => {
                bytes.iter().fold(0, |sum: u32, byte| sum << 8 | u32::from(*byte)).to_string()
            }
            Self::InetService => match <[u8; 2]>::try_from(bytes) {
                Ok(port) => u16::from_be_bytes(port).to_string(),
                Err(_) => hexadecimal(bytes),
            },
            Self::InterfaceIndex
            | Self::UserId
            | Self::GroupId
            | Self::InterfaceGroup
            | Self::HostInteger => {
                host(bytes).map_or_else(|| hexadecimal(bytes), |number| number.to_string())
            }
            Self::EtherAddress | Self::HardwareType | Self::Bytes | Self::Other { .. } => hexadecimal(bytes),
        }
    }

    /// A value of several parts as `nft` prints it.
    pub fn text_of(parts: &[Self], bytes: &[u8]) -> String {
        if let [single] = parts {
            return single.text(bytes);
        }
        let mut rest = bytes;
        let mut texts = Vec::new();
        for part in parts {
            let (own, others) = rest.split_at(part.padded_length().min(rest.len()));
            texts.push(part.text(&own[..part.length().min(own.len())]));
            rest = others;
        }
        texts.join(" . ")
    }
}

/// (bit, word), as the kernel's `NF_CT_STATE_BIT` makes them.
const CT_STATES: &[(u32, &str)] =
    &[(1, "invalid"), (2, "established"), (4, "related"), (8, "new"), (64, "untracked")];
/// `IPS_*` in `linux/netfilter/nf_conntrack_common.h`.
const CT_STATUSES: &[(u32, &str)] = &[
    (1, "expected"),
    (2, "seen-reply"),
    (4, "assured"),
    (8, "confirmed"),
    (16, "snat"),
    (32, "dnat"),
    (512, "dying"),
];
/// `RTN_*` in `linux/rtnetlink.h`.
const FIB_TYPES: &[(u8, &str)] = &[
    (0, "unspec"),
    (1, "unicast"),
    (2, "local"),
    (3, "broadcast"),
    (4, "anycast"),
    (5, "multicast"),
    (6, "blackhole"),
    (7, "unreachable"),
    (8, "prohibit"),
];
/// RFC 4443 and RFC 4861.
const ICMPV6_TYPES: &[(u8, &str)] = &[
    (1, "destination-unreachable"),
    (128, "echo-request"),
    (129, "echo-reply"),
    (133, "nd-router-solicit"),
    (134, "nd-router-advert"),
    (135, "nd-neighbor-solicit"),
    (136, "nd-neighbor-advert"),
];

/// Bytes as one number.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::from("0x");
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn word(bytes: &[u8], words: &[(u8, &str)]) -> String {
    match bytes {
        [byte] => match words.iter().find(|(number, _)| number == byte) {
            Some((_, word)) => (*word).to_owned(),
            None => byte.to_string(),
        },
        _ => hexadecimal(bytes),
    }
}

fn flags(bytes: &[u8], words: &[(u32, &str)]) -> String {
    let Ok(bits) = bytes.try_into().map(u32::from_ne_bytes) else { return hexadecimal(bytes) };
    let known: Vec<&str> = words.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, word)| *word).collect();
    if known.is_empty() { format!("0x{bits:x}") } else { known.join(",") }
}

/// A name in quotes; with `*` at its end when only its beginning is compared.
fn interface_name(bytes: &[u8]) -> String {
    let name = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    let wildcard = if name.len() == bytes.len() && bytes.len() < 16 { "*" } else { "" };
    format!("\"{}{wildcard}\"", String::from_utf8_lossy(name))
}
