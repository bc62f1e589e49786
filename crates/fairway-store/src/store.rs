//! The store, and how changes share transactions (group commit).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;

use crate::change::Change;
use crate::disk::{Disk, WriteError};
use crate::error::StoreError;
use crate::lock::{Lock, companion_file};

/// A durable map from keys to records, shared by reference among threads.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
}

/// A submitted change. Its place in the order of changes is fixed; it is durable when [`Ticket::wait`] returns.
/// Dropping a ticket waits too.
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
    /// Notified each time that `Queue::durable` grows or a commit fails.
    settled: Condvar,
    // Declared before the lock, so that the files are closed before the lock is released.
    /// Locked by the thread that commits, and by readers.
    disk: Mutex<Disk>,
    _lock: Lock,
}

#[derive(Debug, Default)]
struct Queue {
    /// Changes that are not yet in a transaction, in order.
    waiting: Vec<Change>,
    /// The number of the last submitted change.
    submitted: u64,
    /// The number of the last durable change.
    durable: u64,
    /// Whether a thread is committing.
    committing: bool,
    /// The error after which all commits fail.
    failed: Option<StoreError>,
}

impl Store {
    /// Opens the store at `path`, or creates an empty one (mode 0600, with `<path>.journal` and `<path>.lock`).
    /// Waits up to `wait` for another process that has the store open.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if the other process keeps the store open, [`StoreError::Newer`],
    /// [`StoreError::Damaged`] and [`StoreError::Missing`] if the files cannot be used, [`StoreError::Io`] if a file
    /// operation fails. Nothing is changed then.
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

    /// Deletes the files of the store at `path`, if there are any. No process may have the store open.
    ///
    /// # Errors
    /// [`StoreError::Io`] if a file cannot be deleted.
    pub fn delete(path: &Path) -> Result<(), StoreError> {
        for suffix in ["", ".journal", ".lock"] {
            let file = companion_file(path, suffix);
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

    /// Puts a change behind all changes submitted before. Returns at once: a caller submits under the lock that
    /// decides the order, and releases that lock before it waits.
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
    /// Waits until the change and all changes submitted before it are on disk.
    ///
    /// # Errors
    /// [`StoreError::Write`] if this change or one before it could not be written. The change may or may not exist
    /// when the store is opened again; until then the store refuses every change.
    pub fn wait(self) -> Result<(), StoreError> {
        self.shared.settle(self.number)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // An error is kept and returned to every later change.
        let _ = self.shared.settle(self.number);
    }
}

impl Shared {
    /// A thread that panicked under the lock left the queue consistent: no statement between two that belong
    /// together can panic.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until change `number` is durable. A thread that finds no commit in progress commits all waiting
    /// changes, those of other threads too, so that a single change needs no switch of threads.
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

/// Publishes the result of a commit to the waiting threads, also after a panic: else they would wait for ever.
struct Outcome<'a> {
    shared: &'a Shared,
    last: u64,
    error: Option<WriteError>,
}

/// The error of changes whose committing thread panicked.
#[derive(Debug, Error)]
#[error("the thread that wrote it panicked: see the log")]
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
