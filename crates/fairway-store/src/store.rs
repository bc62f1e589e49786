//! The store, and how changes share a write (group commit).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::change::{Change, Records};
use crate::disk::{self, Disk};
use crate::error::StoreError;
use crate::files::companion_file;
use crate::{legacy, lock::Lock};

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
    batch: Arc<Batch>,
    number: u64,
}

/// A time in which nothing can be written.
#[derive(Debug, Clone)]
pub struct Outage {
    /// When the first write failed.
    pub since: Instant,
    /// Why the last one failed.
    pub error: StoreError,
}

/// What a store did since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// How many changes were submitted.
    pub submitted: u64,
    /// How many writes were tried; changes that arrive together share one.
    pub writes: u64,
    /// How long they took together.
    pub writing: Duration,
    /// Whether the last one failed.
    pub fails: bool,
    /// The size of the files in bytes.
    pub bytes: u64,
}

/// The result of changes that are written together; none before it is known.
type Batch = OnceLock<Result<(), StoreError>>;

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    queue: Mutex<Queue>,
    /// Notified each time that a batch has its result.
    settled: Condvar,
    // Declared before the lock, so that the files are closed before the lock is released.
    /// Locked by the thread that commits, and by readers.
    disk: Mutex<Disk>,
    _lock: Lock,
}

#[derive(Debug, Default)]
struct Queue {
    /// Changes that are not yet written, in order.
    waiting: Vec<Change>,
    /// The batch of the waiting changes.
    batch: Arc<Batch>,
    /// How many changes were submitted.
    submitted: u64,
    /// How many writes were tried.
    writes: u64,
    /// How long they took together.
    writing: Duration,
    /// Whether a thread is committing.
    committing: bool,
    /// Whether a change failed, and the caller has not taken it back.
    refuses: bool,
    /// Since when and why nothing can be written.
    outage: Option<Outage>,
}

impl Store {
    /// Opens the store at `path`, or creates an empty one. Its files are `path` with the suffixes `.snapshot`, `.journal`
    /// and `.lock`, mode 0600. A store of the version before, `path` with the suffix `.redb`, is migrated, and its
    /// database renamed. Waits up to `wait` for another process that has the store open.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if the other process keeps the store open, [`StoreError::Newer`],
    /// [`StoreError::Damaged`], [`StoreError::Missing`] and [`StoreError::Two`] if the files cannot be used,
    /// [`StoreError::Io`] if a file operation fails. Nothing is changed then.
    pub fn open(path: impl AsRef<Path>, wait: Duration) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let lock = Lock::take(path, wait)?;
        let disk = Disk::open(path, wait)?;
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

    /// Whether there are files of a store at `path`.
    pub fn exists(path: &Path) -> bool {
        let files = [".snapshot", ".journal", ".redb", ".redb.journal"];
        files.iter().any(|suffix| companion_file(path, suffix).exists())
    }

    /// Deletes the files of the store at `path`, if there are any. No process may have the store open.
    ///
    /// # Errors
    /// [`StoreError::Io`] if a file cannot be deleted.
    pub fn delete(path: &Path) -> Result<(), StoreError> {
        // The snapshot last but for the lock: a journal without it is refused.
        let own = [".snapshot.new", ".journal", ".snapshot", ".lock"];
        for suffix in legacy::SUFFIXES.iter().chain(&own) {
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

    /// Reads all records of the store at `path`, and verifies its files. Changes nothing and takes no lock: another
    /// process may have the store open, and write to it.
    ///
    /// # Errors
    /// Those of [`Store::open`] for files that cannot be used, and [`StoreError::Older`] for the format before.
    pub fn read(path: &Path) -> Result<Records, StoreError> {
        disk::read(path)
    }

    /// All durable records.
    pub fn load(&self) -> Records {
        self.shared.disk().records().clone()
    }

    /// Puts a change behind all changes submitted before. Returns at once: a caller submits under the lock that
    /// decides the order, and releases that lock before it waits.
    ///
    /// From a failure until [`Store::resume`] every change fails: it may rest on the one that failed.
    pub fn submit(&self, change: Change) -> Ticket {
        let mut queue = self.shared.queue();
        queue.submitted += 1;
        let batch = match &queue.outage {
            Some(outage) if queue.refuses => Arc::new(OnceLock::from(Err(outage.error.clone()))),
            _ => {
                queue.waiting.push(change);
                Arc::clone(&queue.batch)
            }
        };
        Ticket { shared: Arc::clone(&self.shared), batch, number: queue.submitted }
    }

    /// Accepts changes again after a failure: the caller has taken back all changes that failed.
    pub fn resume(&self) {
        self.shared.queue().refuses = false;
    }

    /// Submits a change on which no other rests, and waits until it is durable.
    ///
    /// # Errors
    /// Those of [`Ticket::wait`]. The next change tries again.
    pub fn commit(&self, change: Change) -> Result<(), StoreError> {
        self.submit(change).wait().inspect_err(|_| self.resume())
    }

    /// Since when and why nothing can be written; none if the store is well. If the last change failed, tries to write
    /// again before it answers.
    pub fn health(&self) -> Option<Outage> {
        let fails = self.shared.queue().outage.is_some();
        if fails {
            // The outcome is in the outage.
            let _ = self.commit(Change::default());
        }
        self.shared.queue().outage.clone()
    }

    /// What the store did since it was opened. Waits for no write.
    pub fn statistics(&self) -> Statistics {
        let size = |suffix| std::fs::metadata(companion_file(&self.shared.path, suffix)).map(|it| it.len());
        let bytes = [".snapshot", ".journal"].into_iter().filter_map(|suffix| size(suffix).ok()).sum();
        let queue = self.shared.queue();
        let (submitted, writes, writing) = (queue.submitted, queue.writes, queue.writing);
        Statistics { submitted, writes, writing, fails: queue.outage.is_some(), bytes }
    }
}

impl Ticket {
    /// Waits until the change and all changes submitted before it are on disk.
    ///
    /// # Errors
    /// [`StoreError::Write`] if the change could not be written, or was submitted while one before it failed. It is not in
    /// the store then, and after [`Store::resume`] the next change tries again.
    pub fn wait(&self) -> Result<(), StoreError> {
        self.shared.settle(&self.batch)
    }

    /// The outcome, as far as it is known.
    pub fn outcome(&self) -> Option<Result<(), StoreError>> {
        self.batch.get().cloned()
    }

    /// The place in the order of the submitted changes.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // A caller that does not wait does not ask for the outcome.
        let _ = self.shared.settle(&self.batch);
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

    /// Waits for the result of a batch. A thread that finds no commit in progress commits all waiting changes, those of
    /// other threads too, so that a single change needs no switch of threads.
    fn settle(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut queue = self.queue();
        loop {
            if let Some(result) = batch.get() {
                return result.clone();
            }
            if queue.committing {
                queue = self.settled.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.committing = true;
            let changes = std::mem::take(&mut queue.waiting);
            let batch = std::mem::take(&mut queue.batch);
            drop(queue);
            let error = Some(Arc::new(Interrupted) as WriteError);
            let mut outcome = Outcome { shared: self, batch, error, since: Instant::now() };
            outcome.error = self.disk().write(changes).err().map(|error| Arc::new(error) as WriteError);
            drop(outcome);
            queue = self.queue();
        }
    }
}

/// The error of a write, shared by the changes that waited for it.
type WriteError = Arc<dyn std::error::Error + Send + Sync>;

/// Publishes the result of a commit to the waiting threads, also after a panic: else they would wait for ever.
struct Outcome<'a> {
    shared: &'a Shared,
    batch: Arc<Batch>,
    error: Option<WriteError>,
    since: Instant,
}

/// The error of changes whose committing thread panicked.
#[derive(Debug, Error)]
#[error("the thread that wrote it panicked: see the log")]
struct Interrupted;

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.committing = false;
        queue.writes += 1;
        queue.writing += self.since.elapsed();
        match self.error.take() {
            None => {
                let _ = self.batch.set(Ok(()));
                queue.outage = None;
            }
            Some(source) => {
                let error = StoreError::Write { path: self.shared.path.clone(), source };
                let since = queue.outage.as_ref().map_or_else(Instant::now, |outage| outage.since);
                queue.outage = Some(Outage { since, error: error.clone() });
                let _ = self.batch.set(Err(error.clone()));
                // What was submitted meanwhile may rest on what failed.
                queue.waiting.clear();
                queue.refuses = true;
                let _ = std::mem::take(&mut queue.batch).set(Err(error));
            }
        }
        self.shared.settled.notify_all();
    }
}

#[cfg(test)]
mod tests;
