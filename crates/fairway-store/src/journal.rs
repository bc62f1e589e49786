//! The journal: the changes since the last snapshot, one record and one sync a commit.
//!
//! The file is filled with zeros when it is created, so that a write changes data and no metadata: a sync costs the disk
//! one write, and a full disk refuses no change before the journal is full too. Records are frames that follow one
//! another from the start of the file; after a snapshot they start over. Their numbers grow by one, also across
//! snapshots, so that records from before a snapshot are recognized. One record can be longer than the file was.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use crate::change::Change;
use crate::files::{FileError, Files};
use crate::frame::{HEADER, decode, number_at, parse};

/// The size of the journal in bytes: enough for more than a thousand changes. Tests fill it over and over.
pub(crate) const CAPACITY: usize = if cfg!(test) { 1 << 14 } else { 4 << 20 };
/// How the journals of this version are laid out.
pub(crate) const LAYOUT: Layout = Layout { capacity: CAPACITY, alignment: 64 };

/// How a journal is laid out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Its least size in bytes.
    pub(crate) capacity: usize,
    /// The offset of each record is a multiple of this.
    pub(crate) alignment: usize,
}

/// What a journal holds after a snapshot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    /// The changes after the snapshot, in order.
    pub(crate) changes: Vec<Change>,
    /// The number of the last record; that of the snapshot if there is none.
    pub(crate) last: u64,
    /// The offset of the next record.
    pub(crate) end: usize,
}

/// Reads the changes after record `applied`.
///
/// # Errors
/// The damage, as text.
pub(crate) fn scan(bytes: &[u8], applied: u64, layout: Layout) -> Result<Tail, String> {
    if bytes.len() < layout.capacity {
        return Err("its journal is truncated".to_owned());
    }
    let mut tail = Tail { changes: Vec::new(), last: applied, end: 0 };
    let mut place = 0;
    let mut expected = None;
    while let Some((number, payload)) = bytes.get(place..).and_then(parse) {
        if expected.is_some_and(|expected| expected != number) || number > tail.last + 1 {
            break;
        }
        place += (HEADER + payload.len()).next_multiple_of(layout.alignment);
        expected = Some(number + 1);
        if number > applied {
            let changes =
                decode(payload).ok_or_else(|| format!("record {number} of its journal cannot be decoded"))?;
            tail.changes.extend(changes);
            tail.last = number;
            tail.end = place;
        }
    }
    // An incomplete record is the last one: the machine stopped while it was written. A newer record behind it proves
    // that it was complete once.
    let later = tail.last + 1..=tail.last + (bytes.len() / HEADER) as u64;
    let newer = (place..bytes.len().saturating_sub(HEADER))
        .step_by(layout.alignment)
        .filter(|place| number_at(&bytes[*place..]).is_some_and(|number| later.contains(&number)))
        .find_map(|place| parse(&bytes[place..]));
    match newer {
        Some((number, _)) => {
            Err(format!("its journal has record {number}, but record {} is missing", tail.last + 1))
        }
        None => Ok(tail),
    }
}

/// Whether a journal has records; false without a journal.
pub(crate) fn is_used(path: &Path) -> io::Result<bool> {
    match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        bytes => Ok(bytes?.iter().any(|byte| *byte != 0)),
    }
}

/// Creates an empty journal and syncs it.
pub(crate) fn create(files: &Files) -> Result<(), FileError> {
    let file = files.create(&files.journal)?;
    files.write(&files.journal, &file, &vec![0; CAPACITY], 0)?;
    files.sync(&files.journal, &file)
}

/// The journal, open for writing.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    /// The offset of the next record.
    end: usize,
    /// The number of the last record.
    last: u64,
    /// Whether a record that was refused may be at `end`.
    torn: bool,
}

impl Journal {
    pub(crate) fn open(path: &Path, end: usize, last: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { file, end, last, torn: false })
    }

    /// The number of the last record.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Whether a record of that many bytes has to wait for a snapshot.
    pub(crate) fn is_full(&self, length: usize) -> bool {
        self.end > 0 && self.end + length > CAPACITY
    }

    /// Writes a record and syncs it. If this fails, the record is erased again.
    pub(crate) fn append(&mut self, files: &Files, record: &[u8]) -> Result<(), FileError> {
        self.torn = true;
        let path = &files.journal;
        let written = files.write(path, &self.file, record, self.end as u64);
        match written.and_then(|()| files.sync(path, &self.file)) {
            Ok(()) => {
                self.torn = false;
                self.end += record.len().next_multiple_of(LAYOUT.alignment);
                self.last += 1;
                Ok(())
            }
            Err(error) => {
                // What cannot be erased now is erased before the next change.
                let _ = self.erase_refused(files);
                Err(error)
            }
        }
    }

    /// Erases a record that was refused: a write or sync that failed may have left it whole, and the next start would
    /// carry it out.
    pub(crate) fn erase_refused(&mut self, files: &Files) -> Result<(), FileError> {
        if self.torn {
            files.write(&files.journal, &self.file, &[0; HEADER], self.end as u64)?;
            files.sync(&files.journal, &self.file)?;
            self.torn = false;
        }
        Ok(())
    }

    /// Starts over at the start of the file, after a snapshot.
    pub(crate) fn rewind(&mut self) {
        self.end = 0;
    }
}

#[cfg(test)]
mod tests;
