//! The files of a store, and the operations on them that can fail.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

#[cfg(test)]
use crate::faults::Faults;

/// The path of a file that belongs to the store: the store's path with a suffix.
pub(crate) fn companion_file(store: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(store);
    name.push(suffix);
    PathBuf::from(name)
}

/// A file operation that failed.
#[derive(Debug, Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub(crate) struct FileError {
    pub(crate) action: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

/// The paths of a store's files. All writes go through here, so that tests can let each of them fail.
#[derive(Debug)]
pub(crate) struct Files {
    /// All records up to one of the journal.
    pub(crate) snapshot: PathBuf,
    /// The next snapshot, while it is written.
    pub(crate) draft: PathBuf,
    /// The changes since the snapshot.
    pub(crate) journal: PathBuf,
    #[cfg(test)]
    pub(crate) faults: Faults,
}

impl Files {
    pub(crate) fn of(store: &Path) -> Self {
        Self {
            snapshot: companion_file(store, ".snapshot"),
            draft: companion_file(store, ".snapshot.new"),
            journal: companion_file(store, ".journal"),
            #[cfg(test)]
            faults: Faults::default(),
        }
    }

    /// Creates an empty file that only its owner can read, or empties it.
    pub(crate) fn create(&self, path: &Path) -> Result<File, FileError> {
        self.perform("create", path, || {
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
        })
    }

    /// Writes at an offset.
    pub(crate) fn write(&self, path: &Path, file: &File, bytes: &[u8], place: u64) -> Result<(), FileError> {
        #[cfg(test)]
        if self.faults.tears() {
            // What a write leaves that fails halfway.
            let _ = file.write_all_at(&bytes[..bytes.len() / 2], place);
        }
        self.perform("write", path, || file.write_all_at(bytes, place))
    }

    /// Waits until the content of a file is on disk.
    pub(crate) fn sync(&self, path: &Path, file: &File) -> Result<(), FileError> {
        self.perform("sync", path, || file.sync_data())
    }

    /// Puts the draft in the place of the snapshot, durably.
    pub(crate) fn publish_draft(&self) -> Result<(), FileError> {
        self.rename(&self.draft, &self.snapshot)
    }

    /// Renames a file in the directory of the store, durably.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        self.perform("rename", from, || fs::rename(from, to))?;
        self.sync_directory()
    }

    /// Waits until names in the directory of the store are on disk.
    pub(crate) fn sync_directory(&self) -> Result<(), FileError> {
        let parent = self.snapshot.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = parent.unwrap_or(Path::new("."));
        self.perform("sync", directory, || File::open(directory)?.sync_all())
    }

    fn perform<T>(
        &self,
        action: &'static str,
        path: &Path,
        operation: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, FileError> {
        #[cfg(test)]
        let operation = || self.faults.next(action, path).map_or_else(operation, Err);
        operation().map_err(|source| FileError { action, path: path.to_owned(), source })
    }
}
