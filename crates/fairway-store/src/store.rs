//! The store itself, and how changes share transactions.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableHandle};

use crate::StoreError;
use crate::lock::{Lock, beside};

/// The format that this program writes.
const FORMAT: u64 = 1;
/// What redb keeps in memory of the file. A World of a thousand sandboxes is a few megabytes.
const CACHE_BYTES: usize = 16 << 20;

const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");
const FORMAT_KEY: &str = "format";

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
    database: Database,
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
    /// Opens the store at `path`, or makes an empty one there (mode 0600, with `<path>.lock` beside
    /// it). Waits up to `wait` for another process that has it open.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when the other process keeps it, [`StoreError::Newer`] and
    /// [`StoreError::Damaged`] when the file is not one that can be read, [`StoreError::Io`] when
    /// the file system refuses. Nothing is changed then.
    pub fn open(path: impl AsRef<Path>, wait: Duration) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let lock = Lock::take(path, wait)?;
        if !path.try_exists().map_err(|source| StoreError::io("open the store", path, source))? {
            create(path)?;
        }
        let database = open_database(path)?;
        check_format(path, &database)?;
        Ok(Self {
            shared: Arc::new(Shared {
                path: path.to_owned(),
                queue: Mutex::default(),
                settled: Condvar::new(),
                database,
                _lock: lock,
            }),
        })
    }

    /// All durable records, in the order of their keys.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] and [`StoreError::Io`].
    pub fn load(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        read_records(&self.shared.database).map_err(|error| StoreError::reading(&self.shared.path, error))
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
            let result = write_changes(&self.database, &changes);
            queue = self.queue();
            queue.committing = false;
            match result {
                Ok(()) => queue.durable = last,
                Err(source) => {
                    queue.failed =
                        Some(StoreError::Write { path: self.path.clone(), source: Arc::new(source) });
                }
            }
            self.settled.notify_all();
        }
    }
}

/// Makes an empty store under another name and moves it into place, so that a crash leaves either
/// none or a whole one.
fn create(path: &Path) -> Result<(), StoreError> {
    let draft = beside(path, ".new");
    let error = |source| StoreError::io("make the store", path, source);
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft).map_err(error)?;
    let database = Database::builder().create(&draft).map_err(|error| StoreError::reading(&draft, error))?;
    write_format(&database, FORMAT).map_err(|error| StoreError::reading(&draft, error))?;
    drop(database);
    fs::rename(&draft, path).map_err(error)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new("."))).and_then(|it| it.sync_all()).map_err(error)
}

/// Opens the file and checks all of it: a damaged page is found now, not when it is met.
fn open_database(path: &Path) -> Result<Database, StoreError> {
    Database::builder()
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true)
        .open(path)
        .map_err(|error| StoreError::reading(path, error))
}

fn check_format(path: &Path, database: &Database) -> Result<(), StoreError> {
    match read_format(database).map_err(|error| StoreError::reading(path, error))? {
        Some(found) if found > FORMAT => {
            Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT })
        }
        Some(_) => Ok(()),
        None => Err(StoreError::Damaged {
            path: path.to_owned(),
            reason: "it does not say its format".to_owned(),
        }),
    }
}

fn read_format(database: &Database) -> Result<Option<u64>, redb::Error> {
    let transaction = database.begin_read()?;
    if !transaction.list_tables()?.any(|table| table.name() == ABOUT.name()) {
        return Ok(None);
    }
    Ok(transaction.open_table(ABOUT)?.get(FORMAT_KEY)?.map(|format| format.value()))
}

fn write_format(database: &Database, format: u64) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(ABOUT)?.insert(FORMAT_KEY, format)?;
    transaction.open_table(RECORDS)?;
    transaction.commit()?;
    Ok(())
}

fn read_records(database: &Database) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
    let table = database.begin_read()?.open_table(RECORDS)?;
    table
        .iter()?
        .map(|entry| {
            let (key, value) = entry?;
            Ok((key.value().to_owned(), value.value().to_owned()))
        })
        .collect()
}

/// Writes changes in order, as one transaction, synced. redb's defaults are what is fastest here:
/// one sync per commit (pages carry checksums, so a torn commit is seen and rolled back), against
/// two with two-phase commits, and more pages with quick repair.
fn write_changes(database: &Database, changes: &[Change]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut records = transaction.open_table(RECORDS)?;
        for change in changes {
            for key in &change.delete {
                records.remove(key.as_str())?;
            }
            for (key, value) in &change.put {
                records.insert(key.as_str(), value.as_slice())?;
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests;
