//! The daemon's socket.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fairway_kernel::system::inherit::take_inherited_socket;
use fairway_kernel::unix_socket;
use rustix::net::SocketType;
use thiserror::Error;

use super::endpoint::{ApiEndpoint, DEFAULT_SOCKET};
use super::socket_group::SocketGroup;
use super::{Configuration, DaemonError, tls};

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
    /// systemd passed no socket.
    #[error(
        "cannot listen at fd://: systemd passed no socket: start the socket unit, or name a socket with -H"
    )]
    NotActivated,
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

/// The name of the socket itself, in the exec root, when it is the default one; that is a link to it
/// then. So the exec root can be hidden from sandboxes as a whole, once: a socket that is hidden by
/// itself would be seen again when the daemon makes it anew.
pub const SOCKET: &str = "api.sock";

/// Makes the socket, in place of one without a listener. One that a user names is made
/// where they say.
///
/// # Errors
/// Another daemon has it, or the system refuses.
pub fn listen(
    path: &Path,
    exec_root: &Path,
    group: Option<SocketGroup>,
) -> Result<UnixListener, ListenError> {
    let socket = place(path, exec_root);
    let since = Instant::now();
    while UnixStream::connect(path).is_ok() {
        if since.elapsed() > LEAVING {
            return Err(ListenError::Taken(path.to_owned()));
        }
        std::thread::sleep(LEAVING / 100);
    }
    let listener =
        bind(&socket, group).map_err(|source| ListenError::Refused { path: socket.clone(), source })?;
    if path != socket {
        lead(path, &socket).map_err(|source| ListenError::Refused { path: path.to_owned(), source })?;
    }
    Ok(listener)
}

/// Where the socket of a path itself is.
fn place(path: &Path, exec_root: &Path) -> PathBuf {
    if path == Path::new(DEFAULT_SOCKET) { exec_root.join(SOCKET) } else { path.to_owned() }
}

/// The sockets of the API: that of the daemon in any case, further ones that are named, and those of systemd. TCP is
/// served by a thread of its own. The daemon's own socket is systemd's if systemd passes one at its path.
///
/// # Errors
/// One of them is another program's, or the system refuses.
pub fn listen_everywhere(
    configuration: &Configuration,
    activated: Vec<OwnedFd>,
) -> Result<Vec<UnixListener>, DaemonError> {
    let Configuration { socket, socket_group, exec_root, endpoints, tls, .. } = configuration;
    let mut activated: Vec<UnixListener> = activated.into_iter().map(UnixListener::from).collect();
    if activated.is_empty() && endpoints.contains(&ApiEndpoint::Activated) {
        return Err(ListenError::NotActivated.into());
    }
    let own = place(socket, exec_root);
    let is_own = |listener: &UnixListener| {
        listener.local_addr().is_ok_and(|address| address.as_pathname() == Some(&own))
    };
    let mut sockets = vec![match activated.iter().position(is_own) {
        Some(index) => activated.swap_remove(index),
        None => listen(socket, exec_root, *socket_group)?,
    }];
    for endpoint in endpoints {
        match (endpoint, tls) {
            (ApiEndpoint::Unix(path), _) => sockets.push(listen(path, exec_root, *socket_group)?),
            (ApiEndpoint::Activated, _) => sockets.append(&mut activated),
            (ApiEndpoint::Tls(address), Some(files)) => {
                let bound = tls::serve(address, files, socket)?;
                tracing::info!(%bound, "serving the API at tcp://{bound}");
            }
            // Without its files it is refused before.
            (ApiEndpoint::Tls(_), None) => {}
        }
    }
    Ok(sockets)
}

/// The first descriptor that systemd passes.
const FIRST_PASSED: i32 = 3;

/// The sockets that systemd passes to this process (sd_listen_fds(3)). To be called once.
#[expect(clippy::disallowed_methods, reason = "systemd passes the number of sockets by the environment")]
pub fn activated() -> Vec<OwnedFd> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    match (number("LISTEN_PID"), number("LISTEN_FDS")) {
        (Some(process), Some(count)) if process == std::process::id() => {
            let count = i32::try_from(count).unwrap_or(0);
            (FIRST_PASSED..FIRST_PASSED.saturating_add(count)).filter_map(take_inherited_socket).collect()
        }
        _ => Vec::new(),
    }
}

/// Removes the sockets, and the link to the default one.
pub fn remove(configuration: &Configuration) {
    let Configuration { socket, exec_root, endpoints, .. } = configuration;
    let further = endpoints.iter().filter_map(|endpoint| match endpoint {
        ApiEndpoint::Unix(path) => Some(path.clone()),
        _ => None,
    });
    for file in [socket.clone(), exec_root.join(SOCKET)].into_iter().chain(further) {
        let _ = std::fs::remove_file(file);
    }
}

fn bind(socket: &Path, group: Option<SocketGroup>) -> io::Result<UnixListener> {
    make_directory(socket)?;
    let listener = unix_socket::listen(socket, SocketType::STREAM, MODE, BACKLOG)?;
    if let Some(SocketGroup { number, named }) = group
        && let Err(error) = std::os::unix::fs::chown(socket, None, Some(number))
    {
        if named {
            return Err(error);
        }
        tracing::debug!(socket = %socket.display(), number, %error, "failed to give the socket to the default group");
    }
    Ok(listener.into())
}

fn lead(path: &Path, socket: &Path) -> io::Result<()> {
    make_directory(path)?;
    unix_socket::remove(path)?;
    std::os::unix::fs::symlink(std::path::absolute(socket)?, path)
}

fn make_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)
}
