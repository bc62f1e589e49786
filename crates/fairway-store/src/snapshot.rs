//! The snapshot: all records up to one of the journal, in one file that is replaced as a whole.
//!
//! The file is a name, the format of the store (u32, little-endian), and one frame. The frame's number is one more than
//! that of the last journal record whose changes the snapshot has.

use crate::change::Records;
use crate::files::{FileError, Files};
use crate::frame::{HEADER, append_records, decode, parse};

/// The format that this version writes. Format 1 was a redb database.
pub(crate) const FORMAT: u32 = 2;
const NAME: &[u8; 12] = b"fairwaystore";
/// The size of name and format in bytes.
const ABOUT: usize = 16;

/// What a snapshot holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) records: Records,
    /// The number of the last journal record whose changes are in `records`.
    pub(crate) applied: u64,
}

/// Why a snapshot cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SnapshotError {
    /// It has a format of a newer version.
    Newer(u32),
    /// The damage.
    Damaged(&'static str),
}

/// Reads a snapshot.
pub(crate) fn read(bytes: &[u8]) -> Result<Snapshot, SnapshotError> {
    let Some(format) = bytes.strip_prefix(NAME).and_then(|rest| rest.first_chunk()) else {
        return Err(SnapshotError::Damaged("its snapshot is none of Fairway"));
    };
    match u32::from_le_bytes(*format) {
        FORMAT => {}
        newer if newer > FORMAT => return Err(SnapshotError::Newer(newer)),
        _ => return Err(SnapshotError::Damaged("its snapshot has an unknown format")),
    }
    let damaged = SnapshotError::Damaged;
    let (number, payload) = parse(&bytes[ABOUT..]).ok_or(damaged("the checksum of its snapshot is wrong"))?;
    if bytes.len() != ABOUT + HEADER + payload.len() {
        return Err(damaged("its snapshot is followed by other data"));
    }
    let changes = decode(payload).ok_or(damaged("its snapshot cannot be decoded"))?;
    let records = changes.into_iter().flat_map(|change| change.put).collect();
    Ok(Snapshot { records, applied: number - 1 })
}

/// Replaces the snapshot, durably. After an error the old one is there or the new one.
pub(crate) fn replace(files: &Files, records: &Records, applied: u64) -> Result<(), FileError> {
    let mut bytes = [&NAME[..], &FORMAT.to_le_bytes()].concat();
    append_records(applied + 1, records, &mut bytes).map_err(|source| FileError {
        action: "write",
        path: files.snapshot.clone(),
        source,
    })?;
    let written = write_draft(files, &bytes).and_then(|()| files.publish_draft());
    if written.is_err() {
        // It takes space that may be what is missing.
        let _ = std::fs::remove_file(&files.draft);
    }
    written
}

fn write_draft(files: &Files, bytes: &[u8]) -> Result<(), FileError> {
    let file = files.create(&files.draft)?;
    files.write(&files.draft, &file, bytes, 0)?;
    files.sync(&files.draft, &file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::of(&directory.path().join("world"));
        replace(&files, &Records::from([("a".to_owned(), vec![1; 50])]), 7).unwrap();
        std::fs::read(files.snapshot).unwrap()
    }

    #[test]
    fn a_snapshot_is_read_as_it_was_written() {
        let records = Records::from([("a".to_owned(), vec![1; 50])]);
        assert_eq!(read(&written()), Ok(Snapshot { records, applied: 7 }));
    }

    #[test]
    fn the_format_of_a_newer_version_is_named() {
        let mut bytes = written();
        bytes[12] = 3;
        assert_eq!(read(&bytes), Err(SnapshotError::Newer(3)));
        bytes[12] = 1;
        assert_eq!(read(&bytes), Err(SnapshotError::Damaged("its snapshot has an unknown format")));
    }

    #[test]
    fn each_damage_is_noticed() {
        let bytes = written();
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            read(&damaged).unwrap_err();
            read(&bytes[..place]).unwrap_err();
        }
        read(&[&bytes[..], b"x"].concat()).unwrap_err();
    }
}
