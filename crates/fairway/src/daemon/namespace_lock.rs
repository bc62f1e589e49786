//! The lock of a network namespace: one daemon serves it at a time.
//!
//! It is an abstract unix socket (unix(7)): the name belongs to the network namespace, and is free again when the process
//! has ended, however that came.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use fairway_kernel::system::peer_credentials;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::geteuid;
use thiserror::Error;

const NAME: &[u8] = b"fairway-daemon";
/// How many connections wait for the thread that closes them.
const BACKLOG: i32 = 128;
/// How long a daemon that was killed may take to be gone.
const LEAVING: Duration = Duration::from_secs(1);

/// Why a network namespace cannot be locked.
#[derive(Debug, Error)]
pub enum NamespaceLockError {
    /// A daemon has the lock.
    #[error(
        "another daemon ({0}) serves this network namespace: stop it first, or use a network namespace of its own (ip netns exec NAME)"
    )]
    Taken(String),
    /// The kernel refuses.
    #[error("cannot lock the network namespace: {0}")]
    Refused(#[from] io::Error),
}

/// Takes the lock of this thread's network namespace until the process ends.
///
/// # Errors
/// See [`NamespaceLockError`].
pub(super) fn take() -> Result<(), NamespaceLockError> {
    let since = Instant::now();
    loop {
        match listen() {
            Ok(socket) => return Ok(keep(socket)?),
            Err(Errno::ADDRINUSE) if since.elapsed() < LEAVING => std::thread::sleep(LEAVING / 100),
            Err(Errno::ADDRINUSE) => {
                return match holder() {
                    Some(process) => Err(NamespaceLockError::Taken(process)),
                    None => {
                        tracing::warn!(
                            "failed to lock the network namespace: a user has the name of the lock"
                        );
                        Ok(())
                    }
                };
            }
            Err(error) => return Err(NamespaceLockError::Refused(error.into())),
        }
    }
}

fn socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

fn listen() -> Result<OwnedFd, Errno> {
    let socket = socket()?;
    rustix::net::bind(&socket, &SocketAddrUnix::new_abstract_name(NAME)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// The process of the daemon that has the lock; none if that is a process of a user without the rights of a daemon.
fn holder() -> Option<String> {
    let socket = socket().ok()?;
    rustix::net::connect(&socket, &SocketAddrUnix::new_abstract_name(NAME).ok()?).ok()?;
    let (process, user) = peer_credentials(&socket).ok()?;
    let name =
        || process.map_or("of another pid namespace".to_owned(), |process| format!("process {process}"));
    (user == 0 || user == geteuid().as_raw()).then(name)
}

/// Keeps a socket open as long as the process lives, and closes the connections of those that ask who has it.
fn keep(socket: OwnedFd) -> io::Result<()> {
    rustix::io::ioctl_fionbio(&socket, false)?;
    let close = move || {
        loop {
            if rustix::net::accept(&socket).is_err() {
                std::thread::sleep(LEAVING);
            }
        }
    };
    std::thread::Builder::new().name("lock".to_owned()).spawn(close).map(drop)
}
