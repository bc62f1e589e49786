//! The bodies of requests and replies, as dockerd writes and reads them. Unknown fields are left out, as dockerd does.
//!
//! Source: recorded from dockerd 20.10 and 28.5; the documents `docs/remote.md` and `docs/ipam.md` of libnetwork.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The body of `IpamDriver.RequestPool`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RequestPool {
    /// `--subnet`; empty for a free one.
    pub pool: String,
    /// `--ip-range`.
    pub sub_pool: String,
    /// `--ipam-opt`.
    pub options: BTreeMap<String, String>,
    pub v6: bool,
}

/// The body of `IpamDriver.ReleasePool`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PoolReference {
    #[serde(rename = "PoolID")]
    pub pool: String,
}

/// The body of `IpamDriver.RequestAddress` and `IpamDriver.ReleaseAddress`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AddressRequest {
    #[serde(rename = "PoolID")]
    pub pool: String,
    /// The address without a prefix length; empty for a free one.
    pub address: String,
    pub options: BTreeMap<String, String>,
}

/// The body of `NetworkDriver.CreateNetwork`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateNetwork {
    #[serde(rename = "NetworkID")]
    pub network: String,
    pub options: BTreeMap<String, Value>,
    #[serde(rename = "IPv4Data")]
    pub ipv4: Vec<IpamData>,
    #[serde(rename = "IPv6Data")]
    pub ipv6: Vec<IpamData>,
}

/// What an IPAM driver chose for a network. Gateway and auxiliary addresses have the prefix length of the pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct IpamData {
    pub pool: String,
    pub gateway: String,
    pub aux_addresses: BTreeMap<String, String>,
}

/// The body of `NetworkDriver.DeleteNetwork`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct NetworkReference {
    #[serde(rename = "NetworkID")]
    pub network: String,
}

/// The body of `NetworkDriver.CreateEndpoint`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct CreateEndpoint {
    #[serde(rename = "NetworkID")]
    pub network: String,
    #[serde(rename = "EndpointID")]
    pub endpoint: String,
    pub interface: Interface,
    pub options: BTreeMap<String, Value>,
}

/// The addresses of an endpoint. A reply has only what the request left empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Interface {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    #[serde(rename = "AddressIPv6", skip_serializing_if = "String::is_empty")]
    pub address_ipv6: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac_address: String,
}

/// The body of requests that name an endpoint: `DeleteEndpoint`, `EndpointOperInfo`, `Leave`,
/// `RevokeExternalConnectivity`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct EndpointReference {
    #[serde(rename = "EndpointID")]
    pub endpoint: String,
}

/// The body of `NetworkDriver.Join`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Join {
    #[serde(rename = "NetworkID")]
    pub network: String,
    #[serde(rename = "EndpointID")]
    pub endpoint: String,
    /// The path that the namespace has or will have.
    pub sandbox_key: String,
}

/// The reply to `NetworkDriver.Join`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Joined {
    pub interface_name: InterfaceName,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    #[serde(rename = "GatewayIPv6", skip_serializing_if = "String::is_empty")]
    pub gateway_ipv6: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub static_routes: Vec<Route>,
    /// Whether dockerd is to connect the container to no other network for a default route.
    pub disable_gateway_service: bool,
}

/// The link that dockerd moves into the container, and what it is called there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InterfaceName {
    pub src_name: String,
    pub dst_prefix: String,
    /// The whole name, which dockerd 28 and newer read.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub dst_name: String,
}

/// A static route: of type 0 by a next hop, of type 1 on the link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Route {
    pub destination: String,
    pub route_type: u8,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub next_hop: String,
}

/// The body of `NetworkDriver.ProgramExternalConnectivity`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExternalConnectivity {
    #[serde(rename = "EndpointID")]
    pub endpoint: String,
    pub options: ConnectivityOptions,
}

/// Its options that matter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ConnectivityOptions {
    #[serde(rename = "com.docker.network.portmap")]
    pub ports: Vec<PortBinding>,
}

/// A published port. The protocol is its IP number; of the host ports the first free one is to be used, and any if both
/// are 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PortBinding {
    pub proto: u8,
    pub port: u16,
    #[serde(rename = "HostIP")]
    pub host_ip: String,
    pub host_port: u16,
    pub host_port_end: u16,
}
