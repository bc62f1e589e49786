//! Why a lab cannot be built or used.

use std::io;

use fairway_kernel::netlink;
use fairway_kernel::system::spawn::SpawnError;

use crate::forbidden::Cause;

/// Why a lab cannot be built or used.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The system forbids what a lab is made of.
    #[error("a lab needs a user namespace of its own, which is forbidden here: {cause}")]
    Forbidden {
        /// Who forbids it, and the way out.
        cause: Cause,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The lab's process could not be started.
    #[error("cannot start the lab's process: {0}")]
    Spawn(#[from] SpawnError),
    /// The lab's process ended before the body ran.
    #[error(
        "the lab's process ran no test by the name of {name}: call fairway_lab::run straight from the test function"
    )]
    NotRun {
        /// The name that was asked for.
        name: String,
    },
    /// A lab was to be built outside its own namespaces.
    #[error("this process is not inside a lab: call fairway_lab::run or fairway_lab::main")]
    Outside,
    /// A system call failed.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried, and on what.
        action: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused a link, an address or a route.
    #[error("cannot {action}: {source}")]
    Netlink {
        /// What was tried, and on what.
        action: String,
        /// The kernel's answer.
        source: netlink::Error,
    },
    /// A text is not an address, or not a prefix.
    #[error("{text:?} is not {wanted}, such as {example}")]
    Address {
        /// What was given.
        text: String,
        /// What it should be.
        wanted: &'static str,
        /// One that would do.
        example: &'static str,
    },
}

/// Names what was tried when a system call fails.
pub(crate) trait Trying<T> {
    /// Turns the error into a [`LabError::System`] that says that this was tried.
    fn trying(self, action: impl FnOnce() -> String) -> Result<T, LabError>;
}

impl<T, E: Into<io::Error>> Trying<T> for Result<T, E> {
    fn trying(self, action: impl FnOnce() -> String) -> Result<T, LabError> {
        self.map_err(|error| LabError::System { action: action(), source: error.into() })
    }
}
