//! The store itself, and how changes share transactions.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;

use crate::StoreError;
use crate::disk::{Disk, WriteError};
use crate::lock::{Lock, beside};

/// What becomes durable together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Records that are written, by key; one that exists is replaced.
    pub put: Vec<(String, Vec<u8>)>,
    /// Keys whose records go, before those above are written. One without a record is no error.
    pub delete: Vec<String>,
}

/// The durable map. It is shared by reference among threads.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

/// A change that was submitted. It takes its place in the order of changes by that, and is durable
/// when [`Ticket::wait`] says so. A ticket that is dropped waits too.
#[derive(Debug)]
#[must_use = "the change is durable only once `wait` has returned"]
pub struct Ticket {
    shared: Arc<Shared>,
    number: u64,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    queue: Mutex<Queue>,
    /// Told each time that `Queue::durable` grew or a commit failed.
    settled: Condvar,
    // Declared before the lock, so that it is closed before the lock is let go.
    /// Taken by the one that commits, and by readers.
    disk: Mutex<Disk>,
    _lock: Lock,
}

#[derive(Debug, Default)]
struct Queue {
    /// Changes that no transaction has taken yet, in order.
    waiting: Vec<Change>,
    /// The number of the last change that was submitted.
    submitted: u64,
    /// The number of the last change that is durable.
    durable: u64,
    /// Whether some thread is committing.
    committing: bool,
    /// The error that ended all commits.
    failed: Option<StoreError>,
}

impl Store {
    /// Opens the store at `path`, or makes an empty one there (mode 0600, with
    /// `<path>.journal` and `<path>.lock` beside it). Waits up to `wait` for another process that has it open.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when the other process keeps it, [`StoreError::Newer`] and
    /// [`StoreError::Damaged`] when the file is not one that can be read, [`StoreError::Io`] when
    /// the file system refuses. Nothing is changed then.
    pub fn open(path: impl AsRef<Path>, wait: Duration) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let lock = Lock::take(path, wait)?;
        let disk = Disk::open(path)?;
        Ok(Self {
            shared: Arc::new(Shared {
                path: path.to_owned(),
                queue: Mutex::default(),
                settled: Condvar::new(),
                disk: Mutex::new(disk),
                _lock: lock,
            }),
        })
    }

    /// Deletes the files of the store at `path`; that there are none is fine. No process may have it open.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the file system refuses.
    pub fn delete(path: &Path) -> Result<(), StoreError> {
        for suffix in ["", ".journal", ".lock"] {
            let file = beside(path, suffix);
            match std::fs::remove_file(&file) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::io("delete", &file, source));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// All durable records, in the order of their keys.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] and [`StoreError::Io`].
    pub fn load(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let disk = self.shared.disk();
        disk.read().map_err(|error| StoreError::reading(&self.shared.path, error))
    }

    /// Gives a change its place after all that were submitted before. Returns at once; to be called
    /// under the lock that decides the order, which can then be let go before waiting.
    pub fn submit(&self, change: Change) -> Ticket {
        let mut queue = self.shared.queue();
        queue.waiting.push(change);
        queue.submitted += 1;
        Ticket { shared: Arc::clone(&self.shared), number: queue.submitted }
    }

    /// Submits a change and waits until it is durable.
    ///
    /// # Errors
    /// Those of [`Ticket::wait`].
    pub fn commit(&self, change: Change) -> Result<(), StoreError> {
        self.submit(change).wait()
    }
}

impl Ticket {
    /// Returns when the change, and each that was submitted before it, is on the disk.
    ///
    /// # Errors
    /// [`StoreError::Write`] when it, or one before it, could not be written. It is not known
    /// then whether it will be there when the store is opened again. From then on the store
    /// refuses everything.
    pub fn wait(self) -> Result<(), StoreError> {
        self.shared.settle(self.number)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // Its error, if there is one, is remembered and given to every change after it.
        let _ = self.shared.settle(self.number);
    }
}

impl Shared {
    /// A thread that panicked while it held the lock has left the queue whole, for no statement
    /// under the lock can panic between two that belong together.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until change `number` is durable. Whoever finds nobody committing commits all that
    /// waits, for the others too: a lone change costs no change of threads.
    fn settle(&self, number: u64) -> Result<(), StoreError> {
        let mut queue = self.queue();
        loop {
            if queue.durable >= number {
                return Ok(());
            }
            if let Some(error) = &queue.failed {
                return Err(error.clone());
            }
            if queue.committing {
                queue = self.settled.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.committing = true;
            let changes = std::mem::take(&mut queue.waiting);
            let last = queue.submitted;
            drop(queue);
            let outcome = Outcome { shared: self, last, error: Some(Arc::new(Interrupted)) };
            outcome.settle(self.disk().write(changes));
            queue = self.queue();
        }
    }
}

/// Tells those that wait how a commit ended, also if that was by a panic: they would wait for ever.
struct Outcome<'a> {
    shared: &'a Shared,
    last: u64,
    error: Option<WriteError>,
}

/// The thread that committed panicked.
#[derive(Debug, Error)]
#[error("the thread that wrote it failed: the log says where")]
struct Interrupted;

impl Outcome<'_> {
    fn settle(mut self, result: Result<(), WriteError>) {
        self.error = result.err();
    }
}

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.committing = false;
        match self.error.take() {
            None => queue.durable = self.last,
            Some(source) => {
                queue.failed = Some(StoreError::Write { path: self.shared.path.clone(), source });
            }
        }
        self.shared.settled.notify_all();
    }
}

#[cfg(test)]
mod tests;
