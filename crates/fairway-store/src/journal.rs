//! The journal: the changes since the last checkpoint, one record and one sync a commit.
//!
//! The file has a fixed size and is filled with zeros when it is created, so that a write changes data
//! and no metadata: a sync costs the disk one write, where a commit to the database costs ten pages.
//! Records follow one another from the start of the file; a checkpoint starts over.
//!
//! A record is a sequence number (u64), the length of its payload (u32), CRC-32C of the other fields
//! (u32), and the payload, all little-endian. Sequence numbers grow by one, also across checkpoints, so
//! that records from before a checkpoint are recognized.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::change::Change;

/// The size of the journal in bytes: enough for some hundreds of changes.
pub(crate) const CAPACITY: usize = 1 << 20;
/// The size of a record's header in bytes.
const HEADER: usize = 16;

/// The open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    /// The offset of the next record.
    end: usize,
    /// The sequence number of the last record.
    last: u64,
}

/// The reason why a journal cannot be used.
#[derive(Debug)]
pub(crate) enum JournalError {
    Io(io::Error),
    Damaged(String),
}

impl From<io::Error> for JournalError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Journal {
    /// Creates an empty journal and syncs it.
    pub(crate) fn create(path: &Path) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all_at(&vec![0; CAPACITY], 0)?;
        file.sync_all()
    }

    /// Whether a journal has records; false without a journal.
    pub(crate) fn is_used(path: &Path) -> io::Result<bool> {
        match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            bytes => Ok(bytes?.iter().any(|byte| *byte != 0)),
        }
    }

    /// Opens a journal and reads the changes after record `applied`.
    pub(crate) fn open(path: &Path, applied: u64) -> Result<(Self, Vec<Change>), JournalError> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut bytes = vec![0; CAPACITY];
        file.read_exact_at(&mut bytes, 0).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => JournalError::Damaged("its journal is truncated".to_owned()),
            _ => JournalError::Io(error),
        })?;
        let mut journal = Self { file, end: 0, last: applied };
        let mut changes = Vec::new();
        let mut place = 0;
        let mut expected = None;
        while let Some((number, payload)) = record(&bytes[place..]) {
            if expected.is_some_and(|expected| expected != number) || number > journal.last + 1 {
                break;
            }
            place += HEADER + payload.len();
            expected = Some(number + 1);
            if number > applied {
                changes.extend(decode(payload).ok_or_else(|| {
                    JournalError::Damaged(format!("record {number} of its journal cannot be decoded"))
                })?);
                journal.last = number;
                journal.end = place;
            }
        }
        // An incomplete record is the last one: the machine stopped while it was written. A newer record
        // behind it proves that it was complete once.
        let later = journal.last + 1..=journal.last + (CAPACITY / HEADER) as u64;
        let newer = (place..bytes.len() - HEADER)
            .filter(|place| number_at(&bytes[*place..]).is_some_and(|number| later.contains(&number)))
            .find_map(|place| record(&bytes[place..]));
        match newer {
            Some((number, _)) => Err(JournalError::Damaged(format!(
                "its journal has record {number}, but record {} is missing",
                journal.last + 1
            ))),
            None => Ok((journal, changes)),
        }
    }

    /// Writes changes as one record and syncs it. Returns false and writes nothing when the journal is full.
    pub(crate) fn append(&mut self, changes: &[Change]) -> io::Result<bool> {
        let mut bytes = vec![0; HEADER];
        encode(changes, &mut bytes);
        let payload = bytes.len() - HEADER;
        let Some(length) = u32::try_from(payload).ok().filter(|_| self.end + bytes.len() <= CAPACITY) else {
            return Ok(false);
        };
        let number = self.last + 1;
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        bytes[8..12].copy_from_slice(&length.to_le_bytes());
        let sum = checksum(&bytes[..12], &bytes[HEADER..]);
        bytes[12..HEADER].copy_from_slice(&sum.to_le_bytes());
        self.file.write_all_at(&bytes, self.end as u64)?;
        self.file.sync_data()?;
        self.end += bytes.len();
        self.last = number;
        Ok(true)
    }

    /// The sequence number of the last record.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Starts over at the start of the file, after a checkpoint.
    pub(crate) fn rewind(&mut self) {
        self.end = 0;
    }
}

fn number_at(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?))
}

fn length_at(bytes: &[u8], place: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(place..place + 4)?.try_into().ok()?))
}

/// The number and payload of the record at the start of `bytes`; none if it is incomplete.
fn record(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let number = number_at(bytes).filter(|number| *number > 0)?;
    let payload = bytes.get(HEADER..HEADER.checked_add(length_at(bytes, 8)? as usize)?)?;
    (checksum(&bytes[..12], payload) == length_at(bytes, 12)?).then_some((number, payload))
}

/// Appends changes to `bytes`: for each the count of its deleted keys, the keys, the count of its records, the records.
fn encode(changes: &[Change], bytes: &mut Vec<u8>) {
    // More than 4 GiB does not fit the journal.
    let count = |bytes: &mut Vec<u8>, count: usize| {
        bytes.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
    };
    let text = |bytes: &mut Vec<u8>, text: &[u8]| {
        count(bytes, text.len());
        bytes.extend_from_slice(text);
    };
    for change in changes {
        count(bytes, change.delete.len());
        change.delete.iter().for_each(|key| text(bytes, key.as_bytes()));
        count(bytes, change.put.len());
        for (key, value) in &change.put {
            text(bytes, key.as_bytes());
            text(bytes, value);
        }
    }
}

fn decode(mut bytes: &[u8]) -> Option<Vec<Change>> {
    fn count(bytes: &mut &[u8]) -> Option<usize> {
        let count = length_at(bytes, 0)?;
        *bytes = &bytes[4..];
        usize::try_from(count).ok()
    }
    fn text(bytes: &mut &[u8]) -> Option<Vec<u8>> {
        let length = count(bytes)?;
        let (text, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        Some(text.to_vec())
    }
    fn key(bytes: &mut &[u8]) -> Option<String> {
        String::from_utf8(text(bytes)?).ok()
    }
    let mut changes = Vec::new();
    while !bytes.is_empty() {
        let mut change = Change::default();
        for _ in 0..count(&mut bytes)? {
            change.delete.push(key(&mut bytes)?);
        }
        for _ in 0..count(&mut bytes)? {
            change.put.push((key(&mut bytes)?, text(&mut bytes)?));
        }
        changes.push(change);
    }
    Some(changes)
}

/// The CRC-32C (Castagnoli; RFC 3720, appendix B.4) of two consecutive slices.
fn checksum(first: &[u8], second: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0_u32; 256];
        let mut byte = 0;
        while byte < 256 {
            let mut value = byte as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 { value >> 1 ^ 0x82f6_3b78 } else { value >> 1 };
                bit += 1;
            }
            table[byte] = value;
            byte += 1;
        }
        table
    };
    !first.iter().chain(second).fold(!0, |sum, byte| sum >> 8 ^ TABLE[usize::from((sum as u8) ^ byte)])
}

#[cfg(test)]
mod tests;
