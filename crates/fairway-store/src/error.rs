//! Errors of the store.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::files::FileError;

/// An error of opening, reading or writing a store.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    /// Another process has the store open and did not close it in time.
    #[error("cannot open the store {}: {holder} has held its lock for longer than {waited:?}: stop that process, or wait for it", path.display())]
    Locked {
        /// The store.
        path: PathBuf,
        /// The process that has the store open, as the lock file names it.
        holder: String,
        /// The time that this process waited.
        waited: Duration,
    },
    /// A newer version of Fairway wrote the store.
    #[error(
        "cannot open the store {}: it has format {found}, and this version reads formats up to {known}: start the newer version again, or move its files away to start with an empty store", path.display()
    )]
    Newer {
        /// The store.
        path: PathBuf,
        /// The format of the store.
        found: u64,
        /// The newest format that this version reads.
        known: u64,
    },
    /// The version before wrote the store, and no daemon of this version has migrated it.
    #[error(
        "cannot read the store {}: it has the format of the version before: start the daemon, which migrates it", path.display()
    )]
    Older {
        /// The database of the version before.
        path: PathBuf,
    },
    /// A store of the version before is there, and one of this version that has changes.
    #[error(
        "cannot open the store {}: both it and {} of the version before have changes: move away the files of the one that is out of date", path.display(), old.display()
    )]
    Two {
        /// The store.
        path: PathBuf,
        /// The database of the version before.
        old: PathBuf,
    },
    /// The files of the store are damaged.
    #[error("cannot read the store {}: it is damaged ({reason}): restore its files from a backup, or move them away to start with an empty store", path.display())]
    Damaged {
        /// The store.
        path: PathBuf,
        /// The damage that was found.
        reason: String,
    },
    /// The snapshot is missing and the journal exists: an empty store would overwrite the journal's changes.
    #[error(
        "cannot open the store {}: its snapshot is missing, but its journal {} has changes that belong to it: restore the snapshot from a backup, or move the journal away to start with an empty store", path.display(), journal.display()
    )]
    Missing {
        /// The store.
        path: PathBuf,
        /// The journal.
        journal: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The operation.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Arc<io::Error>,
    },
    /// A commit failed, and none of its changes is in the store.
    #[error(
        "cannot write the store {}: {source}: the change is refused; free space or make the file system writable, and try again", path.display()
    )]
    Write {
        /// The store.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// An error of a file operation.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source: Arc::new(source) }
    }

    /// An error of creating the store at `path`.
    pub(crate) fn creating(path: &Path, FileError { source, .. }: FileError) -> Self {
        Self::io("create the store", path, source)
    }
}
