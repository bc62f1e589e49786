//! Endpoints: the connections of sandboxes to networks.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::{EndpointId, EndpointOptions, Lease, MacAddress, NetworkId, SandboxId};

/// The requested settings of an endpoint. They apply again at each start of the sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRequest {
    /// `--ip`.
    pub ipv4: Option<Ipv4Addr>,
    /// `--ip6`.
    pub ipv6: Option<Ipv6Addr>,
    /// `--mac-address`.
    pub mac: Option<MacAddress>,
    /// `--network-alias`, `--alias`: names that the whole network resolves.
    pub aliases: Vec<String>,
    /// `--link NAME:ALIAS`: pairs of the target sandbox and the alias that this sandbox has for it.
    pub links: Vec<(String, String)>,
    /// `--driver-opt`.
    pub driver_options: BTreeMap<String, String>,
    /// `--gw-priority`: the endpoint with the highest priority has the default route.
    pub gateway_priority: i32,
}

/// The addresses and interface names of an endpoint while its sandbox runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// The IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// The IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// The MAC address.
    pub mac: MacAddress,
    /// The interface's name in the sandbox (`eth0`).
    pub interface: String,
    /// The name of the veth peer on the host.
    pub host_interface: String,
    /// The DHCP lease of the IPv4 address, on a LAN with `fairway.dhcp`.
    #[serde(default)]
    pub lease: Option<Lease>,
}

impl Allocation {
    /// The addresses, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ipv4.map(IpAddr::V4).into_iter().chain(self.ipv6.map(IpAddr::V6))
    }
}

/// The connection of a sandbox to a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The identifier.
    pub id: EndpointId,
    /// The network.
    pub network: NetworkId,
    /// The sandbox.
    pub sandbox: SandboxId,
    /// The order of creation: names resolve to the oldest endpoint first.
    pub order: u64,
    /// The lowest number that no other endpoint of the sandbox had: which address of [`ResolverAddresses::RANGE`] is for
    /// the network.
    ///
    /// [`ResolverAddresses::RANGE`]: crate::ResolverAddresses::RANGE
    #[serde(default)]
    pub number: u8,
    /// The requested settings.
    pub request: EndpointRequest,
    /// The parsed driver options of the request.
    #[serde(default)]
    pub options: EndpointOptions,
    /// The addresses and names; none while the sandbox does not run.
    pub allocation: Option<Allocation>,
}

/// The prefix of the names of veth interfaces on the host. The firewall guards interfaces of this prefix only.
pub const HOST_INTERFACE_PREFIX: &str = "fw";

/// The prefix in place of [`HOST_INTERFACE_PREFIX`] of the other end while it is on the host, to be handed over to dockerd.
pub const HANDED_OVER_PREFIX: &str = "fp";

/// The number of random hexadecimal digits after the prefix: names have at most 15 bytes.
pub const HOST_INTERFACE_DIGITS: usize = 12;
