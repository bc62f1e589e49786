//! What the relay is told: a set of records by key, and changes of it.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use fairway_core::names::{NameRecord, NameView};
use fairway_core::object::SocketUse;
use fairway_model::{EndpointId, NameServer, Protocol, SandboxId};
use serde::{Deserialize, Serialize};

/// The most sockets by which one sandbox's resolver asks name servers.
pub const OUTGOING_SOCKETS: usize = 6;

/// What tells records apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RecordKey {
    /// A port of the host.
    Port(Protocol, SocketAddr),
    /// The resolver in a sandbox.
    Resolver(SandboxId),
    /// The names of an endpoint.
    Names(EndpointId),
    /// What a sandbox can see of names.
    View(SandboxId),
    /// The name servers of the host.
    HostServers,
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(protocol, address) => write!(f, "port {address}/{protocol}"),
            Self::Resolver(sandbox) => write!(f, "the resolver of sandbox {}", sandbox.short()),
            Self::Names(endpoint) => write!(f, "the names of endpoint {}", endpoint.short()),
            Self::View(sandbox) => write!(f, "the view of sandbox {}", sandbox.short()),
            Self::HostServers => f.write_str("the host's name servers"),
        }
    }
}

/// One thing that the relay knows or does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A port of the host, with one socket: TCP to carry must listen already, UDP and ports to
    /// hold must be bound.
    Port {
        /// The protocol of the socket.
        protocol: Protocol,
        /// The address that it is bound to.
        address: SocketAddr,
        /// To carry bytes, or only to hold.
        purpose: SocketUse,
    },
    /// The resolver in a sandbox, with sockets of the sandbox's namespace: UDP, bound; TCP, listening;
    /// and at most [`OUTGOING_SOCKETS`] by which it asks name servers, connected to nothing. One that comes
    /// from a daemon of an earlier version has none of the latter, and asks from the host's namespace.
    Resolver(SandboxId),
    /// The names of an endpoint.
    Names(NameRecord),
    /// What a sandbox can see of names.
    View(NameView),
    /// The name servers of the host, first choice first.
    HostServers(Vec<NameServer>),
}

impl Record {
    /// What tells this record from others.
    pub fn key(&self) -> RecordKey {
        match self {
            Self::Port { protocol, address, .. } => RecordKey::Port(*protocol, *address),
            Self::Resolver(sandbox) => RecordKey::Resolver(*sandbox),
            Self::Names(names) => RecordKey::Names(names.endpoint),
            Self::View(view) => RecordKey::View(view.sandbox),
            Self::HostServers(_) => RecordKey::HostServers,
        }
    }

    /// How many sockets such a record needs, and how many it may have.
    pub fn sockets(&self) -> RangeInclusive<usize> {
        match self {
            Self::Port { .. } => 1..=1,
            Self::Resolver(_) => 2..=2 + OUTGOING_SOCKETS,
            Self::Names(_) | Self::View(_) | Self::HostServers(_) => 0..=0,
        }
    }
}

/// One change of the table.
#[derive(Debug, Clone)]
pub enum Change {
    /// Adds a record in place of that with its key. Connections that are established go on as
    /// they are, UDP flows follow a new target.
    Insert {
        /// The record.
        record: Record,
        /// Its sockets, as many as [`Record::sockets`] says; or none, to keep those that the
        /// record with this key already has.
        sockets: Vec<Arc<OwnedFd>>,
    },
    /// Removes a record, closes its sockets, and resets the connections that it carried. One
    /// that does not exist is no error.
    Remove(RecordKey),
}

impl Change {
    /// The key of the record that it inserts.
    pub fn inserted(&self) -> Option<RecordKey> {
        match self {
            Self::Insert { record, .. } => Some(record.key()),
            Self::Remove(_) => None,
        }
    }
}

/// What was carried through a port: bytes of payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxiedBytes {
    /// From clients to the sandbox.
    pub bytes_in: u64,
    /// From the sandbox to clients.
    pub bytes_out: u64,
}

impl ProxiedBytes {
    /// Adds what was carried elsewhere.
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

/// A change that the relay did not make, and why; the others of its batch are in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What was to be changed.
    pub key: RecordKey,
    /// Why it was not.
    pub reason: String,
}

/// What the relay says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of the program that it is.
    pub version: String,
    /// Its process, in its own pid namespace.
    pub pid: u32,
    /// The parts of its confinement that are in force.
    pub confinement: Vec<String>,
    /// The parts that are not, and why.
    pub missing: Vec<(String, String)>,
    /// Whether it can say what it carried.
    #[serde(rename = "counts", default)]
    pub counts_bytes: bool,
    /// Whether its resolvers ask name servers by sockets of the sandboxes' namespaces.
    #[serde(rename = "asks_inside", default)]
    pub queries_from_sandbox: bool,
}
