//! The daemon's socket.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fairway_kernel::unix_socket;
use rustix::net::SocketType;
use thiserror::Error;

/// Who may command the daemon: its user and its group.
const MODE: u32 = 0o660;
/// How many connections wait to be accepted.
const BACKLOG: i32 = 128;

/// Why the daemon has no socket.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Another daemon answers there.
    #[error("another daemon listens at {0}: stop it, or give this one another socket with -H")]
    Taken(PathBuf),
    /// The file cannot be made.
    #[error("cannot listen at {path}: {source}")]
    Refused {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// How long a daemon that was killed may take to be gone.
const LEAVING: Duration = Duration::from_secs(1);

/// The socket that clients use by default.
pub const DEFAULT: &str = "/run/fairway.sock";

/// The name of the socket itself, in the exec root, when it is the default one; that is a link to it
/// then. So the exec root can be hidden from sandboxes as a whole, once: a socket that is hidden by
/// itself would be seen again when the daemon makes it anew.
pub const SOCKET: &str = "api.sock";

/// Makes the socket, in place of one without a listener. One that a user names is made
/// where they say.
///
/// # Errors
/// Another daemon has it, or the system refuses.
pub fn listen(path: &Path, exec_root: &Path) -> Result<UnixListener, ListenError> {
    let socket = if path == Path::new(DEFAULT) { exec_root.join(SOCKET) } else { path.to_owned() };
    let since = Instant::now();
    while UnixStream::connect(path).is_ok() {
        if since.elapsed() > LEAVING {
            return Err(ListenError::Taken(path.to_owned()));
        }
        std::thread::sleep(LEAVING / 100);
    }
    let listener = bind(&socket).map_err(|source| ListenError::Refused { path: socket.clone(), source })?;
    if path != socket {
        lead(path, &socket).map_err(|source| ListenError::Refused { path: path.to_owned(), source })?;
    }
    Ok(listener)
}

/// Removes the socket, and the link to it.
pub fn remove(path: &Path, exec_root: &Path) {
    for file in [path, &exec_root.join(SOCKET)] {
        let _ = std::fs::remove_file(file);
    }
}

fn bind(socket: &Path) -> io::Result<UnixListener> {
    make_directory(socket)?;
    Ok(unix_socket::listen(socket, SocketType::STREAM, MODE, BACKLOG)?.into())
}

fn lead(path: &Path, socket: &Path) -> io::Result<()> {
    make_directory(path)?;
    unix_socket::remove(path)?;
    std::os::unix::fs::symlink(std::path::absolute(socket)?, path)
}

fn make_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)
}
