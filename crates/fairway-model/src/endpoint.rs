//! Endpoints: a sandbox's places on networks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::{EndpointId, EndpointOptions, Lease, MacAddress, NetworkId, SandboxId};

/// What was asked of an endpoint, kept so that it can be asked again at the next start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRequest {
    /// `--ip`.
    pub ipv4: Option<Ipv4Addr>,
    /// `--ip6`.
    pub ipv6: Option<Ipv6Addr>,
    /// `--mac-address`.
    pub mac: Option<MacAddress>,
    /// `--network-alias`, `--alias`: names that the whole network can ask for.
    pub aliases: Vec<String>,
    /// `--link NAME:ALIAS`: pairs of a sandbox's name and the name that this sandbox has for it.
    pub links: Vec<(String, String)>,
    /// `--driver-opt`.
    pub driver_options: BTreeMap<String, String>,
    /// `--gw-priority`: the endpoint with the highest one has the default route.
    pub gateway_priority: i32,
}

/// What was decided for an endpoint while its sandbox runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// Its IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// Its hardware address.
    pub mac: MacAddress,
    /// The interface's name in the sandbox (`eth0`).
    pub interface: String,
    /// The name of the other end, on the host.
    pub host_interface: String,
    /// The lease that it has its IPv4 address by, on a LAN with a DHCP server.
    #[serde(default)]
    pub lease: Option<Lease>,
}

impl Allocation {
    /// Its addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ipv4.map(IpAddr::V4).into_iter().chain(self.ipv6.map(IpAddr::V6))
    }
}

/// A sandbox's place on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its identifier.
    pub id: EndpointId,
    /// The network.
    pub network: NetworkId,
    /// The sandbox.
    pub sandbox: SandboxId,
    /// Grows with every endpoint that joins; those that joined first answer first.
    pub order: u64,
    /// What was asked.
    pub request: EndpointRequest,
    /// What the driver options among that say.
    #[serde(default)]
    pub options: EndpointOptions,
    /// What was decided; none while the sandbox does not run.
    pub allocation: Option<Allocation>,
}

/// Interfaces on the host that are ends of our veth pairs begin with this; the firewall's guard
/// looks at no others.
pub const HOST_INTERFACE_PREFIX: &str = "fw";

/// How many random hexadecimal digits follow the prefix: names have at most 15 bytes.
pub const HOST_INTERFACE_DIGITS: usize = 12;
