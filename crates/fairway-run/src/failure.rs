//! Why a process could not be started, and which exit code says so.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Why a stage could not become the command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Failure {
    /// No such program. Docker's clients know it by the words of the reason, which are Docker's.
    #[error("cannot find \"{command}\": {reason}")]
    NotFound {
        /// The command as given.
        command: String,
        /// What is not there.
        reason: String,
    },
    /// There is something, but it cannot be executed.
    #[error("cannot execute \"{command}\": {reason}")]
    CannotInvoke {
        /// The command as given.
        command: String,
        /// What the kernel said, in Docker's words.
        reason: String,
    },
    /// There was no command.
    #[error("there is no command to run: name one after --")]
    NoCommand,
    /// What it uses could not be limited.
    #[error("{0}")]
    Limit(String),
    /// The namespaces, mounts or rights could not be made.
    #[error("cannot {step}: {reason}")]
    Step {
        /// What was to be done.
        step: String,
        /// What the kernel said.
        reason: String,
    },
}

impl Failure {
    pub(super) fn step(step: impl Into<String>, reason: impl ToString) -> Self {
        Self::Step { step: step.into(), reason: reason.to_string() }
    }

    /// The exit code that Docker uses: 127 not found, 126 not executable, else 125.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::NotFound { .. } => 127,
            Self::CannotInvoke { .. } => 126,
            Self::NoCommand | Self::Limit(_) | Self::Step { .. } => 125,
        }
    }
}

/// Why a process could not be started or entered.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A stage said why.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// A stage ended without a word.
    #[error("the process ended before its command began: {ending}")]
    Ended {
        /// How it ended.
        ending: String,
    },
    /// This program could not start itself as a stage.
    #[error("cannot start {stage}: {source}")]
    Stage {
        /// Which stage.
        stage: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel gave no new process identifiers.
    #[error("cannot make a pid namespace: {source}; it needs root, or a user namespace of one's own")]
    PidNamespace {
        /// What the kernel said.
        source: io::Error,
    },
    /// The socket to the stage failed.
    #[error("cannot talk to {stage}: {source}")]
    Channel {
        /// Which stage.
        stage: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The process is not, or no longer, the one that was meant.
    #[error("process {pid} has ended: start the sandbox again")]
    Gone {
        /// Its process id.
        pid: u32,
    },
    /// Something under `/proc` could not be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Signals could not be kept for passing on.
    #[error("cannot hold signals: {source}")]
    Signals {
        /// What the kernel said.
        source: io::Error,
    },
}

impl LaunchError {
    /// The exit code of the command line: 127 for a command that is not there, 126 for one that
    /// cannot be executed, 125 when it is Fairway that failed.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Failed(failure) => failure.exit_code(),
            _ => 125,
        }
    }
}
