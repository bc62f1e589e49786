//! Errors of the store.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

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
        "cannot open the store {}: it has format {found}, and this version reads formats up to {known}: start the newer version again, or move the file away to start with an empty store", path.display()
    )]
    Newer {
        /// The store.
        path: PathBuf,
        /// The format of the store.
        found: u64,
        /// The newest format that this version reads.
        known: u64,
    },
    /// The files of the store are damaged.
    #[error("cannot read the store {}: it is damaged ({reason}): restore it from a backup, or move it away to start with an empty store", path.display())]
    Damaged {
        /// The store.
        path: PathBuf,
        /// The damage that was found.
        reason: String,
    },
    /// The database file is missing and its journal exists: an empty store would overwrite the journal's changes.
    #[error(
        "cannot open the store {}: the file is missing, but its journal {} has changes that belong to it: restore the file from a backup, or move the journal away to start with an empty store", path.display(), journal.display()
    )]
    Missing {
        /// The store.
        path: PathBuf,
        /// The journal.
        journal: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The operation.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: Arc<io::Error>,
    },
    /// A commit failed. No later change can become durable until the store is opened again, since the durable
    /// changes must be a prefix of the submitted ones.
    #[error("cannot write the store {}: repair its file system, then restart the daemon", path.display())]
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

    /// An error of redb while a store is opened or read.
    pub(crate) fn reading(path: &Path, error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::Io(source) if source.kind() != io::ErrorKind::InvalidData => {
                Self::io("read the store", path, source)
            }
            redb::Error::DatabaseAlreadyOpen => Self::Locked {
                path: path.to_owned(),
                holder: "a process that does not take its lock".to_owned(),
                waited: Duration::ZERO,
            },
            other => Self::Damaged { path: path.to_owned(), reason: other.to_string() },
        }
    }
}
