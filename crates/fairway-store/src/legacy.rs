//! The store of the version before (format 1): a redb database with a journal in front of it. It is only read, to be
//! migrated; this module goes with the next version.

use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableHandle};

use crate::change::Records;
use crate::error::StoreError;
use crate::files::{FileError, Files, companion_file};
use crate::journal::{self, Layout};

const FORMAT: u64 = 1;
/// Its journals had no gaps between records.
const JOURNAL: Layout = Layout { capacity: 1 << 20, alignment: 1 };
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");
const FORMAT_KEY: &str = "format";
/// The key of the last journal record that is in the database.
const APPLIED_KEY: &str = "applied";

/// The database of the store at `path`.
pub(crate) fn database(path: &Path) -> PathBuf {
    companion_file(path, ".redb")
}

/// All files that a store of this format leaves at `path`, by their suffixes.
pub(crate) const SUFFIXES: [&str; 4] = [".redb", ".redb.old", ".redb.journal", ".redb.lock"];

/// Renames the database durably, so that it is not migrated again. Its journal keeps its name: for want of its database, the
/// version before then refuses to start with an empty store.
pub(crate) fn retire(files: &Files, path: &Path) -> Result<(), FileError> {
    files.rename(&database(path), &companion_file(path, ".redb.old"))
}

/// Reads all records of a database and its journal.
pub(crate) fn read(path: &Path) -> Result<Records, StoreError> {
    let damaged = |reason: String| StoreError::Damaged { path: path.to_owned(), reason };
    let reading = |error: redb::Error| match error {
        redb::Error::Io(source) if source.kind() != std::io::ErrorKind::InvalidData => {
            StoreError::io("read the store", path, source)
        }
        other => damaged(other.to_string()),
    };
    let (format, applied, mut records) = read_database(path).map_err(reading)?;
    match format {
        Some(FORMAT) => {}
        Some(found) => return Err(StoreError::Newer { path: path.to_owned(), found, known: FORMAT }),
        None => return Err(damaged("it has no format number".to_owned())),
    }
    let journal = companion_file(path, ".journal");
    let bytes = std::fs::read(&journal).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => damaged("its journal is missing".to_owned()),
        _ => StoreError::io("read the journal", &journal, source),
    })?;
    let tail = journal::scan(&bytes, applied, JOURNAL).map_err(damaged)?;
    tail.changes.into_iter().for_each(|change| change.apply(&mut records));
    Ok(records)
}

/// The format, the number of the last journal record that is in the database, and the records.
fn read_database(path: &Path) -> Result<(Option<u64>, u64, Records), redb::Error> {
    // The whole file is checked; one that was not closed is repaired.
    let database = Database::builder().set_check_integrity_on_open(true).open(path)?;
    let transaction = database.begin_read()?;
    if !transaction.list_tables()?.any(|table| table.name() == ABOUT.name()) {
        return Ok((None, 0, Records::new()));
    }
    let about = transaction.open_table(ABOUT)?;
    let number = |key| Ok::<_, redb::Error>(about.get(key)?.map(|value| value.value()));
    let mut records = Records::new();
    for entry in transaction.open_table(RECORDS)?.iter()? {
        let (key, value) = entry?;
        records.insert(key.value().to_owned(), value.value().to_owned());
    }
    Ok((number(FORMAT_KEY)?, number(APPLIED_KEY)?.unwrap_or_default(), records))
}

#[cfg(test)]
mod tests;
