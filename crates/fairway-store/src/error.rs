//! Why the store cannot be opened, read or written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

/// Why the store cannot be opened, read or written.
#[derive(Debug, Clone, Error)]
pub enum StoreError {
    /// Another process has it open, and did not let go in time.
    #[error("the store {} is in use by {holder}, for longer than {waited:?}: stop it or wait for it", path.display())]
    Locked {
        /// The store.
        path: PathBuf,
        /// Who has it, as far as the lock file says.
        holder: String,
        /// How long was waited.
        waited: Duration,
    },
    /// A newer Fairway wrote it.
    #[error(
        "the store {} has format {found}, this Fairway knows formats up to {known}: start the newer one again, or move the file away to begin anew", path.display()
    )]
    Newer {
        /// The store.
        path: PathBuf,
        /// The format that it has.
        found: u64,
        /// The newest format that this program knows.
        known: u64,
    },
    /// What is on the disk is not what was written.
    #[error("the store {} is damaged ({reason}): restore it from a backup, or move it away to begin anew", path.display())]
    Damaged {
        /// The store.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The store is gone and its journal is not: an empty store would overwrite the last changes of the old one.
    #[error(
        "cannot open the store {}: the file is missing, but its journal {} has changes that belong to it: restore the file from a backup, or move the journal away to begin anew", path.display(), journal.display()
    )]
    Missing {
        /// The store.
        path: PathBuf,
        /// The journal that is there.
        journal: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it was refused.
        #[source]
        source: Arc<io::Error>,
    },
    /// A commit failed. Nothing after it can be durable until the store is opened again, for
    /// what is durable must be a prefix of what was submitted.
    #[error("cannot write the store {}: see to its file system, then start again", path.display())]
    Write {
        /// The store.
        path: PathBuf,
        /// Why it was refused.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl StoreError {
    /// An operation on a file that the file system refused.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source: Arc::new(source) }
    }

    /// What redb says while a store is opened or read.
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
