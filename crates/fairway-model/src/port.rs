//! Ports, protocols and publications.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// A transport protocol whose ports can be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 9260.
    Sctp,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The protocol with this number in the IP header.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.number() == number)
    }

    /// The protocol with this name in lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.to_string() == name)
    }

    /// Whether the userland proxy supports the protocol.
    pub const fn supports_proxy(self) -> bool {
        !matches!(self, Self::Sctp)
    }

    /// The protocol number in the IP header (IANA).
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// A range of ports, both ends inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// The first port, not 0.
    pub first: u16,
    /// The last port, not below `first`.
    pub last: u16,
}

impl PortRange {
    /// A range of one port.
    pub const fn single(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// The number of ports.
    pub const fn len(self) -> usize {
        (self.last - self.first) as usize + 1
    }

    /// False: a range has at least one port.
    pub const fn is_empty(self) -> bool {
        false
    }

    /// Whether the range contains `port`.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// The ports, in order.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// A request of `--publish`: `[address:][host ports:]container ports[/protocol]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublishRequest {
    /// The host address; none means the network's or the daemon's default.
    pub host_address: Option<IpAddr>,
    /// The host ports; none means free ephemeral ports. Of a range for one container port, the first free port is
    /// used.
    pub host_ports: Option<PortRange>,
    /// The ports in the sandbox.
    pub container_ports: PortRange,
    /// The protocol.
    pub protocol: Protocol,
}

/// A request of `unpublish`: selects the published ports that match all given parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnpublishRequest {
    /// The host address; none means any.
    pub host_address: Option<IpAddr>,
    /// The host ports; none means any.
    pub host_ports: Option<PortRange>,
    /// The ports in the sandbox; none means any. Host and container ranges of equal length are paired port by port.
    pub container_ports: Option<PortRange>,
    /// The protocol.
    pub protocol: Protocol,
}

impl UnpublishRequest {
    /// Whether the request selects a published port. A port whose host port is chosen at the next start has no host
    /// port, and no request with host ports selects it.
    pub fn matches(
        &self,
        protocol: Protocol,
        address: IpAddr,
        host_port: Option<u16>,
        container_port: u16,
    ) -> bool {
        let host = self.host_ports.is_none_or(|range| host_port.is_some_and(|port| range.contains(port)));
        let container = self.container_ports.is_none_or(|range| range.contains(container_port));
        let paired = match (self.host_ports, self.container_ports, host_port) {
            (Some(hosts), Some(ports), Some(host_port))
                if host && container && hosts.len() == ports.len() =>
            {
                host_port - hosts.first == container_port - ports.first
            }
            _ => true,
        };
        self.protocol == protocol
            && self.host_address.is_none_or(|other| other == address)
            && host
            && container
            && paired
    }
}

impl fmt::Display for UnpublishRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(address) => write!(f, "{address}:")?,
            None => {}
        }
        match (self.host_ports, self.container_ports) {
            (Some(host), None) => write!(f, "{host}")?,
            (Some(host), Some(container)) => write!(f, "{host}:{container}")?,
            (None, Some(container)) => write!(f, "0:{container}")?,
            (None, None) => write!(f, "0")?,
        }
        write!(f, "/{}", self.protocol)
    }
}

/// A range of published ports: host port `host_ports.first + n` leads to port `container_port + n` of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Publication {
    /// The host address; unspecified (0.0.0.0 or ::) means all addresses of the family.
    pub host_address: IpAddr,
    /// The host ports.
    pub host_ports: PortRange,
    /// The port in the sandbox that the first host port leads to.
    pub container_port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// Whether the ports are published without NAT (gateway mode `routed`): hosts with a route reach them at the
    /// sandbox's address. The host ports are kept for a change of the gateway, and are not bound.
    #[serde(default)]
    pub routed: bool,
}

impl Publication {
    /// The ports in the sandbox.
    pub fn container_ports(&self) -> PortRange {
        let first = self.container_port;
        PortRange { first, last: first.saturating_add(self.host_ports.last - self.host_ports.first) }
    }

    /// The host ports that the publication occupies.
    pub fn claimed_ports(&self) -> impl Iterator<Item = u16> {
        self.host_ports.iter().filter(|_| !self.routed)
    }

    /// The port pairs, without the host port where it is unused.
    pub fn bindings(&self) -> impl Iterator<Item = (Option<u16>, u16)> {
        self.pairs().map(|(host, container)| ((!self.routed).then_some(host), container))
    }

    /// The pairs of host port and container port.
    pub fn pairs(&self) -> impl Iterator<Item = (u16, u16)> {
        self.host_ports.iter().zip(self.container_port..=u16::MAX)
    }
}
