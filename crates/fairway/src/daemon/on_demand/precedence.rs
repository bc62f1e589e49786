//! The precedence of a daemon of the system over faces: while it waits for the end of an on-demand daemon, no face starts
//! another one. Without it faces that ask again and again could be first each time.

use std::fs::File;
use std::path::{Path, PathBuf};

use fairway_kernel::trusted_directory;
use rustix::fs::{FlockOperation, flock};
use rustix::io::retry_on_intr;

use super::LockError;

/// The file in the exec root that is locked.
const FILE: &str = "take-over";

/// The precedence, until this is dropped.
#[derive(Debug)]
pub struct Precedence {
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

impl Precedence {
    /// Locks the file of an exec root, which is created.
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn take(exec_root: &Path) -> Result<Self, LockError> {
        let path = exec_root.join(FILE);
        let refused = |source| LockError::Refused { path: path.clone(), source };
        trusted_directory::ensure(exec_root)?;
        let file = File::create(&path).map_err(refused)?;
        retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))
            .map_err(|errno| refused(errno.into()))?;
        Ok(Self { path, _file: file })
    }

    /// Waits until no daemon holds the lock.
    pub fn respect(exec_root: &Path) {
        if let Ok(file) = File::open(exec_root.join(FILE)) {
            // What cannot be locked is not waited for: the daemon tries again.
            let _ = retry_on_intr(|| flock(&file, FlockOperation::LockShared));
        }
    }

    /// Deletes the file of a daemon that was killed while it held the lock.
    pub fn forget(exec_root: &Path) {
        let _ = std::fs::remove_file(exec_root.join(FILE));
    }
}

impl Drop for Precedence {
    fn drop(&mut self) {
        // Those that wait have it open.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn faces_wait_until_it_is_given_up() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("fairway");
        Precedence::respect(&directory);
        let precedence = Precedence::take(&directory).unwrap();
        let (send, passed) = channel();
        let face = {
            let directory = directory.clone();
            std::thread::spawn(move || {
                Precedence::respect(&directory);
                send.send(()).unwrap();
            })
        };
        assert!(passed.recv_timeout(Duration::from_millis(100)).is_err());
        drop(precedence);
        assert!(passed.recv_timeout(Duration::from_secs(10)).is_ok());
        face.join().unwrap();
        assert_eq!(std::fs::read_dir(directory).unwrap().count(), 0);
    }
}
