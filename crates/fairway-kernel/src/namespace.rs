//! Network namespaces: opening them by path, running work in them, and named ones.

mod listed;
mod named;
mod numbers;
mod workers;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use fairway_model::Namespace;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

use crate::system;

pub use listed::{ListedNamespace, list};
pub use named::{NAMED_DIRECTORY, create_named, remove_named};
pub use numbers::numbers_of;
pub use workers::Workers;

/// `/proc/thread-self` and not `/proc/self`: each thread can be in a namespace of its own.
const OWN: &str = "/proc/thread-self/ns/net";

/// Why a namespace cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The path cannot be opened.
    #[error("cannot open the network namespace {path}: {errno}")]
    Open {
        /// The path.
        path: String,
        /// The reason; `ENOENT` when it is gone.
        errno: Errno,
    },
    /// The path is not a network namespace.
    #[error("{path} is not a network namespace: give a bind mount of one or /proc/PID/ns/net")]
    NotNetwork {
        /// The path.
        path: String,
    },
    /// The path leads to another namespace than before.
    #[error(
        "{path} is now another network namespace (inode {found}, was {expected}); the former one was replaced"
    )]
    Replaced {
        /// The path.
        path: String,
        /// The expected inode.
        expected: u64,
        /// The present inode.
        found: u64,
    },
    /// A thread cannot enter the namespace.
    #[error("cannot enter the network namespace {path}: {errno}")]
    Enter {
        /// The path.
        path: String,
        /// The reason; `EPERM` without `CAP_SYS_ADMIN` over it.
        errno: Errno,
    },
    /// No thread could be started.
    #[error("cannot start a thread to enter a network namespace: {0}")]
    Thread(Errno),
    /// The name is not a valid file name.
    #[error(
        "invalid namespace name {0:?}: it must not be empty, \".\", \"..\", longer than 255 bytes or contain \"/\""
    )]
    Name(String),
    /// The name is in use.
    #[error("a network namespace named {name:?} already exists at {path}")]
    Exists {
        /// The name.
        name: String,
        /// Its path.
        path: String,
    },
    /// A named namespace cannot be created or removed.
    #[error("cannot {action} {path}: {errno}")]
    Mount {
        /// The attempted action.
        action: &'static str,
        /// The path.
        path: String,
        /// The reason.
        errno: Errno,
    },
}

/// An open network namespace, which this keeps alive.
#[derive(Debug, Clone)]
pub struct Handle {
    descriptor: Arc<OwnedFd>,
    namespace: Namespace,
}

impl Handle {
    /// Its identity.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Error {
    /// Whether the namespace is no longer at its path. Of other errors, such as a lack of descriptors, that does not
    /// follow.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Replaced { .. } => true,
            Self::Open { errno, .. } => matches!(*errno, Errno::NOENT | Errno::NOTDIR | Errno::SRCH),
            _ => false,
        }
    }
}

/// The name in `ip netns` of the namespace at a path; none for other paths.
pub fn name(path: &str) -> Option<&str> {
    path.strip_prefix(NAMED_DIRECTORY)?.strip_prefix('/').filter(|name| !name.contains('/'))
}

/// Opens the network namespace at `path`.
///
/// # Errors
/// [`Error::Open`], [`Error::NotNetwork`].
pub fn open_path(path: &str) -> Result<Handle, Error> {
    let handle = open_any(path)?;
    if !is_network(&handle).map_err(|errno| Error::Open { path: path.to_owned(), errno })? {
        return Err(Error::NotNetwork { path: path.to_owned() });
    }
    Ok(handle)
}

fn is_network(handle: &Handle) -> Result<bool, Errno> {
    const NSFS_MAGIC: u64 = 0x6e73_6673;
    // Check the file system first: on another file, such as a device, the ioctl may mean anything.
    let status = rustix::fs::fstatfs(handle)?;
    Ok(u64::try_from(status.f_type) == Ok(NSFS_MAGIC) && system::is_network_namespace(handle)?)
}

/// Opens a known namespace, and checks that the path still leads to it.
///
/// # Errors
/// [`Error::Open`], [`Error::Replaced`].
pub fn open(namespace: &Namespace) -> Result<Handle, Error> {
    let handle = open_any(&namespace.path)?;
    let found = handle.namespace();
    if found.identity() != namespace.identity() {
        return Err(Error::Replaced {
            path: namespace.path.clone(),
            expected: namespace.inode,
            found: found.inode,
        });
    }
    Ok(handle)
}

/// Whether a known namespace is no longer at its path. One that cannot be looked at is.
pub fn is_gone(namespace: &Namespace) -> bool {
    open(namespace).is_err_and(|error| error.is_gone())
}

/// The identity of the network namespace at a path.
///
/// # Errors
/// As [`open_path`].
pub fn identity(path: &str) -> Result<Namespace, Error> {
    open_path(path).map(|handle| handle.namespace)
}

/// The network namespace of the calling thread.
///
/// # Errors
/// [`Error::Open`] where `/proc` is not mounted.
pub fn own() -> Result<Handle, Error> {
    open_any(OWN)
}

/// The network namespace of a socket. It has no path.
///
/// # Errors
/// [`Error::Open`] when it is not a socket, or without `CAP_NET_ADMIN` over its namespace.
pub fn of_socket(socket: BorrowedFd<'_>) -> Result<Handle, Error> {
    let error = |errno| Error::Open { path: "the namespace of a socket".to_owned(), errno };
    let descriptor = crate::system::socket_namespace(socket).map_err(error)?;
    let status = rustix::fs::fstat(&descriptor).map_err(error)?;
    Ok(Handle {
        descriptor: Arc::new(descriptor),
        namespace: Namespace { path: String::new(), device: status.st_dev, inode: status.st_ino },
    })
}

fn open_any(path: &str) -> Result<Handle, Error> {
    let error = |errno| Error::Open { path: path.to_owned(), errno };
    let descriptor =
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
            .map_err(error)?;
    let status = rustix::fs::fstat(&descriptor).map_err(error)?;
    Ok(Handle {
        descriptor: Arc::new(descriptor),
        namespace: Namespace { path: path.to_owned(), device: status.st_dev, inode: status.st_ino },
    })
}

fn enter(namespace: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::thread::move_into_link_name_space(namespace, Some(rustix::thread::LinkNameSpaceType::Network))
}

fn thread_errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::AGAIN)
}

#[cfg(test)]
mod tests;
