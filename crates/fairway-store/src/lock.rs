//! The lock file of a store.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::StoreError;
use crate::files::companion_file;

/// The pause between two attempts to take the lock. flock(2) has no timeout, and a thread that blocks in it
/// cannot be interrupted.
const RETRY: Duration = Duration::from_millis(5);

/// An exclusive flock(2) on `<store>.lock`, a file with the process id of the holder. The kernel releases the
/// lock when the process exits. The file stays: if it were removed, two processes could lock two files of the
/// same name.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of the store at `store`, and waits up to `wait` for another process that holds it.
    pub(crate) fn take(store: &Path, wait: Duration) -> Result<Self, StoreError> {
        let path = companion_file(store, ".lock");
        let error = |source| StoreError::io("lock the store with", &path, source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(error)?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(error(source)),
                Err(TryLockError::WouldBlock) if start.elapsed() >= wait => {
                    return Err(StoreError::Locked {
                        path: store.to_owned(),
                        holder: holder(&mut file),
                        waited: wait,
                    });
                }
                Err(TryLockError::WouldBlock) => {
                    thread::sleep(RETRY.min(wait.saturating_sub(start.elapsed())));
                }
            }
        }
        // The name of the holder is for messages; a full disk must not keep a daemon from starting.
        let _ = file.set_len(0).and_then(|()| file.rewind());
        let _ = writeln!(file, "{}", std::process::id());
        Ok(Self { _file: file })
    }
}

/// The holder of the lock, as the lock file names it.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    if file.rewind().and_then(|()| file.read_to_string(&mut text)).is_err() || text.trim().is_empty() {
        return "another process".to_owned();
    }
    let pid = text.trim();
    match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("process {pid} ({})", name.trim()),
        Err(_) => format!("process {pid}"),
    }
}
