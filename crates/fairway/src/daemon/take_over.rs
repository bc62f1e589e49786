//! A daemon takes the place of an on-demand daemon.

use std::path::Path;
use std::time::{Duration, Instant};

use fairway_api::ClientError;
use thiserror::Error;

use super::configuration::Configuration;
use super::on_demand::{Location, LockError, Precedence, StartError, StartLock, answering, start};

/// How long an on-demand daemon may take to remove what it made.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long an on-demand daemon has for taking the lock.
const GLANCE: Duration = Duration::from_millis(300);

/// Why a daemon cannot take the place of an on-demand daemon.
#[derive(Debug, Error)]
pub enum TakeOverError {
    /// It has sandboxes.
    #[error("failed to start daemon: {0}")]
    InUse(String),
    /// It does not end.
    #[error(
        "failed to start daemon: the on-demand daemon at {0} does not end within {seconds} seconds: see its log",
        seconds = PATIENCE.as_secs()
    )]
    DoesNotEnd(String),
    /// An on-demand daemon was killed, and another one cannot be started to remove what it left.
    #[error("failed to start daemon: an on-demand daemon was killed and left networks: {0}")]
    Start(#[from] StartError),
    /// Whether one is being started cannot be found out.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// Has the on-demand daemon at the place of a daemon end, if there is one, and waits until all that it made is gone. For
/// one that was killed, another one does so. Until what is returned is dropped no face starts another one.
///
/// # Errors
/// It has sandboxes, or does not end.
pub(super) fn take_over(configuration: &Configuration) -> Result<(StartLock, Precedence), TakeOverError> {
    let location = Location::of(&configuration.exec_root);
    let precedence = Precedence::take(&location.exec_root)?;
    let since = Instant::now();
    while since.elapsed() < PATIENCE {
        let lock = StartLock::take(&location.exec_root)?;
        if !fairway_engine::has_store(&location.data_root()) {
            return Ok((lock, precedence));
        }
        let mut client = match answering(&location.address()).map_err(StartError::Client)? {
            Some(client) => client,
            None => start(Path::new("/proc/self/exe"), &location, &lock)?,
        };
        match client.end() {
            Ok(()) => tracing::info!("waiting for the end of the on-demand daemon at {}", location.address()),
            // It ends already.
            Err(ClientError::Lost { .. } | ClientError::NotRunning { .. }) => {}
            Err(ClientError::Refused { status: 409, message }) => return Err(TakeOverError::InUse(message)),
            // Another daemon, which the attempt to listen finds.
            Err(_) => return Ok((lock, precedence)),
        }
        // It takes the lock to end.
        drop(lock);
        std::thread::sleep(GLANCE);
    }
    Err(TakeOverError::DoesNotEnd(location.address()))
}
