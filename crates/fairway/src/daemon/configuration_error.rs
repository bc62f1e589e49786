//! Why a configuration is refused.

use std::path::PathBuf;

use fairway_core::ipam::IpamError;
use fairway_model::parse::ParseError;
use thiserror::Error;

/// Why the daemon's configuration makes no sense.
#[derive(Debug, Error)]
pub enum ConfigurationError {
    /// The file cannot be read.
    #[error("unable to configure the daemon with file {path}: {source}")]
    Read {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("unable to configure the daemon with file {path}: {source}")]
    Syntax {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A key of the file has no value of its kind, or is unknown.
    #[error("unable to configure the daemon with file {path}: key {key}: {source}")]
    Key {
        /// The path of the file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A key of the file and a flag say the same thing.
    #[error(
        "unable to configure the daemon with file {path}: the following directives are specified both as a flag and in the configuration file: {names}"
    )]
    Twice {
        /// The file.
        path: PathBuf,
        /// The flags.
        names: String,
    },
    /// Nothing would keep sandboxes apart.
    #[error(
        "you specified --iptables=false with --icc=false: icc=false needs the firewall: set --icc or --iptables to true"
    )]
    Isolation,
    /// Where the default bridge is the user's own, it has the address that it has.
    #[error(
        "you specified --bridge and --{0}: a bridge of your own has its own address: specify only one of them"
    )]
    BridgeAndAddress(&'static str),
    /// An option of logs makes no sense.
    #[error(transparent)]
    LogOption(#[from] ParseError),
    /// The flags of the default bridge make no sense.
    #[error(transparent)]
    DefaultBridge(#[from] IpamError),
    /// A value makes no sense.
    #[error("invalid {name} {value}: {reason}")]
    Value {
        /// The flag or key.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
}
