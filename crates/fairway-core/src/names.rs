//! Name resolution: the names of endpoints, and the answers to a sandbox's queries.
//!
//! The rules are those of Docker's resolver for user-defined networks, with two improvements: the
//! addresses of a shared name are in the order of connection, and the names of all networks of the
//! querying sandbox resolve.

mod table;

pub use table::{Answer, NameTable, QueryType};

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use fairway_model::{EndpointId, NameServer, NetworkId, SandboxId};

/// An endpoint's names on its network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The network.
    pub network: NetworkId,
    /// The network's name, for `name.network` and for reverse answers.
    pub network_name: String,
    /// The order of connection; older endpoints come first in answers.
    pub order: u64,
    /// The sandbox's name first, then short id, host name and aliases; compared without case.
    pub names: Vec<String>,
    /// Whether answers have the address of the oldest endpoint only; equal for all endpoints of the network.
    #[serde(default, rename = "first_alone")]
    pub first_only: bool,
    /// The IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// The IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
}

/// The upstream servers of a sandbox, for queries about other names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Upstreams {
    /// The host's name servers at the time of the query.
    Host,
    /// These name servers.
    Servers(Vec<NameServer>),
    /// No servers: the sandbox is on internal networks only, and has no `--dns`.
    #[serde(rename = "Nowhere")]
    None,
}

/// The names that a sandbox can resolve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameView {
    /// The sandbox.
    pub sandbox: SandboxId,
    /// The networks whose names the sandbox resolves.
    pub networks: Vec<NetworkId>,
    /// The sandbox's links: network, alias, name of the target sandbox.
    pub links: Vec<(NetworkId, String, String)>,
    /// The upstream servers.
    pub upstreams: Upstreams,
}
