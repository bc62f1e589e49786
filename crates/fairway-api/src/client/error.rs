//! Why a request has no answer.

use std::io;

use thiserror::Error;

/// The error of a request.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The address is not one of a unix socket.
    #[error("invalid daemon address {0:?}: one such as unix:///run/fairway.sock is expected")]
    Address(String),
    /// No daemon listens on the socket.
    #[error(
        "cannot connect to the Fairway daemon at {address}: is it running? start it with: fairway daemon"
    )]
    NotRunning {
        /// Where it was looked for.
        address: String,
        /// What connect(2) says.
        #[source]
        source: io::Error,
    },
    /// The socket's mode forbids it.
    #[error(
        "permission denied at the Fairway daemon's socket {address}: run this as root, or as a member of the socket's group"
    )]
    Denied {
        /// The socket.
        address: String,
    },
    /// The daemon refused: its own words.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Why.
        message: String,
    },
    /// The connection ended within a request.
    #[error("lost the Fairway daemon at {address} before it answered: see its log")]
    Lost {
        /// The socket.
        address: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The answer is not what this client understands.
    #[error("cannot understand the answer of the daemon at {address}: {reason}: is it of another version?")]
    Malformed {
        /// The socket.
        address: String,
        /// What is wrong.
        reason: String,
    },
}
