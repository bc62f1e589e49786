//! Errors of the engine.

use std::fmt;
use std::path::PathBuf;

use fairway_core::dhcp::LeaseError;
use fairway_core::object::Key;
use fairway_core::world::{Refusal, Undecided};
use fairway_kernel::{iptables, namespace, nftables, process, route, sysctl};
use fairway_model::RefusalKind;
use fairway_relay::client::ClientError;
use fairway_store::StoreError;
use thiserror::Error;

use crate::port_sockets::BindError;

/// Why a command failed. What it had changed has been rolled back.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The World refuses the command.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A host port cannot be bound.
    #[error("failed to set up container networking: {0}")]
    Bind(#[from] BindError),
    /// Another host on the LAN has the address.
    #[error(
        "Address already in use: {address} is that of {mac} on the LAN of network {network}: choose another one"
    )]
    AddressInUse {
        /// The network.
        network: String,
        /// The address.
        address: std::net::IpAddr,
        /// The MAC address of that host.
        mac: fairway_model::MacAddress,
        /// Whether the user requested this address.
        asked: bool,
    },
    /// No DHCP server leases an address.
    #[error(
        "{failure} on {parent}: give --ip, or create network {network} with --ip-range instead of fairway.dhcp"
    )]
    NoLease {
        /// The interface that leads to the LAN.
        parent: String,
        /// The network.
        network: String,
        /// How the DHCP exchange failed.
        failure: LeaseError,
    },
    /// The store cannot be written or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record of the store cannot be read.
    #[error(
        "cannot read record {key} of the store {}: {reason}: restore its files from a backup, or move them away to start with an empty store", path.display()
    )]
    Record {
        /// The key of the record.
        key: String,
        /// The store.
        path: PathBuf,
        /// Why it cannot be used.
        reason: String,
    },
    /// A record cannot be written to the store.
    #[error(
        "cannot write record {key} to the store: {source}: the change is refused; please report this as a bug"
    )]
    Encode {
        /// The key of the record.
        key: String,
        /// The error of the encoder.
        #[source]
        source: serde_json::Error,
    },
    /// The store has no record with this key that cannot be used.
    #[error("cannot remove record {0}: it is not orphaned: fairway store check lists the records that are")]
    NoOrphan(String),
    /// The change cannot be applied.
    #[error("failed to set up container networking: {0}")]
    Apply(#[from] ApplyError),
    /// The change was applied in part.
    #[error("failed to set up container networking: {}", .0.failed())]
    Unapplied(#[from] ApplyErrors),
    /// The process does not exist.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// The network namespace does not exist.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
    /// A directory of the daemon cannot be created.
    #[error("cannot create {path}: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: std::io::Error,
    },
    /// Durable state cannot be deleted.
    #[error("cannot delete the data in {path}: {source}")]
    Delete {
        /// The data root.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: std::io::Error,
    },
    /// The host cannot be observed.
    #[error("cannot observe the host: {0}")]
    Observe(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Sandboxes run, and are not to be stopped.
    #[error("cannot remove the networks of running containers: {}: stop them first, or use --force", .0.join(", "))]
    Running(Vec<String>),
    /// The daemon does not run as root.
    #[error("cannot change the host's network without {missing}: run the daemon as root")]
    Privilege {
        /// The missing capabilities.
        missing: String,
    },
    /// The kernel lacks a feature.
    #[error("the kernel lacks {what}, which Fairway needs: {reason}")]
    Kernel {
        /// The feature.
        what: &'static str,
        /// The reason that the kernel gave.
        reason: String,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
}

impl From<Undecided> for EngineError {
    /// The error of a command for which no DHCP server is asked.
    fn from(undecided: Undecided) -> Self {
        match undecided {
            Undecided::Refused(refusal) => Self::Refused(refusal),
            Undecided::LeaseNeeded(request) => Self::NoLease {
                parent: request.parent,
                network: request.network,
                failure: LeaseError::Silence,
            },
        }
    }
}

impl EngineError {
    /// The kind of the refusal; none for a failure of the system.
    pub fn kind(&self) -> Option<RefusalKind> {
        match self {
            Self::Refused(refusal) => Some(refusal.kind()),
            Self::AddressInUse { .. } | Self::NoLease { .. } => Some(RefusalKind::Forbidden),
            Self::Process(_) | Self::Namespace(_) => Some(RefusalKind::NotFound),
            _ => None,
        }
    }
}

/// A part of a difference that is applied as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// All tables, chains, rules and elements.
    Firewall,
    /// All changes for the relay.
    Relay,
    /// A network namespace, by its path.
    Namespace(String),
    /// One object.
    Object(Key),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Firewall => f.write_str("firewall"),
            Self::Relay => f.write_str("relay"),
            Self::Namespace(path) => write!(f, "network namespace {path}"),
            Self::Object(key) => key.fmt(f),
        }
    }
}

/// Why a part of a difference was not applied.
#[derive(Debug)]
pub enum FailureReason {
    /// It was tried.
    Error(ApplyError),
    /// It was not tried, because it rests on this part, which failed.
    Skipped(Subject),
}

/// A part of a difference that was not applied.
#[derive(Debug)]
pub struct Unapplied {
    /// The part.
    pub subject: Subject,
    /// The reason.
    pub reason: FailureReason,
}

impl fmt::Display for Unapplied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            FailureReason::Error(error) => write!(f, "{}: {error}", self.subject),
            FailureReason::Skipped(because) => write!(f, "{}: skipped because of {because}", self.subject),
        }
    }
}

/// So many skipped objects are named in an error; of more only their number.
const SKIPPED_LINES: usize = 8;

/// The parts of a difference that were not applied, in the order in which they failed; at least one.
#[derive(Debug)]
pub struct ApplyErrors(pub Vec<Unapplied>);

impl ApplyErrors {
    /// What failed, without what was skipped because of it.
    fn failed(&self) -> String {
        let failed = self.0.iter().filter(|it| matches!(it.reason, FailureReason::Error(_)));
        failed.map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    /// Whether the firewall is among them.
    pub fn has_firewall(&self) -> bool {
        self.0.iter().any(|unapplied| unapplied.subject == Subject::Firewall)
    }
}

impl fmt::Display for ApplyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_skipped = |it: &&Unapplied| matches!(it.reason, FailureReason::Skipped(_));
        let (skipped, failed): (Vec<_>, Vec<_>) = self.0.iter().partition(is_skipped);
        let lines = failed.iter().chain(skipped.iter().take(SKIPPED_LINES));
        f.write_str(&lines.map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
        match skipped.len().saturating_sub(SKIPPED_LINES) {
            0 => Ok(()),
            more => write!(f, "\n{more} more objects skipped"),
        }
    }
}

impl std::error::Error for ApplyErrors {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.iter().find_map(|unapplied| match &unapplied.reason {
            FailureReason::Error(error) => Some(error as &dyn std::error::Error),
            FailureReason::Skipped(_) => None,
        })
    }
}

/// Why an object cannot be applied.
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
    /// A network namespace that is gone or was replaced.
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
    /// A relay runs, and its sockets cannot be adopted.
    #[error(
        "cannot adopt the sockets of the relay at {path}: {error}: the relay goes on as it is; find its process with ss -xlp src {path}",
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
    #[error("cannot listen on 127.0.0.11 in the sandbox for its resolver: {0}")]
    Resolver(#[source] std::io::Error),
    /// Conntrack entries cannot be deleted.
    #[error(transparent)]
    Flows(#[from] fairway_kernel::netlink::Error),
    /// Duplicate address detection cannot run.
    #[error(transparent)]
    Probe(#[from] fairway_kernel::duplicate_address::Error),
    /// DHCP cannot be spoken on the interface.
    #[error(transparent)]
    Dhcp(#[from] fairway_kernel::dhcp::Error),
    /// Addresses cannot be announced.
    #[error(transparent)]
    Announce(#[from] fairway_kernel::announce::Error),
    /// A host port cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// Why a file of a sandbox cannot be read or written.
#[derive(Debug, Error)]
#[error("cannot {action} {path}: {source}")]
pub struct FileError {
    /// The action that failed.
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The error of the system.
    #[source]
    pub source: std::io::Error,
}
