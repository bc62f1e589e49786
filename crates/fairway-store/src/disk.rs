//! The two files of a store: the redb database and the journal in front of it.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableHandle};

use crate::change::Change;
use crate::error::StoreError;
use crate::journal::{Journal, JournalError};
use crate::lock::companion_file;

/// The format that this version writes.
pub(crate) const FORMAT: u64 = 1;
/// The cache of redb in bytes. The records of a thousand sandboxes have a few megabytes.
const CACHE_BYTES: usize = 16 << 20;

const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");
const FORMAT_KEY: &str = "format";
/// The key of the last journal record that was moved to the database.
const APPLIED_KEY: &str = "applied";

/// The error of a write, shared by the changes that waited for it.
pub(crate) type WriteError = Arc<dyn Error + Send + Sync>;

/// The open files of a store.
#[derive(Debug)]
pub(crate) struct Disk {
    database: Database,
    journal: Journal,
    /// The changes that are in the journal and not in the database.
    pending: Vec<Change>,
}

impl Disk {
    /// Opens the store at `path`, or creates an empty one.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.try_exists().map_err(|source| StoreError::io("open the store", path, source))? {
            create(path)?;
        }
        // The whole file is checked, so that a damaged page is found now and not at its first use.
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .set_check_integrity_on_open(true)
            .open(path)
            .map_err(|error| StoreError::reading(path, error))?;
        let reading = |error| StoreError::reading(path, error);
        match read_about(&database, FORMAT_KEY).map_err(reading)? {
            Some(found) if found > FORMAT => {
                return Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT });
            }
            Some(_) => {}
            None => return Err(damaged(path, "it has no format number")),
        }
        let applied = read_about(&database, APPLIED_KEY).map_err(reading)?.unwrap_or_default();
        let (journal, pending) =
            Journal::open(&companion_file(path, ".journal"), applied).map_err(|error| match error {
                JournalError::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    damaged(path, "its journal is missing")
                }
                JournalError::Io(error) => StoreError::io("read the journal of", path, error),
                JournalError::Damaged(reason) => damaged(path, &reason),
            })?;
        Ok(Self { database, journal, pending })
    }

    /// Writes changes in order and in one transaction. They are on disk when this returns.
    pub(crate) fn write(&mut self, changes: Vec<Change>) -> Result<(), WriteError> {
        let journaled = self.journal.append(&changes).map_err(|error| Arc::new(error) as WriteError)?;
        self.pending.extend(changes);
        if !journaled {
            self.checkpoint().map_err(|error| Arc::new(error) as WriteError)?;
        }
        Ok(())
    }

    /// Moves the pending changes to the database and starts the journal over (a checkpoint).
    fn checkpoint(&mut self) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut records = transaction.open_table(RECORDS)?;
            for change in &self.pending {
                for key in &change.delete {
                    records.remove(key.as_str())?;
                }
                for (key, value) in &change.put {
                    records.insert(key.as_str(), value.as_slice())?;
                }
            }
            transaction.open_table(ABOUT)?.insert(APPLIED_KEY, self.journal.last())?;
        }
        transaction.commit()?;
        self.pending.clear();
        self.journal.rewind();
        Ok(())
    }

    /// All records, in the order of their keys.
    pub(crate) fn read(&self) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
        let table = self.database.begin_read()?.open_table(RECORDS)?;
        let mut records = std::collections::BTreeMap::new();
        for entry in table.iter()? {
            let (key, value) = entry?;
            records.insert(key.value().to_owned(), value.value().to_owned());
        }
        for change in &self.pending {
            change.delete.iter().for_each(|key| drop(records.remove(key)));
            records.extend(change.put.iter().cloned());
        }
        Ok(records.into_iter().collect())
    }
}

fn damaged(path: &Path, reason: &str) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), reason: reason.to_owned() }
}

/// Creates an empty store under a temporary name and renames it, so that a crash leaves no store or a complete
/// one. Its journal is created first.
fn create(path: &Path) -> Result<(), StoreError> {
    let (draft, journal) = (companion_file(path, ".new"), companion_file(path, ".journal"));
    let error = |source| StoreError::io("create the store", path, source);
    if Journal::is_used(&journal).map_err(error)? {
        return Err(StoreError::Missing { path: path.to_owned(), journal });
    }
    Journal::create(&journal).map_err(error)?;
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft).map_err(error)?;
    let database = Database::builder().create(&draft).map_err(|error| StoreError::reading(&draft, error))?;
    write_format(&database, FORMAT).map_err(|error| StoreError::reading(&draft, error))?;
    drop(database);
    fs::rename(&draft, path).map_err(error)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new("."))).and_then(|it| it.sync_all()).map_err(error)
}

fn read_about(database: &Database, key: &str) -> Result<Option<u64>, redb::Error> {
    let transaction = database.begin_read()?;
    if !transaction.list_tables()?.any(|table| table.name() == ABOUT.name()) {
        return Ok(None);
    }
    Ok(transaction.open_table(ABOUT)?.get(key)?.map(|value| value.value()))
}

pub(crate) fn write_format(database: &Database, format: u64) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(ABOUT)?.insert(FORMAT_KEY, format)?;
    transaction.open_table(RECORDS)?;
    transaction.commit()?;
    Ok(())
}
