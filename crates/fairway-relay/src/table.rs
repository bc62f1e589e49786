//! The relay's table: records by key, and changes of it.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use fairway_core::names::{NameRecord, NameView};
use fairway_core::object::SocketUse;
use fairway_model::{EndpointId, NameServer, Protocol, SandboxId};
use serde::{Deserialize, Serialize};

/// The most sockets of one sandbox's resolver to name servers.
pub const OUTGOING_SOCKETS: usize = 6;

/// The key of a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RecordKey {
    /// A port of the host.
    Port(Protocol, SocketAddr),
    /// The resolver in a sandbox.
    Resolver(SandboxId),
    /// The resolver that sandboxes share at an address of the host.
    SharedResolver(SocketAddr),
    /// The names of an endpoint.
    Names(EndpointId),
    /// The names that a sandbox can resolve.
    View(SandboxId),
    /// The name servers of the host.
    HostServers,
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(protocol, address) => write!(f, "port {address}/{protocol}"),
            Self::Resolver(sandbox) => write!(f, "the resolver of sandbox {}", sandbox.short()),
            Self::SharedResolver(address) => write!(f, "the resolver at {address}"),
            Self::Names(endpoint) => write!(f, "the names of endpoint {}", endpoint.short()),
            Self::View(sandbox) => write!(f, "the view of sandbox {}", sandbox.short()),
            Self::HostServers => f.write_str("the host's name servers"),
        }
    }
}

/// A record of the relay's table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A port of the host, with one socket: proxied TCP must listen already, UDP and held ports must be bound.
    Port {
        /// The protocol of the socket.
        protocol: Protocol,
        /// The address that the socket is bound to.
        address: SocketAddr,
        /// Whether the port is proxied or only held.
        purpose: SocketUse,
    },
    /// The resolver in a sandbox, with sockets of the sandbox's namespace: UDP, bound; TCP, listening; and at most
    /// [`OUTGOING_SOCKETS`] to name servers, not connected. A resolver from a daemon of an earlier version has none
    /// of the latter, and queries from the host's namespace.
    Resolver(SandboxId),
    /// A resolver that sandboxes share, with two sockets: UDP, bound; TCP, listening. It knows a sandbox by the source
    /// address in its view.
    SharedResolver {
        /// The address that the sockets are bound to.
        address: SocketAddr,
        /// The sandbox whose view applies to other source addresses.
        others: SandboxId,
    },
    /// The names of an endpoint.
    Names(NameRecord),
    /// The names that a sandbox can resolve.
    View(NameView),
    /// The name servers of the host, first choice first.
    HostServers(Vec<NameServer>),
}

impl Record {
    /// The key of this record.
    pub fn key(&self) -> RecordKey {
        match self {
            Self::Port { protocol, address, .. } => RecordKey::Port(*protocol, *address),
            Self::Resolver(sandbox) => RecordKey::Resolver(*sandbox),
            Self::SharedResolver { address, .. } => RecordKey::SharedResolver(*address),
            Self::Names(names) => RecordKey::Names(names.endpoint),
            Self::View(view) => RecordKey::View(view.sandbox),
            Self::HostServers(_) => RecordKey::HostServers,
        }
    }

    /// The number of sockets that the record needs and may have.
    pub fn sockets(&self) -> RangeInclusive<usize> {
        match self {
            Self::Port { .. } => 1..=1,
            Self::Resolver(_) => 2..=2 + OUTGOING_SOCKETS,
            Self::SharedResolver { .. } => 2..=2,
            Self::Names(_) | Self::View(_) | Self::HostServers(_) => 0..=0,
        }
    }
}

/// One change of the table.
#[derive(Debug, Clone)]
pub enum Change {
    /// Adds or replaces a record. Established connections go on as they are, UDP flows follow a new target.
    Insert {
        /// The record.
        record: Record,
        /// Its sockets, as many as [`Record::sockets`] says; or none, to keep those that the
        /// record with this key already has.
        sockets: Vec<Arc<OwnedFd>>,
    },
    /// Removes a record, closes its sockets, and resets its proxied connections. A missing record is no error.
    Remove(RecordKey),
}

impl Change {
    /// The key of the inserted or removed record.
    pub fn key(&self) -> RecordKey {
        match self {
            Self::Insert { record, .. } => record.key(),
            Self::Remove(key) => key.clone(),
        }
    }

    /// The key of the inserted record.
    pub fn inserted(&self) -> Option<RecordKey> {
        match self {
            Self::Insert { record, .. } => Some(record.key()),
            Self::Remove(_) => None,
        }
    }
}

/// Payload bytes proxied through a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxiedBytes {
    /// From clients to the sandbox.
    pub bytes_in: u64,
    /// From the sandbox to clients.
    pub bytes_out: u64,
}

impl ProxiedBytes {
    /// Adds the counts of another socket.
    pub fn add(&mut self, other: Self) {
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
    }
}

/// A record with duplicates of its sockets.
#[derive(Debug)]
pub struct RecordWithSockets {
    /// The record.
    pub record: Record,
    /// Its sockets, in the order in which they were given.
    pub sockets: Vec<OwnedFd>,
}

/// A change that the relay refused; the others of its batch are in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The key of the record.
    pub key: RecordKey,
    /// The reason.
    pub reason: String,
}

/// The relay's description of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of the program that it is.
    pub version: String,
    /// Its process id, in its own pid namespace.
    pub pid: u32,
    /// The parts of its confinement that are in force.
    pub confinement: Vec<String>,
    /// The parts that are not in force, and why.
    pub missing: Vec<(String, String)>,
    /// Whether it counts proxied bytes.
    #[serde(rename = "counts", default)]
    pub counts_bytes: bool,
    /// Whether its resolvers query name servers from the sandboxes' namespaces.
    #[serde(rename = "asks_inside", default)]
    pub queries_from_sandbox: bool,
    /// Whether it counts connections, flows and queries.
    #[serde(default)]
    pub has_counters: bool,
}
