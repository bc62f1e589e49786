//! Name resolution: the names of endpoints, and the answers to a sandbox's queries.
//!
//! The rules are those of Docker's resolver for user-defined networks, with two improvements: the
//! addresses of a shared name are in the order of connection, and the names of all networks of the
//! querying sandbox resolve.

mod table;

pub use table::{Answer, NameTable, QueryType};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
    /// The network's `fairway.domain`, for `name.domain`, in lower case; equal for all endpoints of the network.
    #[serde(default)]
    pub domain: Option<String>,
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

/// The rules by which the names of a view are answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Convention {
    /// Docker's: a reverse answer is the first name with the network's name, and a name that no endpoint has is
    /// forwarded.
    #[default]
    Docker,
    /// Podman's, as in aardvark-dns: a reverse answer is all names, without a domain; a name of the search domain, and
    /// every name of a sandbox without upstream servers, exists only if an endpoint has it.
    Podman {
        /// The search domain in lower case without a dot at its ends, as in `dns.podman`.
        domain: Option<String>,
    },
}

impl Convention {
    /// The TTL of answers in seconds: short, since names move with their sandboxes.
    #[must_use]
    pub fn ttl(&self) -> u32 {
        match self {
            Self::Docker => 1,
            Self::Podman { .. } => 0,
        }
    }

    fn is_docker(&self) -> bool {
        *self == Self::Docker
    }
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
    /// The rules of answers.
    #[serde(default, skip_serializing_if = "Convention::is_docker")]
    pub convention: Convention,
    /// The address from which the sandbox queries a resolver that sandboxes share; none for a sandbox with a resolver
    /// of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
}
