//! Why the name server cannot start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use fairway_relay::client::ClientError;
use rustix::io::Errno;

/// An error of the name server.
#[derive(Debug, thiserror::Error)]
pub(super) enum AardvarkError {
    /// No directory was named.
    #[error("no configuration directory: name it with --config DIR")]
    NoDirectory,
    /// The directory of network files cannot be read.
    #[error("cannot read the configuration directory {}: {source}: it must exist and be a directory", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The pid file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    PidFile {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Sockets cannot be bound to an address.
    #[error("failed to bind {protocol} listener on {address}: {}", io::Error::from(*errno))]
    Bind {
        /// `udp` or `tcp`.
        protocol: &'static str,
        /// The address.
        address: SocketAddr,
        /// The reason.
        errno: Errno,
    },
    /// The background process, or the relay, cannot be started.
    #[error("cannot start {what}: {source}")]
    Start {
        /// The process.
        what: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// The kernel refuses something else.
    #[error("cannot {action}: {source}")]
    Refused {
        /// The attempted action.
        action: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// The relay does not take the names and sockets.
    #[error("cannot pass names to the relay: {0}")]
    Relay(#[from] ClientError),
    /// The background process failed, for this reason.
    #[error("{0}")]
    Server(String),
    /// The background process ended without a reason.
    #[error("the server ended before it was ready: see the system log")]
    Ended,
}
