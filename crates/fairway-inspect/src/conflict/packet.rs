//! Sample packets of a network.

use std::fmt;
use std::net::IpAddr;

use fairway_core::world::World;
use fairway_model::{Driver, Network, Protocol};
use fairway_ruleset::{Family, Hook};
use fairway_walk::Sample;

/// The kind of a network's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// From a sandbox to somewhere else.
    Outward,
    /// From somewhere else to a published port.
    Published,
    /// From somewhere else to a published UDP port, where TCP passes.
    PublishedUdp,
    /// From one sandbox of a network to another, where bridged packets meet the IP hooks.
    Within,
    /// From a sandbox to the host: its own ports, and those that the proxy answers at.
    ToHost,
    /// From the host to a sandbox, including the proxy's connections.
    FromHost,
    /// From the resolver to a name server on the host's loopback.
    Questions,
}

impl Path {
    /// Whether the host forwards such packets.
    pub fn is_forwarded(self) -> bool {
        matches!(self, Self::Outward | Self::Within) || self.is_published()
    }

    /// Whether such packets are for published ports.
    pub fn is_published(self) -> bool {
        matches!(self, Self::Published | Self::PublishedUdp)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outward => "what sandboxes send elsewhere",
            Self::Published => "what comes to published ports from elsewhere",
            Self::PublishedUdp => "what comes to published UDP ports from elsewhere",
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
    /// Whether UDP ports of its sandboxes are published.
    pub publishes_udp: bool,
    /// Whether its resolver queries name servers on the host's loopback.
    pub resolver: bool,
    /// Whether bridged IPv4 packets pass the IP hooks.
    pub bridge_netfilter_ipv4: bool,
    /// Whether bridged IPv6 packets pass the IP hooks.
    pub bridge_netfilter_ipv6: bool,
}

impl Samples {
    /// The facts of a network; none if it has no bridge.
    pub fn of(
        world: &World,
        network: &Network,
        host: &fairway_model::HostFacts,
        outside: Option<String>,
    ) -> Option<Self> {
        let sandboxes = world.endpoints_of_network(network.id);
        let mut publications =
            sandboxes.filter_map(|it| world.sandbox(it.sandbox)).flat_map(|it| &it.publications);
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
            publishes_udp: publications.any(|it| it.protocol == Protocol::Udp),
            resolver: network.resolves_names() && !network.internal && asks_loopback,
            bridge_netfilter_ipv4: host.bridge_netfilter_ipv4,
            bridge_netfilter_ipv6: host.bridge_netfilter_ipv6,
        })
    }

    /// The sample packets, one for each path and family: of TCP, if the path is not one of UDP.
    pub(super) fn packets(&self) -> Vec<(Path, Sample)> {
        let mut packets = Vec::new();
        for (gateway, member) in self.addresses.iter().copied() {
            let (bridge, outside) = (Some(self.bridge.clone()), self.outside.clone());
            let nothing = || Some(String::new());
            let is_ipv4 = gateway.is_ipv4();
            let seen = if is_ipv4 { self.bridge_netfilter_ipv4 } else { self.bridge_netfilter_ipv6 };
            let forward = || Sample {
                hook: Hook::Forward,
                family: if is_ipv4 { Family::Ip } else { Family::Ip6 },
                protocol: TCP,
                input: bridge.clone(),
                output: bridge.clone(),
                source: Some(member),
                destination: Some(member),
                destination_port: None,
                translated: false,
                local: vec![gateway],
            };
            if !self.internal {
                let output = outside.clone();
                packets.push((Path::Outward, Sample { output, destination: None, ..forward() }));
                let published = Sample { input: outside, source: None, translated: true, ..forward() };
                let over_udp = Sample { protocol: UDP, ..published.clone() };
                packets.push((Path::Published, published));
                if self.publishes_udp {
                    packets.push((Path::PublishedUdp, over_udp));
                }
            }
            if seen {
                packets.push((Path::Within, forward()));
            }
            let (output, destination) = (nothing(), Some(gateway));
            packets.push((Path::ToHost, Sample { hook: Hook::Input, output, destination, ..forward() }));
            let from_host = || Sample { hook: Hook::Output, input: nothing(), ..forward() };
            packets.push((Path::FromHost, Sample { source: Some(gateway), ..from_host() }));
            if self.resolver && is_ipv4 {
                let query = Sample {
                    output: Some("lo".to_owned()),
                    source: None,
                    destination: None,
                    protocol: UDP,
                    destination_port: Some(DNS),
                    ..from_host()
                };
                packets.push((Path::Questions, query));
            }
        }
        packets
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const DNS: u16 = 53;
