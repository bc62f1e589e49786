//! Who answers to which name, and for whom.
//!
//! The rules are those of Docker's resolver for user-defined networks, with two betterments:
//! several holders of a name answer in the order in which they joined, and all networks that the
//! asking sandbox is on count.

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
    /// Its network.
    pub network: NetworkId,
    /// The network's name, for `name.network` and for reverse answers.
    pub network_name: String,
    /// Those that joined first answer first.
    pub order: u64,
    /// Sandbox name first, then short id, host name and aliases; as given, compared without case.
    pub names: Vec<String>,
    /// Whether, of those that have a name, the one that joined first answers alone; the same for all
    /// endpoints of the network.
    #[serde(default, rename = "first_alone")]
    pub first_only: bool,
    /// Its IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
}

/// Where questions go that are not about our names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Upstreams {
    /// To the host's servers, whichever they are by then.
    Host,
    /// To these.
    Servers(Vec<NameServer>),
    /// Nowhere: the sandbox is on internal networks only, and names no server of its own.
    #[serde(rename = "Nowhere")]
    None,
}

/// What one sandbox can see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameView {
    /// The sandbox.
    pub sandbox: SandboxId,
    /// The networks that it is on and whose names it may ask for.
    pub networks: Vec<NetworkId>,
    /// Names that only this sandbox has for others: network, alias, name of the other sandbox.
    pub links: Vec<(NetworkId, String, String)>,
    /// Where other questions go.
    pub upstreams: Upstreams,
}
