//! Why this host cannot be read, or a question about it cannot be answered.

use fairway_containers::ResolveError;
use fairway_inspect::explain::QueryError;
use fairway_kernel::{namespace, survey};
use fairway_trace::TraceError;
use thiserror::Error;

/// Why this host cannot be read, or a question about it cannot be answered.
#[derive(Debug, Error)]
pub enum HostError {
    /// Capabilities are missing.
    #[error(
        "cannot read this host without {}: run this as root, or with CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_SYS_PTRACE",
        missing.join(", ")
    )]
    Rights {
        /// The missing capabilities.
        missing: Vec<&'static str>,
    },
    /// Capabilities are missing to trace packets.
    #[error(
        "cannot trace packets of this host without {}: run this as root, or with CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN and CAP_SYS_PTRACE",
        missing.join(", ")
    )]
    TraceRights {
        /// The missing capabilities.
        missing: Vec<&'static str>,
    },
    /// The kernel refuses to trace packets.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// No engine on the host has the network.
    #[error("network {0} not found on this host: fairway graph without --network draws all")]
    NoNetwork(String),
    /// A namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
    /// The kernel refuses to list its objects.
    #[error("cannot read the host: {0}")]
    Survey(#[from] survey::Error),
    /// The question is invalid.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A name means several containers, or none that exists.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The container does not run.
    #[error("container {0} is not running: start it first")]
    NotRunning(String),
    /// The network namespace of a container cannot be seen from here.
    #[error("cannot find the network namespace of {0}: run this in the pid namespace of the host")]
    Unseen(String),
    /// No container, process or address has the name.
    #[error(
        "cannot find {text:?}: no such container, process or address: give a container (docker:NAME, podman:NAME or another engine's if the name alone is not enough; container:NAME if it is called host, lan or outside), pid:NUMBER, netns:NAME or netns:/PATH, host, outside, lan:ADDRESS, an address, or a name that {asker} can resolve{}",
        because.as_ref().map_or(String::new(), |reason| format!(" ({reason})"))
    )]
    NotFound {
        /// The text of the question.
        text: String,
        /// The end that would have to resolve it.
        asker: String,
        /// Why it cannot be resolved, if a name server was asked.
        because: Option<String>,
    },
}

impl HostError {
    /// Whether the question is at fault, and not the host.
    pub fn is_misuse(&self) -> bool {
        !matches!(
            self,
            Self::Rights { .. }
                | Self::TraceRights { .. }
                | Self::Trace(_)
                | Self::Namespace(_)
                | Self::Survey(_)
        )
    }
}
