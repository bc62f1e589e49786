//! Where an on-demand daemon has its files.

use std::path::{Path, PathBuf};

use super::{LOG, has_other_networks};
use crate::daemon::configuration::{EXEC_ROOT, ON_DEMAND};
use crate::daemon::{endpoint, listen};

/// Where an on-demand daemon has its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The socket.
    pub socket: PathBuf,
    /// The exec root. The data root is below it.
    pub exec_root: PathBuf,
}

impl Location {
    /// Where the daemon of the system listens too, so that all clients find one daemon.
    pub fn system() -> Self {
        Self::of(Path::new(EXEC_ROOT))
    }

    /// That of a daemon with this exec root.
    pub fn of(exec_root: &Path) -> Self {
        let socket = match exec_root == Path::new(EXEC_ROOT) {
            true => PathBuf::from(endpoint::DEFAULT_SOCKET),
            false => exec_root.join(listen::SOCKET),
        };
        Self { socket, exec_root: exec_root.to_owned() }
    }

    /// The data root.
    pub fn data_root(&self) -> PathBuf {
        self.exec_root.join(ON_DEMAND)
    }

    /// The log of the daemon.
    pub fn log(&self) -> PathBuf {
        self.data_root().join(LOG)
    }

    /// Whether the networks of a stopped daemon of the system go on here, so that no on-demand daemon can start.
    pub fn is_taken(&self) -> bool {
        has_other_networks(&self.data_root(), &self.exec_root)
    }

    /// Whether networks of a daemon that runs no more are here.
    pub fn has_remains(&self) -> bool {
        fairway_engine::has_store(&self.data_root()) || fairway_engine::has_relay(&self.exec_root)
    }

    /// The socket as clients name it.
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }
}
