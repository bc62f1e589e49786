//! Errors as CNI has them: a code, a message and details.

use fairway_api::ClientError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

use crate::face::daemon;

/// The keys and variables that the engine's options come from.
const WORDS: &[(&str, &str)] = &[
    ("com.docker.network.bridge.name", "bridge"),
    ("com.docker.network.driver.mtu", "mtu"),
    ("com.docker.network.endpoint.ifname", "CNI_IFNAME"),
];

/// Why the plugin refuses or fails.
#[derive(Debug, Error)]
pub enum Error {
    /// The version of the configuration is not one of the plugin's.
    #[error(
        "incompatible CNI versions: the configuration is of version {0}: use 0.3.1, 0.4.0, 1.0.0 or 1.1.0"
    )]
    IncompatibleVersion(String),
    /// The command came with a later version of the specification.
    #[error(
        "incompatible CNI versions: {command} takes cniVersion {since} or later: the configuration has {version}"
    )]
    CommandTooNew {
        /// `CNI_COMMAND`.
        command: &'static str,
        /// The first version with the command.
        since: &'static str,
        /// The version of the configuration.
        version: &'static str,
    },
    /// A variable is missing or cannot be used.
    #[error("{0}")]
    Environment(String),
    /// The standard input cannot be read.
    #[error("cannot read the network configuration from the standard input: {0}")]
    Input(#[source] std::io::Error),
    /// The text is no JSON, or holds a value of another type than is expected.
    #[error("cannot decode {what}: {source}")]
    Decode {
        /// What is read.
        what: &'static str,
        /// Where and what was unexpected.
        #[source]
        source: serde_json::Error,
    },
    /// The configuration is invalid.
    #[error("invalid network configuration: {0}")]
    Invalid(String),
    /// A key, or a value of one, that Fairway does not have.
    #[error("cannot use {key}: {reason}")]
    Unsupported {
        /// The key.
        key: String,
        /// Why, and the way out.
        reason: String,
    },
    /// The IPAM plugin failed.
    #[error("IPAM plugin {plugin}: {}", .reply.msg)]
    Ipam {
        /// The plugin.
        plugin: String,
        /// What it printed.
        reply: Reply,
    },
    /// The IPAM plugin cannot be executed, or its answer not be read.
    #[error("cannot run IPAM plugin {plugin}: {reason}")]
    IpamProgram {
        /// The plugin.
        plugin: String,
        /// What is wrong.
        reason: String,
    },
    /// There is no daemon.
    #[error(transparent)]
    Daemon(#[from] daemon::Error),
    /// The daemon is not reachable: the answer to STATUS.
    #[error("cannot attach containers: {0}")]
    Unavailable(#[source] Box<Error>),
    /// What CHECK found.
    #[error("{0}")]
    Check(String),
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        Self::Daemon(error.into())
    }
}

/// An error as plugins print it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reply {
    /// The code: of the specification below 100, of the plugin from 100 on.
    pub code: u32,
    /// What is wrong.
    pub msg: String,
    /// More of it.
    pub details: String,
}

impl Error {
    /// The code by the specification.
    pub fn code(&self) -> u32 {
        match self {
            Self::IncompatibleVersion(_) | Self::CommandTooNew { .. } => 1,
            Self::Environment(_) => 4,
            Self::Input(_) => 5,
            Self::Decode { .. } => 6,
            Self::Invalid(_) | Self::Unsupported { .. } => 7,
            Self::Ipam { reply, .. } if reply.code != 0 => reply.code,
            Self::Unavailable(_) => 50,
            Self::Daemon(error) => of_daemon(error),
            Self::Ipam { .. } | Self::IpamProgram { .. } | Self::Check(_) => 999,
        }
    }

    /// The error as JSON.
    pub fn json(&self, version: &str) -> Value {
        let details = match self {
            Self::Ipam { reply, .. } => reply.details.clone(),
            _ => {
                let causes = std::iter::successors(std::error::Error::source(self), |cause| cause.source());
                causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
            }
        };
        let message = daemon::in_words(&self.to_string(), WORDS);
        json!({"cniVersion": version, "code": self.code(), "msg": message, "details": details})
    }
}

/// 7 for what the configuration asks and no retry can give, 11 for a daemon that does not answer.
fn of_daemon(error: &daemon::Error) -> u32 {
    match error {
        daemon::Error::Client(ClientError::Refused { status: 400 | 404, .. }) => 7,
        daemon::Error::Client(ClientError::NotRunning { .. } | ClientError::Lost { .. }) => 11,
        daemon::Error::Client(_) => 999,
        _ => 11,
    }
}
