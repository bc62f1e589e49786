//! Why the engine did not do what it was asked.

use std::path::PathBuf;

use fairway_core::world::Refusal;
use fairway_kernel::{iptables, namespace, nftables, process, route, sysctl};
use fairway_model::RefusalKind;
use fairway_relay::client::ClientError;
use fairway_store::StoreError;
use thiserror::Error;

use crate::apply::files::FileError;
use crate::port_sockets::BindError;

/// Why the engine did not do what it was asked. What it had begun has been taken back.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The World refuses.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A port of the host cannot be had.
    #[error("failed to set up container networking: {0}")]
    Bind(#[from] BindError),
    /// Somebody on a LAN has the address that was to be given.
    #[error(
        "Address already in use: {address} is that of {mac} on the LAN of network {network}: choose another one"
    )]
    AddressInUse {
        /// The network.
        network: String,
        /// The address.
        address: std::net::IpAddr,
        /// Who has it.
        mac: fairway_model::MacAddress,
        /// Whether the user asked for this very address.
        asked: bool,
    },
    /// No DHCP server lends an address.
    #[error(
        "{failure} on {parent}: give --ip, or create network {network} with --ip-range instead of fairway.dhcp"
    )]
    NoLease {
        /// The interface that leads to the LAN.
        parent: String,
        /// The network.
        network: String,
        /// What happened.
        failure: fairway_core::dhcp::LeaseError,
    },
    /// The store cannot be written or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record of the store cannot be read.
    #[error(
        "the record {key} in {path} cannot be read: {source}: restore the file from a backup, or remove it to start anew"
    )]
    Record {
        /// The key of the record.
        key: String,
        /// The store.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The kernel refuses.
    #[error("failed to set up container networking: {0}")]
    Apply(#[from] ApplyError),
    /// A process that is named is not there.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// A namespace that is named is not there.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
    /// A directory of ours cannot be made.
    #[error("cannot create {path}: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// What is durable cannot be deleted.
    #[error("cannot delete the data in {path}: {source}")]
    Delete {
        /// The data root.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The host cannot be observed.
    #[error("cannot observe the host: {0}")]
    Observe(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Commands of sandboxes run, and are not to be ended.
    #[error("cannot remove the networks of running containers: {}: stop them first, or use --force", .0.join(", "))]
    Running(Vec<String>),
    /// The daemon does not run as root.
    #[error("cannot change the host's network without {missing}: run the daemon as root")]
    Privilege {
        /// The capabilities that it lacks.
        missing: String,
    },
    /// The kernel lacks something.
    #[error("the kernel lacks {what}, which Fairway needs: {reason}")]
    Kernel {
        /// What it lacks.
        what: &'static str,
        /// What it answered when it was tried.
        reason: String,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
}

impl EngineError {
    /// What kind of refusal it is; none for a failure of the system.
    pub fn kind(&self) -> Option<RefusalKind> {
        match self {
            Self::Refused(refusal) => Some(refusal.kind()),
            Self::AddressInUse { .. } | Self::NoLease { .. } => Some(RefusalKind::Forbidden),
            Self::Process(_) | Self::Namespace(_) => Some(RefusalKind::NotFound),
            _ => None,
        }
    }
}

/// Why objects could not be made as planned.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// Links, addresses or routes.
    #[error(transparent)]
    Route(#[from] route::Error),
    /// The firewall.
    #[error(transparent)]
    Firewall(#[from] nftables::Error),
    /// The rules of iptables.
    #[error(transparent)]
    Iptables(#[from] iptables::Error),
    /// A namespace that is gone or another by now.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
    /// A sysctl.
    #[error(transparent)]
    Sysctl(#[from] sysctl::Error),
    /// A file of a sandbox.
    #[error(transparent)]
    File(#[from] FileError),
    /// The relay.
    #[error(transparent)]
    Relay(#[from] ClientError),
    /// There is a relay, and its sockets cannot be taken over.
    #[error(
        "cannot take over the relay at {path}, which goes on as it is: {error} (its process: ss -xlp src {path})",
        path = .path.display()
    )]
    TakeOver {
        /// Its control socket.
        path: PathBuf,
        /// Why.
        #[source]
        error: ClientError,
    },
    /// The relay cannot be started.
    #[error("cannot start the relay: {0}")]
    StartRelay(#[source] std::io::Error),
    /// A resolver cannot listen in its sandbox.
    #[error("the resolver cannot listen at 127.0.0.11 in the sandbox: {0}")]
    Resolver(#[source] std::io::Error),
    /// Flows cannot be forgotten.
    #[error(transparent)]
    Flows(#[from] fairway_kernel::netlink::Error),
    /// Neighbours cannot be asked.
    #[error(transparent)]
    Probe(#[from] fairway_kernel::duplicate_address::Error),
    /// DHCP servers cannot be asked.
    #[error(transparent)]
    Dhcp(#[from] fairway_kernel::dhcp::Error),
    /// Neighbours cannot be told.
    #[error(transparent)]
    Announce(#[from] fairway_kernel::announce::Error),
    /// A port that was to be ours is not.
    #[error(transparent)]
    Bind(#[from] BindError),
}
