//! Sample packets of a network, with the values that are known of them.

use std::fmt;
use std::net::IpAddr;

use fairway_model::{Driver, Network};
use fairway_ruleset::{CtKey, CtState, Family, FibFlags, FibResult, Hook, MetaKey, PayloadBase};

/// The kind of a network's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// From a sandbox to somewhere else.
    Outward,
    /// From somewhere else to a published port.
    Published,
    /// From one sandbox of a network to another, where bridged packets meet the IP hooks.
    Within,
    /// From a sandbox to the host: its own ports, and those that the proxy answers at.
    ToHost,
    /// From the host to a sandbox, including the proxy's connections.
    FromHost,
    /// From the resolver to a name server on the host's loopback.
    Questions,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outward => "what sandboxes send elsewhere",
            Self::Published => "what comes to published ports from elsewhere",
            Self::Within => "what sandboxes of the network send one another",
            Self::ToHost => "what sandboxes send to the host, also to ports that are published there",
            Self::FromHost => "what the host and the proxy send to sandboxes",
            Self::Questions => "what the resolver asks name servers on the host's loopback",
        })
    }
}

/// The facts of a network and of the host that sample packets are built from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Samples {
    /// The bridge's name.
    pub bridge: String,
    /// The gateway of each subnet, with an address of a sandbox.
    pub addresses: Vec<(IpAddr, IpAddr)>,
    /// The interface of the host's default route, if it has one.
    pub outside: Option<String>,
    /// Whether the network is internal: no outgoing packets, and no published ports.
    pub internal: bool,
    /// Whether its resolver queries name servers on the host's loopback.
    pub resolver: bool,
    /// Whether bridged IPv4 packets pass the IP hooks.
    pub bridge_netfilter_ipv4: bool,
    /// Whether bridged IPv6 packets pass the IP hooks.
    pub bridge_netfilter_ipv6: bool,
}

impl Samples {
    /// The facts of a network; none if it has no bridge.
    pub fn of(network: &Network, host: &fairway_model::HostFacts, outside: Option<String>) -> Option<Self> {
        let member = |subnet: &fairway_model::Subnet| {
            let mut hosts = subnet.subnet.hosts().filter(|address| *address != subnet.gateway);
            (subnet.gateway, hosts.next().unwrap_or(subnet.gateway))
        };
        let asks_loopback = host.nameservers.iter().any(|server| server.address.is_loopback());
        (network.driver == Driver::Bridge).then(|| Self {
            bridge: network.bridge.clone(),
            addresses: network.subnets.iter().map(member).collect(),
            outside,
            internal: network.internal,
            resolver: network.user_defined() && !network.internal && asks_loopback,
            bridge_netfilter_ipv4: host.bridge_netfilter_ipv4,
            bridge_netfilter_ipv6: host.bridge_netfilter_ipv6,
        })
    }

    /// The sample packets, one for each path and family.
    pub(super) fn packets(&self) -> Vec<Packet> {
        let mut packets = Vec::new();
        for (gateway, member) in self.addresses.iter().copied() {
            let (bridge, outside) = (Some(self.bridge.clone()), self.outside.clone());
            let nothing = || Some(String::new());
            let family = if gateway.is_ipv4() { Family::Ip } else { Family::Ip6 };
            let seen =
                if gateway.is_ipv4() { self.bridge_netfilter_ipv4 } else { self.bridge_netfilter_ipv6 };
            let new = |path, hook| Packet {
                path,
                family,
                hook,
                input: bridge.clone(),
                output: bridge.clone(),
                source: Some(member),
                destination: Some(member),
                translated: false,
                protocol: TCP,
            };
            let forward = |path| new(path, Hook::Forward);
            if !self.internal {
                let output = outside.clone();
                packets.push(Packet { output, destination: None, ..forward(Path::Outward) });
                let input = outside.clone();
                packets.push(Packet { input, source: None, translated: true, ..forward(Path::Published) });
            }
            if seen {
                packets.push(forward(Path::Within));
            }
            let output = nothing();
            packets.push(Packet { output, destination: Some(gateway), ..new(Path::ToHost, Hook::Input) });
            let input = nothing();
            packets.push(Packet {
                input: input.clone(),
                source: Some(gateway),
                ..new(Path::FromHost, Hook::Output)
            });
            if self.resolver && gateway.is_ipv4() {
                packets.push(Packet {
                    input,
                    output: Some("lo".to_owned()),
                    source: None,
                    destination: None,
                    protocol: UDP,
                    ..new(Path::Questions, Hook::Output)
                });
            }
        }
        packets
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const DNS: u16 = 53;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// `IPS_DST_NAT | IPS_DST_NAT_DONE | IPS_SRC_NAT_DONE`, and the same without the first.
const TRANSLATED: u32 = 0x1a0;
const UNTRANSLATED: u32 = 0x180;
/// `RTN_UNICAST` and `RTN_LOCAL`.
const TYPE_UNICAST: u32 = 1;
const TYPE_LOCAL: u32 = 2;
/// An interface index that no rule names: samples know interfaces by name.
const NO_INDEX: u32 = u32::MAX;

/// The first packet of a flow, with the values that are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    pub path: Path,
    pub family: Family,
    pub hook: Hook,
    /// The input interface; empty for packets of the host.
    pub input: Option<String>,
    pub output: Option<String>,
    pub source: Option<IpAddr>,
    pub destination: Option<IpAddr>,
    /// Whether DNAT changed its destination.
    pub translated: bool,
    pub protocol: u8,
}

fn octets(address: Option<IpAddr>, length: usize) -> Vec<Option<u8>> {
    match address {
        Some(IpAddr::V4(address)) => address.octets().map(Some).to_vec(),
        Some(IpAddr::V6(address)) => address.octets().map(Some).to_vec(),
        None => vec![None; length],
    }
}

fn known(bytes: impl AsRef<[u8]>) -> Vec<Option<u8>> {
    bytes.as_ref().iter().copied().map(Some).collect()
}

/// An interface name, padded to IFNAMSIZ.
fn name(interface: Option<&str>) -> Vec<Option<u8>> {
    let Some(interface) = interface else { return vec![None; 16] };
    let mut bytes = interface.as_bytes().to_vec();
    bytes.resize(16, 0);
    known(bytes)
}

impl Packet {
    /// The value of a `meta` expression; bytes that are not known are none.
    pub fn meta(&self, key: MetaKey) -> Vec<Option<u8>> {
        let index = |interface: &Option<String>| match interface {
            Some(_) => known(NO_INDEX.to_ne_bytes()),
            None => vec![None; 4],
        };
        match key {
            MetaKey::InputName => name(self.input.as_deref()),
            MetaKey::OutputName => name(self.output.as_deref()),
            MetaKey::InputInterface => index(&self.input),
            MetaKey::OutputInterface => index(&self.output),
            MetaKey::NetworkFamily => known([self.family.number()]),
            MetaKey::TransportProtocol => known([self.protocol]),
            MetaKey::Protocol if self.family == Family::Ip => known(ETHERTYPE_IPV4.to_be_bytes()),
            MetaKey::Protocol => known(ETHERTYPE_IPV6.to_be_bytes()),
            other => vec![None; other.datatype().length()],
        }
    }

    /// The value of a `ct` expression.
    pub fn conntrack(&self, key: CtKey) -> Vec<Option<u8>> {
        match key {
            CtKey::State => known(CtState::New.number().to_ne_bytes()),
            CtKey::Status if self.translated => known(TRANSLATED.to_ne_bytes()),
            CtKey::Status => known(UNTRANSLATED.to_ne_bytes()),
            CtKey::Direction => known([0]),
            other => vec![None; other.datatype().length().max(16)],
        }
    }

    /// The value of a `fib` expression.
    pub fn route(&self, result: FibResult, flags: FibFlags) -> Vec<Option<u8>> {
        let to_host = self.hook == Hook::Input;
        let from_host = self.hook == Hook::Output;
        match (result, flags.contains(FibFlags::DESTINATION)) {
            (FibResult::AddressType, _) if flags.contains(FibFlags::PRESENT) => vec![None; 1],
            (FibResult::AddressType, true) if to_host => known(TYPE_LOCAL.to_ne_bytes()),
            (FibResult::AddressType, false) if from_host => known(TYPE_LOCAL.to_ne_bytes()),
            (FibResult::AddressType, _) => known(TYPE_UNICAST.to_ne_bytes()),
            (FibResult::InterfaceName, _) => vec![None; 16],
            (FibResult::Interface, _) => vec![None; 4],
        }
    }

    /// Bytes of its headers.
    pub fn payload(&self, base: PayloadBase, offset: u32, length: u32) -> Vec<Option<u8>> {
        let mut header: Vec<Option<u8>> = match base {
            PayloadBase::Network if self.family == Family::Ip => {
                let mut header = vec![None; 12];
                (header[0], header[9]) = (Some(0x45), Some(self.protocol));
                header.extend(octets(self.source, 4));
                header.extend(octets(self.destination, 4));
                header
            }
            PayloadBase::Network => {
                let mut header = vec![None; 8];
                header[6] = Some(self.protocol);
                header.extend(octets(self.source, 16));
                header.extend(octets(self.destination, 16));
                header
            }
            PayloadBase::Transport if self.path == Path::Questions => {
                [vec![None; 2], known(DNS.to_be_bytes())].concat()
            }
            _ => Vec::new(),
        };
        let (offset, length) = (offset as usize, length as usize);
        header.resize(header.len().max(offset.saturating_add(length).min(256)), None);
        header.get(offset..offset.saturating_add(length)).map_or(vec![None; length.min(64)], <[_]>::to_vec)
    }
}
