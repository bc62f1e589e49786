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
    Same,
    /// Those of them whose sandboxes may not, but for links: each bridge with itself.
    Isolated,
    /// Links between sandboxes that may not talk otherwise: who opens, to whom, protocol, port.
    Links4,
    /// As `Links4`, for IPv6.
    Links6,
    /// Bridges of internal networks.
    Internal,
    /// Bridges whose sandboxes' packets leave with an address of the host, by family.
    Masquerade,
    /// The IPv4 address that packets from a bridge leave with, where it is a certain one.
    Sources4,
    /// As `Sources4`, for IPv6.
    Sources6,
    /// Bridges that every packet may enter, by family.
    Unprotected,
    /// Bridges that packets to published ports may enter untranslated, by family.
    RoutedMode,
    /// Interfaces from which packets to published ports may enter a bridge untranslated.
    Trusted,
    /// Published IPv4 ports by the sandbox's own address: address, protocol, port.
    Direct4,
    /// As `Direct4`, for IPv6.
    Direct6,
    /// Published on each IPv4 address: (protocol, port) to address and port.
    Ports4,
    /// Published on one IPv4 address: (protocol, address, port) to address and port.
    Ports4At,
    /// As `Ports4`, for IPv6.
    Ports6,
    /// As `Ports4At`, for IPv6.
    Ports6At,
    /// Sandboxes that may reach their own published ports: their IPv4 address twice.
    Hairpin4,
    /// As `Hairpin4`, for IPv6.
    Hairpin6,
    /// Hardware addresses that belong to an endpoint or a bridge.
    OwnedMacs,
    /// Which port of a bridge has which hardware address.
    OwnMacs,
    /// IPv4 addresses that belong to an endpoint or a bridge.
    Owned4,
    /// Which port of a bridge has which IPv4 address.
    Own4,
    /// As `Owned4`, for IPv6.
    Owned6,
    /// As `Own4`, for IPv6.
    Own6,
    /// Ports of bridges whose sandboxes may not talk to one another.
    IsolatedPorts,
    /// Ports of bridges whose sandboxes may send from nothing but their own addresses.
    StrictPorts,
    /// Links between them: the port of who opens, the port to whom, protocol, port.
    LinkedPorts,
    /// Bridges whose subnets other hosts reach by routes.
    Routed,
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
pub const SETS: [SetName; 35] = [
    SetName::Bridges,
    SetName::Same,
    SetName::Isolated,
    SetName::Links4,
    SetName::Links6,
    SetName::Internal,
    SetName::Masquerade,
    SetName::Sources4,
    SetName::Sources6,
    SetName::Unprotected,
    SetName::RoutedMode,
    SetName::Trusted,
    SetName::Direct4,
    SetName::Direct6,
    SetName::Ports4,
    SetName::Ports4At,
    SetName::Ports6,
    SetName::Ports6At,
    SetName::Hairpin4,
    SetName::Hairpin6,
    SetName::OwnedMacs,
    SetName::OwnMacs,
    SetName::Owned4,
    SetName::Own4,
    SetName::Owned6,
    SetName::Own6,
    SetName::IsolatedPorts,
    SetName::StrictPorts,
    SetName::LinkedPorts,
    SetName::Routed,
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
            Self::Same => "same_network",
            Self::Isolated => "isolated",
            Self::Links4 => "links4",
            Self::Links6 => "links6",
            Self::Internal => "internal",
            Self::Masquerade => "masqueraded",
            Self::Sources4 => "sources4",
            Self::Sources6 => "sources6",
            Self::Unprotected => "unprotected",
            Self::RoutedMode => "routed_mode",
            Self::Trusted => "trusted",
            Self::Direct4 => "direct4",
            Self::Direct6 => "direct6",
            Self::Ports4 => "ports4",
            Self::Ports4At => "ports4_at",
            Self::Ports6 => "ports6",
            Self::Ports6At => "ports6_at",
            Self::Hairpin4 => "hairpin4",
            Self::Hairpin6 => "hairpin6",
            Self::OwnedMacs => "owned_macs",
            Self::OwnMacs => "own_macs",
            Self::Owned4 => "owned4",
            Self::Own4 => "own4",
            Self::Owned6 => "owned6",
            Self::Own6 => "own6",
            Self::IsolatedPorts => "isolated_ports",
            Self::StrictPorts => "strict_ports",
            Self::LinkedPorts => "linked_ports",
            Self::Routed => "routed",
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
            | Self::Ports4
            | Self::Ports4At
            | Self::Hairpin4
            | Self::Owned4
            | Self::Own4
            | Self::Peers4
            | Self::LanRouters4
            | Self::Direct4
            | Self::Sources4 => Some(true),
            Self::Links6
            | Self::Ports6
            | Self::Ports6At
            | Self::Hairpin6
            | Self::Owned6
            | Self::Own6
            | Self::Peers6
            | Self::Direct6
            | Self::Sources6 => Some(false),
            _ => None,
        }
    }

    /// The family of the table that it is in.
    pub const fn family(self) -> Family {
        match self {
            Self::OwnedMacs | Self::OwnMacs | Self::Owned4 | Self::Own4 | Self::Owned6 | Self::Own6 => {
                Family::Bridge
            }
            Self::IsolatedPorts | Self::StrictPorts | Self::LinkedPorts => Family::Bridge,
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

    /// In [`SetName::Same`].
    pub fn same(bridge: &str) -> Self {
        Self::new(SetName::Same, [interface(bridge), interface(bridge)])
    }

    /// In [`SetName::Isolated`].
    pub fn isolated(bridge: &str) -> Self {
        Self::new(SetName::Isolated, [interface(bridge), interface(bridge)])
    }

    /// In [`SetName::Links4`] or [`SetName::Links6`]; none when the addresses are of two families.
    pub fn link(from: IpAddr, to: IpAddr, protocol: Protocol, port: u16) -> Option<Self> {
        let set = if from.is_ipv4() { SetName::Links4 } else { SetName::Links6 };
        let parts = [address(from), address(to), vec![protocol.number()], port.to_be_bytes().to_vec()];
        (from.is_ipv4() == to.is_ipv4()).then(|| Self::new(set, parts))
    }

    /// In [`SetName::IsolatedPorts`].
    pub fn isolated_port(port: &str) -> Self {
        Self::plain(SetName::IsolatedPorts, interface(port))
    }

    /// In [`SetName::StrictPorts`].
    pub fn strict_port(port: &str) -> Self {
        Self::plain(SetName::StrictPorts, interface(port))
    }

    /// In [`SetName::LinkedPorts`].
    pub fn linked_ports(from: &str, to: &str, protocol: Protocol, port: u16) -> Self {
        let parts = [interface(from), interface(to), vec![protocol.number()], port.to_be_bytes().to_vec()];
        Self::new(SetName::LinkedPorts, parts)
    }

    /// In [`SetName::Internal`].
    pub fn internal(bridge: &str) -> Self {
        Self::plain(SetName::Internal, interface(bridge))
    }

    fn of_family(set: SetName, bridge: &str, ipv4: bool) -> Self {
        let family = if ipv4 { Family::Ip } else { Family::Ip6 };
        Self::new(set, [interface(bridge), vec![family.number()]])
    }

    /// In [`SetName::Masquerade`].
    pub fn masquerade(bridge: &str, ipv4: bool) -> Self {
        Self::of_family(SetName::Masquerade, bridge, ipv4)
    }

    /// In [`SetName::Sources4`] or [`SetName::Sources6`].
    pub fn outbound_source(bridge: &str, ipv4: bool) -> Self {
        Self::plain(if ipv4 { SetName::Sources4 } else { SetName::Sources6 }, interface(bridge))
    }

    /// In [`SetName::Unprotected`].
    pub fn unprotected(bridge: &str, ipv4: bool) -> Self {
        Self::of_family(SetName::Unprotected, bridge, ipv4)
    }

    /// In [`SetName::RoutedMode`].
    pub fn routed_mode(bridge: &str, ipv4: bool) -> Self {
        Self::of_family(SetName::RoutedMode, bridge, ipv4)
    }

    /// In [`SetName::Trusted`].
    pub fn trusted(from: &str, bridge: &str) -> Self {
        Self::new(SetName::Trusted, [interface(from), interface(bridge)])
    }

    /// In [`SetName::Direct4`] or [`SetName::Direct6`].
    pub fn direct(to: IpAddr, protocol: Protocol, port: u16) -> Self {
        let set = if to.is_ipv4() { SetName::Direct4 } else { SetName::Direct6 };
        Self::new(set, [address(to), vec![protocol.number()], port.to_be_bytes().to_vec()])
    }

    /// What an element of [`SetName::Direct4`] or [`SetName::Direct6`] is about; none of other sets.
    pub fn direct_target(set: SetName, bytes: &[u8]) -> Option<(IpAddr, Protocol, u16)> {
        let (address, rest) = match set {
            SetName::Direct4 => {
                let (address, rest) = bytes.split_first_chunk::<4>()?;
                (IpAddr::from(*address), rest)
            }
            SetName::Direct6 => {
                let (address, rest) = bytes.split_first_chunk::<16>()?;
                (IpAddr::from(*address), rest)
            }
            _ => return None,
        };
        let [protocol, _, _, _, high, low, ..] = *rest else { return None };
        let protocol = Protocol::ALL.into_iter().find(|it| it.number() == protocol)?;
        Some((address, protocol, u16::from_be_bytes([high, low])))
    }

    /// In the map that publishes a port of `at`.
    pub fn published(protocol: Protocol, at: SocketAddr) -> Self {
        let (protocol, port) = (vec![protocol.number()], at.port().to_be_bytes().to_vec());
        let (everywhere, there) = match at {
            SocketAddr::V4(_) => (SetName::Ports4, SetName::Ports4At),
            SocketAddr::V6(_) => (SetName::Ports6, SetName::Ports6At),
        };
        if at.ip().is_unspecified() {
            Self::new(everywhere, [protocol, port])
        } else {
            Self::new(there, [protocol, address(at.ip()), port])
        }
    }

    /// In [`SetName::Hairpin4`] or [`SetName::Hairpin6`].
    pub fn hairpin(of: IpAddr) -> Self {
        let set = if of.is_ipv4() { SetName::Hairpin4 } else { SetName::Hairpin6 };
        Self::new(set, [address(of), address(of)])
    }

    /// In [`SetName::Routed`].
    pub fn routed(bridge: &str) -> Self {
        Self::plain(SetName::Routed, interface(bridge))
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

    /// In [`SetName::OwnedMacs`].
    pub fn owned_mac(mac: MacAddress) -> Self {
        Self::plain(SetName::OwnedMacs, mac.0.to_vec())
    }

    /// In [`SetName::OwnMacs`].
    pub fn own_mac(port: &str, mac: MacAddress) -> Self {
        Self::new(SetName::OwnMacs, [interface(port), mac.0.to_vec()])
    }

    /// In [`SetName::Owned4`] or [`SetName::Owned6`].
    pub fn owned(of: IpAddr) -> Self {
        let set = if of.is_ipv4() { SetName::Owned4 } else { SetName::Owned6 };
        Self::plain(set, address(of))
    }

    /// In [`SetName::Own4`] or [`SetName::Own6`].
    pub fn own(port: &str, of: IpAddr) -> Self {
        let set = if of.is_ipv4() { SetName::Own4 } else { SetName::Own6 };
        Self::new(set, [interface(port), address(of)])
    }
}
