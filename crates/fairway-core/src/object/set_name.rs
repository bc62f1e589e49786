//! The sets and maps whose elements come and go, and how their keys are laid out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use fairway_model::{MacAddress, Protocol};
use fairway_ruleset::Family;

/// The length of an interface name in a key: IFNAMSIZ, linux/if.h.
const INTERFACE_NAME_LENGTH: usize = 16;

/// Our sets and maps by name. The names are what operators see in `nft list ruleset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SetName {
    /// Our bridges.
    Bridges,
    /// Pairs of bridges whose sandboxes may talk to one another: each bridge with itself.
    SameNetwork,
    /// Those of them whose sandboxes may not, but for links: each bridge with itself.
    IccOff,
    /// Links between sandboxes that may not talk otherwise: who opens, to whom, protocol, port.
    Links4,
    /// As `Links4`, for IPv6.
    Links6,
    /// Bridges of internal networks.
    InternalBridges,
    /// Bridges of networks that are not isolated from others (`fairway.isolate=false`).
    OpenBridges,
    /// Bridges of networks that are not strictly isolated from others (`fairway.isolate=false` and `true`).
    LenientBridges,
    /// Bridges whose sandboxes' packets leave with an address of the host, by family.
    MasqueradeBridges,
    /// The IPv4 address that packets from a bridge leave with, where it is a certain one.
    Snat4,
    /// As `Sources4`, for IPv6.
    Snat6,
    /// Bridges that every packet may enter, by family.
    UnprotectedBridges,
    /// Bridges that packets to published ports may enter untranslated, by family.
    RoutedModeBridges,
    /// Interfaces from which packets to published ports may enter a bridge untranslated.
    TrustedInterfaces,
    /// Published IPv4 ports by the sandbox's own address: address, protocol, port.
    DirectPorts4,
    /// As `Direct4`, for IPv6.
    DirectPorts6,
    /// Published on each IPv4 address: (protocol, port) to address and port.
    Published4,
    /// Published on one IPv4 address: (protocol, address, port) to address and port.
    Published4ByAddress,
    /// As `Ports4`, for IPv6.
    Published6,
    /// As `Ports4At`, for IPv6.
    Published6ByAddress,
    /// As `Published4`, of ports that another engine holds: no proxy answers there.
    EnginePublished4,
    /// As `Published4ByAddress`, of ports that another engine holds.
    EnginePublished4ByAddress,
    /// As `EnginePublished4`, for IPv6.
    EnginePublished6,
    /// As `EnginePublished4ByAddress`, for IPv6.
    EnginePublished6ByAddress,
    /// Sandboxes that may reach their own published ports: their IPv4 address twice.
    Hairpin4,
    /// As `Hairpin4`, for IPv6.
    Hairpin6,
    /// Hardware addresses that belong to an endpoint or a bridge.
    AssignedMacs,
    /// Which port of a bridge has which hardware address.
    PortMacs,
    /// IPv4 addresses that belong to an endpoint or a bridge.
    AssignedIps4,
    /// Which port of a bridge has which IPv4 address.
    PortIps4,
    /// As `Owned4`, for IPv6.
    AssignedIps6,
    /// As `Own4`, for IPv6.
    PortIps6,
    /// Ports of bridges whose sandboxes may not talk to one another.
    IccOffPorts,
    /// Ports of bridges whose sandboxes may send from nothing but their own addresses.
    StrictGuardPorts,
    /// Links between them: the port of who opens, the port to whom, protocol, port.
    LinkedPorts,
    /// Bridges whose subnets other hosts reach by routes.
    RoutedDriverBridges,
    /// Whom such a network is open to, and reaches untranslated: its bridge, a range of IPv4 addresses.
    Peers4,
    /// As `Peers4`, for IPv6.
    Peers6,
    /// Ports of bridges whose sandboxes are on a LAN of the host.
    LanPorts,
    /// The IPv4 addresses of the routers of these LANs.
    LanRouters4,
    /// Those of the ports that may send no more than so many frames a second to all or many; found for what exceeds
    /// it.
    StormLimits,
}

/// All of them.
pub const SETS: [SetName; 41] = [
    SetName::Bridges,
    SetName::SameNetwork,
    SetName::IccOff,
    SetName::Links4,
    SetName::Links6,
    SetName::InternalBridges,
    SetName::OpenBridges,
    SetName::LenientBridges,
    SetName::MasqueradeBridges,
    SetName::Snat4,
    SetName::Snat6,
    SetName::UnprotectedBridges,
    SetName::RoutedModeBridges,
    SetName::TrustedInterfaces,
    SetName::DirectPorts4,
    SetName::DirectPorts6,
    SetName::Published4,
    SetName::Published4ByAddress,
    SetName::Published6,
    SetName::Published6ByAddress,
    SetName::EnginePublished4,
    SetName::EnginePublished4ByAddress,
    SetName::EnginePublished6,
    SetName::EnginePublished6ByAddress,
    SetName::Hairpin4,
    SetName::Hairpin6,
    SetName::AssignedMacs,
    SetName::PortMacs,
    SetName::AssignedIps4,
    SetName::PortIps4,
    SetName::AssignedIps6,
    SetName::PortIps6,
    SetName::IccOffPorts,
    SetName::StrictGuardPorts,
    SetName::LinkedPorts,
    SetName::RoutedDriverBridges,
    SetName::Peers4,
    SetName::Peers6,
    SetName::LanPorts,
    SetName::LanRouters4,
    SetName::StormLimits,
];

impl SetName {
    /// Its name in the kernel.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Bridges => "bridges",
            Self::SameNetwork => "same_network",
            Self::IccOff => "icc_off",
            Self::Links4 => "links4",
            Self::Links6 => "links6",
            Self::InternalBridges => "internal_bridges",
            Self::OpenBridges => "open_bridges",
            Self::LenientBridges => "lenient_bridges",
            Self::MasqueradeBridges => "masquerade_bridges",
            Self::Snat4 => "snat4",
            Self::Snat6 => "snat6",
            Self::UnprotectedBridges => "unprotected_bridges",
            Self::RoutedModeBridges => "routed_mode_bridges",
            Self::TrustedInterfaces => "trusted_interfaces",
            Self::DirectPorts4 => "direct_ports4",
            Self::DirectPorts6 => "direct_ports6",
            Self::Published4 => "published4",
            Self::Published4ByAddress => "published4_by_address",
            Self::Published6 => "published6",
            Self::Published6ByAddress => "published6_by_address",
            Self::EnginePublished4 => "engine_published4",
            Self::EnginePublished4ByAddress => "engine_published4_by_address",
            Self::EnginePublished6 => "engine_published6",
            Self::EnginePublished6ByAddress => "engine_published6_by_address",
            Self::Hairpin4 => "hairpin4",
            Self::Hairpin6 => "hairpin6",
            Self::AssignedMacs => "assigned_macs",
            Self::PortMacs => "port_macs",
            Self::AssignedIps4 => "assigned_ips4",
            Self::PortIps4 => "port_ips4",
            Self::AssignedIps6 => "assigned_ips6",
            Self::PortIps6 => "port_ips6",
            Self::IccOffPorts => "icc_off_ports",
            Self::StrictGuardPorts => "strict_guard_ports",
            Self::LinkedPorts => "linked_ports",
            Self::RoutedDriverBridges => "routed_driver_bridges",
            Self::Peers4 => "peers4",
            Self::Peers6 => "peers6",
            Self::LanPorts => "lan_ports",
            Self::LanRouters4 => "lan_routers4",
            Self::StormLimits => "storm_limits",
        }
    }

    /// Whether its elements are ranges: their keys are the first and the last key of the range, one after the
    /// other.
    pub const fn has_ranges(self) -> bool {
        matches!(self, Self::Peers4 | Self::Peers6)
    }

    /// Whether it holds what concerns IPv4 (true) or IPv6 (false) alone; none if both.
    pub const fn of_ipv4(self) -> Option<bool> {
        match self {
            Self::Links4
            | Self::Published4
            | Self::Published4ByAddress
            | Self::EnginePublished4
            | Self::EnginePublished4ByAddress
            | Self::Hairpin4
            | Self::AssignedIps4
            | Self::PortIps4
            | Self::Peers4
            | Self::LanRouters4
            | Self::DirectPorts4
            | Self::Snat4 => Some(true),
            Self::Links6
            | Self::Published6
            | Self::Published6ByAddress
            | Self::EnginePublished6
            | Self::EnginePublished6ByAddress
            | Self::Hairpin6
            | Self::AssignedIps6
            | Self::PortIps6
            | Self::Peers6
            | Self::DirectPorts6
            | Self::Snat6 => Some(false),
            _ => None,
        }
    }

    /// The family of the table that it is in.
    pub const fn family(self) -> Family {
        match self {
            Self::AssignedMacs
            | Self::PortMacs
            | Self::AssignedIps4
            | Self::PortIps4
            | Self::AssignedIps6
            | Self::PortIps6 => Family::Bridge,
            Self::IccOffPorts | Self::StrictGuardPorts | Self::LinkedPorts => Family::Bridge,
            Self::LanPorts | Self::LanRouters4 | Self::StormLimits => Family::Bridge,
            _ => Family::Inet,
        }
    }
}

/// Where an element is: its set and its key, each part of the key padded to the four bytes of a
/// register, as nf_tables lays out concatenations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElementKey {
    /// The set.
    pub set: SetName,
    /// The raw key.
    pub bytes: Vec<u8>,
}

fn interface(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(INTERFACE_NAME_LENGTH, 0);
    bytes
}

fn address(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

impl ElementKey {
    fn new(set: SetName, parts: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self { set, bytes: parts.into_iter().flat_map(padded).collect() }
    }

    /// A key of one part is not padded: its set is no concatenation.
    fn plain(set: SetName, bytes: Vec<u8>) -> Self {
        Self { set, bytes }
    }

    /// In [`SetName::Bridges`].
    pub fn bridge(name: &str) -> Self {
        Self::plain(SetName::Bridges, interface(name))
    }

    /// In [`SetName::SameNetwork`].
    pub fn same_network(bridge: &str) -> Self {
        Self::new(SetName::SameNetwork, [interface(bridge), interface(bridge)])
    }

    /// In [`SetName::IccOff`].
    pub fn icc_off(bridge: &str) -> Self {
        Self::new(SetName::IccOff, [interface(bridge), interface(bridge)])
    }

    /// In [`SetName::Links4`] or [`SetName::Links6`]; none when the addresses are of two families.
    pub fn link(from: IpAddr, to: IpAddr, protocol: Protocol, port: u16) -> Option<Self> {
        let set = if from.is_ipv4() { SetName::Links4 } else { SetName::Links6 };
        let parts = [address(from), address(to), vec![protocol.number()], port.to_be_bytes().to_vec()];
        (from.is_ipv4() == to.is_ipv4()).then(|| Self::new(set, parts))
    }

    /// In [`SetName::IccOffPorts`].
    pub fn icc_off_port(port: &str) -> Self {
        Self::plain(SetName::IccOffPorts, interface(port))
    }

    /// In [`SetName::StrictGuardPorts`].
    pub fn strict_guard_port(port: &str) -> Self {
        Self::plain(SetName::StrictGuardPorts, interface(port))
    }

    /// In [`SetName::LinkedPorts`].
    pub fn linked_ports(from: &str, to: &str, protocol: Protocol, port: u16) -> Self {
        let parts = [interface(from), interface(to), vec![protocol.number()], port.to_be_bytes().to_vec()];
        Self::new(SetName::LinkedPorts, parts)
    }

    /// In [`SetName::InternalBridges`].
    pub fn internal_bridge(bridge: &str) -> Self {
        Self::plain(SetName::InternalBridges, interface(bridge))
    }

    /// In [`SetName::OpenBridges`].
    pub fn open_bridge(bridge: &str) -> Self {
        Self::plain(SetName::OpenBridges, interface(bridge))
    }

    /// In [`SetName::LenientBridges`].
    pub fn lenient_bridge(bridge: &str) -> Self {
        Self::plain(SetName::LenientBridges, interface(bridge))
    }

    fn of_family(set: SetName, bridge: &str, ipv4: bool) -> Self {
        let family = if ipv4 { Family::Ip } else { Family::Ip6 };
        Self::new(set, [interface(bridge), vec![family.number()]])
    }

    /// In [`SetName::MasqueradeBridges`].
    pub fn masquerade_bridge(bridge: &str, ipv4: bool) -> Self {
        Self::of_family(SetName::MasqueradeBridges, bridge, ipv4)
    }

    /// In [`SetName::Snat4`] or [`SetName::Snat6`].
    pub fn snat(bridge: &str, ipv4: bool) -> Self {
        Self::plain(if ipv4 { SetName::Snat4 } else { SetName::Snat6 }, interface(bridge))
    }

    /// In [`SetName::UnprotectedBridges`].
    pub fn unprotected_bridge(bridge: &str, ipv4: bool) -> Self {
        Self::of_family(SetName::UnprotectedBridges, bridge, ipv4)
    }

    /// In [`SetName::RoutedModeBridges`].
    pub fn routed_mode_bridge(bridge: &str, ipv4: bool) -> Self {
        Self::of_family(SetName::RoutedModeBridges, bridge, ipv4)
    }

    /// In [`SetName::TrustedInterfaces`].
    pub fn trusted_interface(from: &str, bridge: &str) -> Self {
        Self::new(SetName::TrustedInterfaces, [interface(from), interface(bridge)])
    }

    /// In [`SetName::DirectPorts4`] or [`SetName::DirectPorts6`].
    pub fn direct_port(to: IpAddr, protocol: Protocol, port: u16) -> Self {
        let set = if to.is_ipv4() { SetName::DirectPorts4 } else { SetName::DirectPorts6 };
        Self::new(set, [address(to), vec![protocol.number()], port.to_be_bytes().to_vec()])
    }

    /// In the map that publishes a port of `at`.
    pub fn published(protocol: Protocol, at: SocketAddr) -> Self {
        let (protocol, port) = (vec![protocol.number()], at.port().to_be_bytes().to_vec());
        let (everywhere, there) = match at {
            SocketAddr::V4(_) => (SetName::Published4, SetName::Published4ByAddress),
            SocketAddr::V6(_) => (SetName::Published6, SetName::Published6ByAddress),
        };
        if at.ip().is_unspecified() {
            Self::new(everywhere, [protocol, port])
        } else {
            Self::new(there, [protocol, address(at.ip()), port])
        }
    }

    /// In the map that publishes a port of `at` which another engine holds.
    pub fn engine_published(protocol: Protocol, at: SocketAddr) -> Self {
        let Self { set, bytes } = Self::published(protocol, at);
        let set = match set {
            SetName::Published4 => SetName::EnginePublished4,
            SetName::Published4ByAddress => SetName::EnginePublished4ByAddress,
            SetName::Published6 => SetName::EnginePublished6,
            _ => SetName::EnginePublished6ByAddress,
        };
        Self { set, bytes }
    }

    /// In [`SetName::Hairpin4`] or [`SetName::Hairpin6`].
    pub fn hairpin(of: IpAddr) -> Self {
        let set = if of.is_ipv4() { SetName::Hairpin4 } else { SetName::Hairpin6 };
        Self::new(set, [address(of), address(of)])
    }

    /// In [`SetName::RoutedDriverBridges`].
    pub fn routed_driver_bridge(bridge: &str) -> Self {
        Self::plain(SetName::RoutedDriverBridges, interface(bridge))
    }

    /// In [`SetName::Peers4`] or [`SetName::Peers6`].
    pub fn peer(bridge: &str, subnet: IpNet) -> Self {
        let set = if subnet.addr().is_ipv4() { SetName::Peers4 } else { SetName::Peers6 };
        let [first, last] = [subnet.network(), subnet.broadcast()].map(address);
        Self::new(set, [interface(bridge), first, interface(bridge), last])
    }

    /// In [`SetName::LanPorts`].
    pub fn lan_port(port: &str) -> Self {
        Self::plain(SetName::LanPorts, interface(port))
    }

    /// In [`SetName::LanRouters4`].
    pub fn lan_router(of: Ipv4Addr) -> Self {
        Self::plain(SetName::LanRouters4, of.octets().to_vec())
    }

    /// In [`SetName::StormLimits`].
    pub fn storm_limit(port: &str) -> Self {
        Self::plain(SetName::StormLimits, interface(port))
    }

    /// In [`SetName::AssignedMacs`].
    pub fn assigned_mac(mac: MacAddress) -> Self {
        Self::plain(SetName::AssignedMacs, mac.0.to_vec())
    }

    /// In [`SetName::PortMacs`].
    pub fn port_mac(port: &str, mac: MacAddress) -> Self {
        Self::new(SetName::PortMacs, [interface(port), mac.0.to_vec()])
    }

    /// In [`SetName::AssignedIps4`] or [`SetName::AssignedIps6`].
    pub fn assigned_ip(of: IpAddr) -> Self {
        let set = if of.is_ipv4() { SetName::AssignedIps4 } else { SetName::AssignedIps6 };
        Self::plain(set, address(of))
    }

    /// In [`SetName::PortIps4`] or [`SetName::PortIps6`].
    pub fn port_ip(port: &str, of: IpAddr) -> Self {
        let set = if of.is_ipv4() { SetName::PortIps4 } else { SetName::PortIps6 };
        Self::new(set, [interface(port), address(of)])
    }
}
