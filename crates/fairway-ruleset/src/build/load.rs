//! What rules look at.

use crate::{CtDirection, CtKey, Expression, FibFlags, FibResult, MetaKey, PayloadBase, Register, SocketKey};

/// Something that can be loaded into a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Load {
    /// A fact about the packet.
    Meta(MetaKey),
    /// A fact about its flow.
    Ct(CtKey, Option<CtDirection>),
    /// Bytes of it: where the offset counts from, the offset, the length.
    Payload(PayloadBase, u32, u32),
    /// What the routing tables say.
    Fib(FibResult, FibFlags),
    /// A fact about the host's socket that it is for.
    Socket(SocketKey),
}

impl Load {
    /// The name of the interface it arrived at.
    pub const INPUT_NAME: Self = Self::Meta(MetaKey::InputName);
    /// The name of the interface it leaves by.
    pub const OUTPUT_NAME: Self = Self::Meta(MetaKey::OutputName);
    /// The transport protocol.
    pub const TRANSPORT: Self = Self::Meta(MetaKey::TransportProtocol);
    /// The Ethernet source.
    pub const ETHER_SOURCE: Self = Self::Payload(PayloadBase::Link, 6, 6);
    /// The Ethernet destination.
    pub const ETHER_DESTINATION: Self = Self::Payload(PayloadBase::Link, 0, 6);
    /// The EtherType.
    pub const ETHER_TYPE: Self = Self::Payload(PayloadBase::Link, 12, 2);
    /// The IPv4 source.
    pub const IP_SOURCE: Self = Self::Payload(PayloadBase::Network, 12, 4);
    /// The IPv4 destination.
    pub const IP_DESTINATION: Self = Self::Payload(PayloadBase::Network, 16, 4);
    /// The IPv6 source.
    pub const IP6_SOURCE: Self = Self::Payload(PayloadBase::Network, 8, 16);
    /// The IPv6 destination.
    pub const IP6_DESTINATION: Self = Self::Payload(PayloadBase::Network, 24, 16);
    /// What an ARP packet wants (RFC 826).
    pub const ARP_OPERATION: Self = Self::Payload(PayloadBase::Network, 6, 2);
    /// The hardware address that an ARP packet claims.
    pub const ARP_SENDER_ETHER: Self = Self::Payload(PayloadBase::Network, 8, 6);
    /// The IPv4 address that an ARP packet claims.
    pub const ARP_SENDER_IP: Self = Self::Payload(PayloadBase::Network, 14, 4);
    /// The IPv4 address that an ARP packet asks for.
    pub const ARP_TARGET_IP: Self = Self::Payload(PayloadBase::Network, 24, 4);
    /// The type of an ICMPv6 message.
    pub const ICMPV6_TYPE: Self = Self::Payload(PayloadBase::Transport, 0, 1);
    /// The target of a neighbour solicitation or advertisement (RFC 4861 section 4.3).
    pub const ND_TARGET: Self = Self::Payload(PayloadBase::Transport, 8, 16);
    /// The source port of TCP or UDP.
    pub const SOURCE_PORT: Self = Self::Payload(PayloadBase::Transport, 0, 2);
    /// The destination port of TCP or UDP.
    pub const DESTINATION_PORT: Self = Self::Payload(PayloadBase::Transport, 2, 2);
    /// The flags of TCP (RFC 9293 section 3.1).
    pub const TCP_FLAGS: Self = Self::Payload(PayloadBase::Transport, 13, 1);
    /// Whether the socket that it is for is bound to no address.
    pub const SOCKET_WILDCARD: Self = Self::Socket(SocketKey::Wildcard);
    /// What kind of address the destination is.
    pub const DESTINATION_TYPE: Self = Self::Fib(FibResult::AddressType, FibFlags::DESTINATION);
    /// What kind of address the source is.
    pub const SOURCE_TYPE: Self = Self::Fib(FibResult::AddressType, FibFlags::SOURCE);
    /// The IPv4 destination of the flow's first packet, before any translation.
    pub const ORIGINAL_IP_DESTINATION: Self = Self::Ct(CtKey::DestinationIpv4, Some(CtDirection::Original));
    /// The IPv6 destination of the flow's first packet, before any translation.
    pub const ORIGINAL_IP6_DESTINATION: Self = Self::Ct(CtKey::DestinationIpv6, Some(CtDirection::Original));
    /// The destination port of the flow's first packet, before any translation.
    pub const ORIGINAL_DESTINATION_PORT: Self = Self::Ct(CtKey::DestinationPort, Some(CtDirection::Original));

    /// How many bytes it has.
    pub fn length(self) -> usize {
        match self {
            Self::Meta(key) => key.datatype().length(),
            Self::Ct(key, _) => key.datatype().length(),
            Self::Payload(_, _, length) => length as usize,
            Self::Fib(result, _) => result.datatype().length(),
            Self::Socket(key) => key.datatype().length(),
        }
    }

    /// The expression that loads it into a register.
    pub const fn into_register(self, to: Register) -> Expression {
        match self {
            Self::Meta(key) => Expression::Meta { key, to },
            Self::Ct(key, direction) => Expression::Ct { key, direction, to },
            Self::Payload(base, offset, length) => Expression::Payload { base, offset, length, to },
            Self::Fib(result, flags) => Expression::Fib { result, flags, to },
            Self::Socket(key) => Expression::Socket { key, to },
        }
    }
}
