//! The connection to the relay, and starting one.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use fairway_core::model::Protocol;
use fairway_relay::client::{ClientError, RelayClient};
use fairway_relay::table::{Carried, Change, Held, Hello};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::ApplyError;

/// Starts a relay that serves a listening socket. Given by the program, for only it knows how to
/// run itself as a relay.
pub type StartRelay = Box<dyn Fn(OwnedFd) -> io::Result<()> + Send + Sync>;

/// The relay, as the engine reaches it.
pub(crate) struct RelayLink {
    path: PathBuf,
    start: StartRelay,
    client: RwLock<Arc<RelayClient>>,
}

impl RelayLink {
    /// Finds the relay that a former daemon left, or starts one. With it come the records that it
    /// has, and duplicates of their sockets.
    pub fn find_or_start(path: PathBuf, start: StartRelay) -> Result<(Self, Vec<Held>), ApplyError> {
        let found = RelayClient::connect(&path)
            .and_then(|client| client.recover().map(|held| (client, held)))
            .inspect_err(|reason| tracing::debug!(%reason, "no relay to take over"));
        let (client, held) = match found {
            Ok(found) => found,
            Err(_) => (start_at(&path, &start)?, Vec::new()),
        };
        Ok((Self { path, start, client: RwLock::new(Arc::new(client)) }, held))
    }

    /// Changes the relay's table.
    pub fn apply(&self, changes: Vec<Change>) -> Result<(), ClientError> {
        self.client().apply(changes)
    }

    /// What was carried through each port.
    pub fn carried(&self) -> Result<Vec<(Protocol, SocketAddr, Carried)>, ClientError> {
        self.client().carried()
    }

    /// What the relay said of itself.
    pub fn hello(&self) -> Hello {
        self.client().hello().clone()
    }

    /// Whether the relay answers.
    pub fn answers(&self) -> bool {
        self.client().apply(Vec::new()).is_ok()
    }

    /// Replaces a relay that does not answer, and tells the new one what `told` says. Everybody else
    /// waits until it knows.
    pub fn restart(&self, told: impl FnOnce() -> Vec<Change>) -> Result<(), ApplyError> {
        let mut client = self.client.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have been faster.
        if client.apply(Vec::new()).is_err() {
            *client = Arc::new(start_at(&self.path, &self.start)?);
        }
        Ok(client.apply(told())?)
    }

    fn client(&self) -> Arc<RelayClient> {
        Arc::clone(&self.client.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn start_at(path: &Path, start: &StartRelay) -> Result<RelayClient, ApplyError> {
    let listener = listen(path).map_err(ApplyError::StartRelay)?;
    start(listener).map_err(ApplyError::StartRelay)?;
    Ok(RelayClient::connect(path)?)
}

/// Makes the control socket, which only our own user may connect to.
fn listen(path: &Path) -> io::Result<OwnedFd> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let kind = SocketType::SEQPACKET;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    rustix::net::listen(&socket, 4)?;
    tracing::debug!(descriptor = socket.as_raw_fd(), "the relay's control socket listens");
    Ok(socket)
}
