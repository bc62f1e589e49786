//! What podman writes to netavark's standard input: JSON of netavark 1.4 to 2.1. Unknown keys are ignored, as netavark
//! does.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A container with its networks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Container {
    /// The id: 64 hexadecimal digits from podman.
    pub container_id: String,
    /// The name.
    pub container_name: String,
    /// What the container is to have on each network, in order.
    #[serde(deserialize_with = "in_order")]
    pub networks: Vec<NamedEndpoint>,
    /// The networks by name.
    pub network_info: BTreeMap<String, Network>,
    /// The published ports, with each request.
    #[serde(default)]
    pub port_mappings: Option<Vec<PortMapping>>,
    /// The name servers of the container (`--dns`).
    #[serde(default)]
    pub dns_servers: Option<Vec<IpAddr>>,
}

/// The endpoint on a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct NamedEndpoint {
    /// The name of the network.
    pub name: String,
    /// The endpoint.
    #[serde(flatten)]
    pub endpoint: Endpoint,
}

/// What a container is to have on a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Names that the network resolves.
    #[serde(default)]
    pub aliases: Option<Vec<String>>,
    /// The name of the interface in the container.
    pub interface_name: String,
    /// The addresses, which podman has chosen.
    #[serde(default)]
    pub static_ips: Option<Vec<IpAddr>>,
    /// The MAC address.
    #[serde(default)]
    pub static_mac: Option<String>,
    /// Options of the driver: `host_interface_name`.
    #[serde(default)]
    pub options: Option<BTreeMap<String, String>>,
}

/// A network, as podman keeps it in `/etc/containers/networks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The name.
    pub name: String,
    /// The id, 64 hexadecimal digits.
    pub id: String,
    /// `bridge`, `macvlan`, `ipvlan`, or the name of a plugin.
    pub driver: String,
    /// The bridge, or the parent of macvlan links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_interface: Option<String>,
    /// The time of creation, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The subnets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnets: Option<Vec<Subnet>>,
    /// Static routes of its containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<Route>>,
    /// Whether one subnet is of IPv6.
    #[serde(default)]
    pub ipv6_enabled: bool,
    /// Whether containers have no way out.
    #[serde(default)]
    pub internal: bool,
    /// Whether names are resolved.
    #[serde(default)]
    pub dns_enabled: bool,
    /// Name servers for questions that the network cannot answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_dns_servers: Option<Vec<IpAddr>>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Options of the driver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<BTreeMap<String, String>>,
    /// `driver`: `host-local`, `dhcp` or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipam_options: Option<BTreeMap<String, String>>,
}

/// A subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The subnet.
    pub subnet: IpNet,
    /// The address of the bridge or of the router on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// The range that podman chooses addresses from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_range: Option<LeaseRange>,
}

/// A range of addresses; a missing end is that of the subnet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRange {
    /// The first address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ip: Option<IpAddr>,
    /// The last address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_ip: Option<IpAddr>,
}

/// A static route of the containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The destination.
    pub destination: IpNet,
    /// The next hop; none for the types that discard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// The metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
    /// `unicast` (the default), `blackhole`, `unreachable` or `prohibit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_type: Option<String>,
}

/// Published ports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// The host address; empty for all.
    #[serde(default)]
    pub host_ip: String,
    /// The first port in the container.
    pub container_port: u16,
    /// The first port of the host.
    pub host_port: u16,
    /// How many ports there are; 0 and 1 mean one.
    #[serde(default)]
    pub range: u16,
    /// `tcp`, `udp`, `sctp` or several of them with commas; empty for `tcp`.
    #[serde(default)]
    pub protocol: String,
}

/// Reads the endpoints from an array, or from an object by the names of the networks, in the order of the text.
fn in_order<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NamedEndpoint>, D::Error> {
    struct Endpoints;

    impl<'de> Visitor<'de> for Endpoints {
        type Value = Vec<NamedEndpoint>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of network options, or an object by network")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut endpoints = Vec::new();
            while let Some((name, endpoint)) = entries.next_entry()? {
                endpoints.push(NamedEndpoint { name, endpoint });
            }
            Ok(endpoints)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
            Deserialize::deserialize(SeqAccessDeserializer::new(entries))
        }
    }

    deserializer.deserialize_any(Endpoints)
}
