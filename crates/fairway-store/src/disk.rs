//! Snapshot and journal as one, with the durable records in memory.

use std::path::Path;
use std::time::Duration;

use crate::change::{Change, Records};
use crate::error::StoreError;
use crate::files::{FileError, Files, companion_file};
use crate::frame::frame;
use crate::journal::{self, Journal};
use crate::snapshot::{self, FORMAT, Snapshot, SnapshotError};
use crate::{legacy, lock::Lock};

/// How often a store is read that another process writes to.
const ATTEMPTS: u32 = 5;
/// The pause before it is read again.
const PAUSE: Duration = Duration::from_millis(20);

/// The open files of a store.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) files: Files,
    journal: Journal,
    /// The durable records.
    records: Records,
    /// Whether the last snapshot failed: then there is no change before there is one.
    snapshot_due: bool,
}

impl Disk {
    /// Opens the store at `path`, creates an empty one, or migrates that of the version before.
    pub(crate) fn open(path: &Path, wait: Duration) -> Result<Self, StoreError> {
        let files = Files::of(path);
        let io = |source| StoreError::io("open the store", path, source);
        // What a crash left of a snapshot that was written.
        let _ = std::fs::remove_file(&files.draft);
        let old = legacy::database(path);
        if old.try_exists().map_err(io)? {
            if journal::is_used(&files.journal).map_err(io)? {
                return Err(StoreError::Two { path: path.to_owned(), old });
            }
            // No daemon of the version before may write to it meanwhile.
            let _lock = Lock::take(&old, wait)?;
            create(&files, &legacy::read(&old)?)
                .and_then(|()| legacy::retire(&files, path))
                .map_err(|error| StoreError::creating(path, error))?;
        } else if !files.snapshot.try_exists().map_err(io)? {
            for journal in [&files.journal, &companion_file(&old, ".journal")] {
                if journal::is_used(journal).map_err(io)? {
                    return Err(StoreError::Missing { path: path.to_owned(), journal: journal.clone() });
                }
            }
            create(&files, &Records::new()).map_err(|error| StoreError::creating(path, error))?;
        }
        let Contents { records, last, end } = read_once(path, &files)?;
        let journal = Journal::open(&files.journal, end, last)
            .map_err(|source| StoreError::io("open the journal", &files.journal, source))?;
        Ok(Self { files, journal, records, snapshot_due: false })
    }

    /// The durable records.
    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    /// Writes changes in order and at once. They are on disk when this returns; after an error none of them is.
    pub(crate) fn write(&mut self, changes: Vec<Change>) -> Result<(), FileError> {
        let record = frame(self.journal.last() + 1, &changes);
        let record = record.map_err(|source| FileError {
            action: "write",
            path: self.files.journal.clone(),
            source,
        })?;
        self.journal.erase_refused(&self.files)?;
        if self.snapshot_due || self.journal.is_full(record.len()) {
            self.snapshot_due = true;
            snapshot::replace(&self.files, &self.records, self.journal.last())?;
            self.journal.rewind();
            self.snapshot_due = false;
        }
        if changes.iter().all(Change::is_empty) {
            return Ok(());
        }
        self.journal.append(&self.files, &record)?;
        changes.into_iter().for_each(|change| change.apply(&mut self.records));
        Ok(())
    }
}

/// Creates a store with these records: first the journal, then the snapshot, under another name and renamed. A crash
/// leaves no store or a complete one.
fn create(files: &Files, records: &Records) -> Result<(), FileError> {
    journal::create(files)?;
    snapshot::replace(files, records, 0)
}

/// The records of a store, and where its journal goes on.
struct Contents {
    records: Records,
    last: u64,
    end: usize,
}

/// Reads the records of the store at `path` without its lock, while another process may write to it.
pub(crate) fn read(path: &Path) -> Result<Records, StoreError> {
    let files = Files::of(path);
    let old = legacy::database(path);
    if old.exists() {
        return Err(StoreError::Older { path: old });
    }
    let mut attempt = 1;
    loop {
        let before = header(&files);
        match read_once(path, &files) {
            // The snapshot was replaced while the journal was read, or a record was written meanwhile.
            result if attempt < ATTEMPTS && (result.is_err() || before != header(&files)) => {
                attempt += 1;
                std::thread::sleep(PAUSE);
            }
            result => return result.map(|contents| contents.records),
        }
    }
}

/// The start of the snapshot, which each snapshot has differently.
fn header(files: &Files) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    std::io::Read::read_exact(&mut std::fs::File::open(&files.snapshot).ok()?, &mut bytes).ok()?;
    Some(bytes)
}

fn read_once(path: &Path, files: &Files) -> Result<Contents, StoreError> {
    let damaged = |reason: &str| StoreError::Damaged { path: path.to_owned(), reason: reason.to_owned() };
    let bytes = std::fs::read(&files.snapshot)
        .map_err(|source| StoreError::io("read the store", &files.snapshot, source))?;
    let Snapshot { mut records, applied } = snapshot::read(&bytes).map_err(|error| match error {
        SnapshotError::Newer(found) => {
            StoreError::Newer { path: path.to_owned(), found: found.into(), known: FORMAT.into() }
        }
        SnapshotError::Damaged(reason) => damaged(reason),
    })?;
    let bytes = std::fs::read(&files.journal).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => damaged("its journal is missing"),
        _ => StoreError::io("read the journal", &files.journal, source),
    })?;
    let journal::Tail { changes, last, end } =
        journal::scan(&bytes, applied, journal::LAYOUT).map_err(|reason| damaged(&reason))?;
    changes.into_iter().for_each(|change| change.apply(&mut records));
    Ok(Contents { records, last, end })
}

#[cfg(test)]
mod tests;
