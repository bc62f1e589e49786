//! The daemon's socket.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Who may command the daemon: its user and its group.
const MODE: u32 = 0o660;

/// Why the daemon has no socket.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Somebody answers there.
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

/// Makes the socket, in place of one that nobody answers at any more.
///
/// # Errors
/// Another daemon has it, or the system refuses.
pub fn listen(path: &Path) -> Result<UnixListener, ListenError> {
    if UnixStream::connect(path).is_ok() {
        return Err(ListenError::Taken(path.to_owned()));
    }
    let refused = |source| ListenError::Refused { path: path.to_owned(), source };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(refused)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refused(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(refused)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE)).map_err(refused)?;
    Ok(listener)
}
