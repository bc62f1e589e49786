//! Why a lab cannot be built or used.

use std::io;

use fairway_kernel::netlink;
use fairway_kernel::system::spawn::SpawnError;

use crate::userns_denied::{Cause, Switches, refusal};

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

impl LabError {
    /// The error of a failed start: a refused user namespace comes with its cause.
    pub(crate) fn from_spawn(error: SpawnError, switches: &Switches) -> LabError {
        match error {
            SpawnError::Unshare(source) | SpawnError::MapUsers(source) => {
                LabError::Forbidden { cause: refusal(&source, switches), source }
            }
            other => LabError::Spawn(other),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refused_namespaces_count_as_forbidden() {
        // Ubuntu lets the namespace be made and takes its rights: the map is what fails.
        let map = SpawnError::MapUsers(io::Error::from_raw_os_error(libc::EPERM));
        assert!(matches!(LabError::from_spawn(map, &Switches::default()), LabError::Forbidden { .. }));
        let missing = SpawnError::Program(io::Error::from_raw_os_error(libc::ENOENT));
        assert!(matches!(LabError::from_spawn(missing, &Switches::default()), LabError::Spawn(_)));
    }
}
