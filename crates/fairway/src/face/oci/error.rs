//! Why a hook fails its container.

use std::ffi::OsString;
use std::path::PathBuf;

use fairway_core::ipam::IpamError;
use fairway_model::parse::ParseError;
use thiserror::Error;

use crate::face::daemon;

/// Why a hook fails its container.
#[derive(Debug, Error)]
pub enum OciError {
    /// The argument is no phase of a container.
    #[error("unknown hook {}: createRuntime, prestart or poststop is expected", .0.display())]
    Argument(OsString),
    /// The state cannot be read.
    #[error("cannot read the container's state from the standard input: {0}")]
    Input(#[source] std::io::Error),
    /// The state is not what the runtime specification says.
    #[error(
        "cannot read the container's state: {0}: the JSON of a runtime is expected at the standard input"
    )]
    State(#[source] serde_json::Error),
    /// The state lacks the container's id.
    #[error("cannot read the container's state: it has no id")]
    NoId,
    /// The state is of no hook that this program has.
    #[error(
        "the container's status is {0:?}, by which the hook is not known: name it as argument: createRuntime, prestart or poststop"
    )]
    Status(String),
    /// The state has no process.
    #[error(
        "container {0} has no process: call this hook as createRuntime or prestart, when the runtime has made the namespaces"
    )]
    NoProcess(String),
    /// The namespace cannot be looked at.
    #[error("cannot find the container's network namespace: {0}")]
    Namespace(#[source] fairway_kernel::namespace::Error),
    /// The configuration of the bundle cannot be read.
    #[error("cannot read {path}: {source}", path = .path.display())]
    Bundle {
        /// The file.
        path: PathBuf,
        /// What the system or the reader of JSON says.
        #[source]
        source: std::io::Error,
    },
    /// An annotation of Fairway's that does not exist.
    #[error("unknown annotation {key}: those of Fairway are {known} and fairway.option.NAME")]
    UnknownKey {
        /// The annotation.
        key: String,
        /// Those that exist.
        known: String,
    },
    /// An annotation whose value cannot be used.
    #[error("invalid annotation {key}: {reason}")]
    Invalid {
        /// The annotation.
        key: String,
        /// What is wrong, and the way out.
        reason: String,
    },
    /// No annotation names a network, and the daemon has no default one.
    #[error(
        "no network is named, and the daemon has no default network: add the annotation fairway.network, and fairway.subnet if that network does not exist"
    )]
    NoNetwork,
    /// The daemon refused, or there is none.
    #[error(transparent)]
    Daemon(#[from] daemon::Error),
}

impl OciError {
    /// That of an annotation.
    pub fn invalid(key: &str, reason: impl ToString) -> Self {
        Self::Invalid { key: key.to_owned(), reason: reason.to_string() }
    }

    /// That of an annotation whose text cannot be parsed.
    pub fn parse(key: &str) -> impl Fn(ParseError) -> Self {
        move |error| Self::invalid(key, error)
    }

    /// That of the annotations of a subnet.
    pub fn subnet(error: IpamError) -> Self {
        Self::invalid("fairway.subnet", error)
    }
}
