//! What expressions ask for.

use super::Datatype;
use super::numbered::numbered;

numbered! {
    /// A fact about the packet that is not in it (`NFT_META_*`).
    pub enum MetaKey: u32 {
        /// Its length from the network header on.
        Length = 0, "meta length";
        /// Its EtherType.
        Protocol = 1, "meta protocol";
        /// Its traffic control class.
        Priority = 2, "meta priority";
        /// Its mark.
        Mark = 3, "meta mark";
        /// The index of the interface it arrived at.
        InputInterface = 4, "iif";
        /// The index of the interface it leaves by.
        OutputInterface = 5, "oif";
        /// The name of the interface it arrived at.
        InputName = 6, "iifname";
        /// The name of the interface it leaves by.
        OutputName = 7, "oifname";
        /// The hardware type of the interface it arrived at.
        InputType = 8, "iiftype";
        /// The hardware type of the interface it leaves by.
        OutputType = 9, "oiftype";
        /// The user of the socket that made it.
        SocketUser = 10, "meta skuid";
        /// The group of the socket that made it.
        SocketGroup = 11, "meta skgid";
        /// Whether it is traced.
        Trace = 12, "meta nftrace";
        /// Its routing realm.
        RoutingClass = 13, "meta rtclassid";
        /// Its layer 3 protocol family.
        NetworkFamily = 15, "meta nfproto";
        /// Its layer 4 protocol, extension headers skipped.
        TransportProtocol = 16, "meta l4proto";
        /// The bridge of the port it arrived at.
        InputBridge = 17, "meta ibrname";
        /// The bridge of the port it leaves by.
        OutputBridge = 18, "meta obrname";
        /// Whether it was sent to us, to all, to a group or to another.
        PacketType = 19, "meta pkttype";
        /// The processor it is on.
        Processor = 20, "meta cpu";
        /// The group of the interface it arrived at.
        InputGroup = 21, "iifgroup";
        /// The group of the interface it leaves by.
        OutputGroup = 22, "oifgroup";
        /// The control group class of its socket.
        ControlGroup = 23, "meta cgroup";
        /// A random number.
        Random = 24, "meta random";
        /// Whether IPsec carried it.
        SecurityPath = 25, "meta secpath";
        /// The driver of the interface it arrived at.
        InputKind = 26, "meta iifkind";
        /// The driver of the interface it leaves by.
        OutputKind = 27, "meta oifkind";
        /// The time, in nanoseconds since 1970.
        Time = 30, "meta time";
        /// The day of the week, in UTC.
        Day = 31, "meta day";
        /// The time of the day in seconds, in UTC.
        Hour = 32, "meta hour";
        /// The index of the slave interface it arrived at.
        SlaveInterface = 33, "meta sdif";
        /// The name of the slave interface it arrived at.
        SlaveName = 34, "meta sdifname";
    }
}

impl MetaKey {
    /// What kind of value it is.
    pub const fn datatype(self) -> Datatype {
        match self {
            Self::Protocol => Datatype::EtherType,
            Self::Mark => Datatype::Mark,
            Self::InputInterface | Self::OutputInterface | Self::SlaveInterface => Datatype::InterfaceIndex,
            Self::InputName
            | Self::OutputName
            | Self::InputBridge
            | Self::OutputBridge
            | Self::SlaveName
            | Self::InputKind
            | Self::OutputKind => Datatype::InterfaceName,
            Self::SocketUser => Datatype::UserId,
            Self::SocketGroup => Datatype::GroupId,
            Self::NetworkFamily => Datatype::NetworkFamily,
            Self::TransportProtocol => Datatype::InetProtocol,
            Self::PacketType => Datatype::PacketType,
            Self::InputGroup | Self::OutputGroup => Datatype::InterfaceGroup,
            Self::InputType | Self::OutputType => Datatype::HardwareType,
            Self::Trace | Self::SecurityPath => Datatype::Boolean,
            Self::Time => Datatype::Other { number: 43, length: 8 },
            Self::Day => Datatype::DayOfWeek,
            // In network order, of which the kernel knows nothing.
            Self::Random => Datatype::Other { number: 4, length: 4 },
            _ => Datatype::HostInteger,
        }
    }
}

numbered! {
    /// A fact that conntrack knows about the packet's flow (`NFT_CT_*`).
    pub enum CtKey: u32 {
        /// New, established, related, invalid or untracked.
        State = 0, "state";
        /// With the flow's first packet or against it.
        Direction = 1, "direction";
        /// What was done to the flow (`IPS_*`).
        Status = 2, "status";
        /// Its mark.
        Mark = 3, "mark";
        /// How long it will be remembered, in milliseconds.
        Expiration = 5, "expiration";
        /// Its helper.
        Helper = 6, "helper";
        /// Its layer 3 protocol family.
        NetworkFamily = 7, "l3proto";
        /// Its source address, of the rule's family.
        Source = 8, "saddr";
        /// Its destination address, of the rule's family.
        Destination = 9, "daddr";
        /// Its layer 4 protocol.
        TransportProtocol = 10, "protocol";
        /// Its source port.
        SourcePort = 11, "proto-src";
        /// Its destination port.
        DestinationPort = 12, "proto-dst";
        /// Its packets.
        Packets = 14, "packets";
        /// Its bytes.
        Bytes = 15, "bytes";
        /// Its zone.
        Zone = 17, "zone";
        /// Its IPv4 source address.
        SourceIpv4 = 19, "ip saddr";
        /// Its IPv4 destination address.
        DestinationIpv4 = 20, "ip daddr";
        /// Its IPv6 source address.
        SourceIpv6 = 21, "ip6 saddr";
        /// Its IPv6 destination address.
        DestinationIpv6 = 22, "ip6 daddr";
        /// Its number.
        Id = 23, "id";
    }
}

impl CtKey {
    /// What kind of value it is.
    pub const fn datatype(self) -> Datatype {
        match self {
            Self::State => Datatype::CtState,
            Self::Direction => Datatype::CtDirection,
            Self::Status => Datatype::CtStatus,
            Self::Mark => Datatype::Mark,
            Self::NetworkFamily => Datatype::NetworkFamily,
            Self::TransportProtocol => Datatype::InetProtocol,
            Self::SourcePort | Self::DestinationPort => Datatype::InetService,
            Self::SourceIpv4 | Self::DestinationIpv4 => Datatype::Ipv4Address,
            Self::SourceIpv6 | Self::DestinationIpv6 => Datatype::Ipv6Address,
            Self::Source | Self::Destination => Datatype::Bytes,
            _ => Datatype::HostInteger,
        }
    }
}

numbered! {
    /// Which of a flow's two tuples is meant.
    pub enum CtDirection: u8 {
        /// As its first packet was.
        Original = 0, "original";
        /// As its answers are.
        Reply = 1, "reply";
    }
}

numbered! {
    /// Where in the packet an offset counts from (`NFT_PAYLOAD_*`).
    pub enum PayloadBase: u32 {
        /// The Ethernet header.
        Link = 0, "ll";
        /// The IP or ARP header.
        Network = 1, "nh";
        /// The TCP, UDP or ICMP header.
        Transport = 2, "th";
        /// What the transport header carries.
        Inner = 3, "ih";
    }
}

numbered! {
    /// How values are compared, as bytes from the first to the last (`NFT_CMP_*`).
    pub enum Comparison: u32 {
        /// The same.
        Equal = 0, "==";
        /// Not the same.
        NotEqual = 1, "!=";
        /// Less.
        Less = 2, "<";
        /// Less or the same.
        LessOrEqual = 3, "<=";
        /// Greater.
        Greater = 4, ">";
        /// Greater or the same.
        GreaterOrEqual = 5, ">=";
    }
}

numbered! {
    /// Which way the bytes of a value are turned (`NFT_BYTEORDER_*`).
    pub enum ByteOrder: u32 {
        /// From the network's order to the host's.
        NetworkToHost = 0, "ntoh";
        /// From the host's order to the network's.
        HostToNetwork = 1, "hton";
    }
}

numbered! {
    /// What a look into the routing tables gives (`NFT_FIB_RESULT_*`).
    pub enum FibResult: u32 {
        /// The index of the interface.
        Interface = 1, "oif";
        /// The name of the interface.
        InterfaceName = 2, "oifname";
        /// The kind of the address (`RTN_*`).
        AddressType = 3, "type";
    }
}

impl FibResult {
    /// What kind of value it is.
    pub const fn datatype(self) -> Datatype {
        match self {
            Self::Interface => Datatype::InterfaceIndex,
            Self::InterfaceName => Datatype::InterfaceName,
            Self::AddressType => Datatype::FibType,
        }
    }
}

numbered! {
    /// What is asked of the host's socket that a packet is for (`NFT_SOCKET_*`).
    pub enum SocketKey: u32 {
        /// Whether it takes what is for other addresses.
        Transparent = 0, "transparent";
        /// Its mark.
        Mark = 1, "mark";
        /// Whether it is bound to no address: one that is connected is bound to its own.
        Wildcard = 2, "wildcard";
    }
}

impl SocketKey {
    /// What kind of value it is.
    pub const fn datatype(self) -> Datatype {
        match self {
            Self::Mark => Datatype::Mark,
            Self::Transparent | Self::Wildcard => Datatype::Other { number: 4, length: 1 },
        }
    }
}

/// What the routing tables are asked for (`NFTA_FIB_F_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct FibFlags(pub u32);

impl FibFlags {
    /// The source address.
    pub const SOURCE: Self = Self(1);
    /// The destination address.
    pub const DESTINATION: Self = Self(2);
    /// With the packet's mark.
    pub const MARK: Self = Self(4);
    /// Only by the interface it arrived at.
    pub const INPUT: Self = Self(8);
    /// Only by the interface it leaves by.
    pub const OUTPUT: Self = Self(16);
    /// Only whether there is a result.
    pub const PRESENT: Self = Self(32);

    /// Whether all flags of `other` are among these.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// How a translation chooses (`NF_NAT_RANGE_*`), without the two flags that follow from the registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct NatFlags(pub u32);

impl NatFlags {
    /// Ports are chosen at random.
    pub const RANDOM: Self = Self(4);
    /// A client keeps its address over several flows.
    pub const PERSISTENT: Self = Self(8);
    /// Ports are chosen at random, without regard to the one asked for.
    pub const FULLY_RANDOM: Self = Self(16);
    /// The host part of the address stays as it was.
    pub const NETMAP: Self = Self(64);

    /// Whether all flags of `other` are among these.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

numbered! {
    /// Where an option or extension header is looked for (`NFT_EXTHDR_OP_*`).
    pub enum ExtensionKind: u32 {
        /// IPv6 extension headers.
        Ipv6 = 0, "exthdr";
        /// TCP options.
        Tcp = 1, "tcp option";
        /// IPv4 options.
        Ipv4 = 2, "ip option";
        /// SCTP chunks.
        Sctp = 3, "sctp chunk";
        /// DCCP options.
        Dccp = 4, "dccp option";
    }
}
