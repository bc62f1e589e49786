//! The lock that is held while an on-demand daemon is started or removes what it made: a flock(2) on its exec root.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fairway_kernel::trusted_directory;
use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, FdFlags, fcntl_setfd, retry_on_intr};
use thiserror::Error;

/// How often the directory may be deleted while the lock is being taken.
const ATTEMPTS: usize = 100;

/// Why the lock cannot be taken.
#[derive(Debug, Error)]
pub enum LockError {
    /// The directory cannot be made, or others may change it.
    #[error("cannot start an on-demand daemon: {0}")]
    Directory(#[from] trusted_directory::Error),
    /// The kernel refuses.
    #[error("cannot start an on-demand daemon: cannot lock {}: {source}", path.display())]
    Refused {
        /// The directory.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

/// The lock; dropping it releases it.
#[derive(Debug)]
pub struct StartLock(File);

impl StartLock {
    /// Waits for the lock of an exec root, which is created.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn take(exec_root: &Path) -> Result<Self, LockError> {
        let refused = |source| LockError::Refused { path: exec_root.to_owned(), source };
        for _ in 0..ATTEMPTS {
            match trusted_directory::ensure(exec_root) {
                // Deleted by the daemon before.
                Err(trusted_directory::Error::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound =>
                {
                    continue;
                }
                done => done?,
            }
            if let Some(lock) = take(exec_root, FlockOperation::LockExclusive).map_err(refused)? {
                return Ok(lock);
            }
        }
        Err(refused(io::ErrorKind::NotFound.into()))
    }

    /// Takes the lock if it is free.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn try_take(exec_root: &Path) -> Result<Option<Self>, LockError> {
        take(exec_root, FlockOperation::NonBlockingLockExclusive)
            .map_err(|source| LockError::Refused { path: exec_root.to_owned(), source })
    }

    /// Has the lock go on in the program that this process executes next, until that ends.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn keep_across_execution(&self) -> io::Result<()> {
        Ok(fcntl_setfd(&self.0, FdFlags::empty())?)
    }
}

/// Takes the lock of a directory; none if it is held or the directory is deleted.
fn take(directory: &Path, operation: FlockOperation) -> io::Result<Option<StartLock>> {
    let file = match File::open(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match retry_on_intr(|| flock(&file, operation)) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        done => done?,
    }
    let own = file.metadata()?;
    let is_there =
        std::fs::metadata(directory).is_ok_and(|found| (found.dev(), found.ino()) == (own.dev(), own.ino()));
    Ok(is_there.then_some(StartLock(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("fairway");
        assert!(StartLock::try_take(&directory).unwrap().is_none(), "no directory");
        let lock = StartLock::take(&directory).unwrap();
        assert!(StartLock::try_take(&directory).unwrap().is_none(), "held");
        drop(lock);
        assert!(StartLock::try_take(&directory).unwrap().is_some());
    }

    #[test]
    fn a_lock_of_a_directory_that_was_deleted_meanwhile_is_none() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("fairway");
        let lock = StartLock::take(&directory).unwrap();
        let waiting = {
            let directory = directory.clone();
            std::thread::spawn(move || StartLock::take(&directory).unwrap())
        };
        std::thread::sleep(std::time::Duration::from_millis(50));
        std::fs::remove_dir(&directory).unwrap();
        drop(lock);
        let lock = waiting.join().unwrap();
        assert!(StartLock::try_take(&directory).unwrap().is_none(), "held, of the new directory");
        drop(lock);
    }
}
