//! The frame around changes on disk, with a checksum: a record of the journal, or all of a snapshot.
//!
//! A frame is a number (u64), the length of its payload (u32), CRC-32C of the other fields (u32), and the payload, all
//! little-endian. The payload has for each change the count of its deleted keys, the keys, the count of its records, and
//! key and value of each record; counts and lengths are u32.

use std::io;

use crate::change::{Change, Records};

/// The size of a frame's header in bytes.
pub(crate) const HEADER: usize = 16;

/// The frame of changes.
///
/// # Errors
/// The changes have more than 4 GiB.
pub(crate) fn frame(number: u64, changes: &[Change]) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; HEADER];
    for change in changes {
        encode_keys(&change.delete, &mut bytes)?;
        let records = change.put.iter().map(|(key, value)| (key, value));
        encode_records(records, &mut bytes)?;
    }
    seal(number, &mut bytes)?;
    Ok(bytes)
}

/// Appends the frame of one change that writes all records.
///
/// # Errors
/// The records have more than 4 GiB.
pub(crate) fn append_records(number: u64, records: &Records, bytes: &mut Vec<u8>) -> io::Result<()> {
    let start = bytes.len();
    bytes.reserve(HEADER + records.iter().map(|(key, value)| key.len() + value.len() + 8).sum::<usize>() + 8);
    bytes.extend_from_slice(&[0; HEADER]);
    encode_keys(&[], bytes)?;
    encode_records(records.iter(), bytes)?;
    seal(number, &mut bytes[start..])
}

/// Writes the header of a frame.
fn seal(number: u64, bytes: &mut [u8]) -> io::Result<()> {
    let length = length(bytes.len() - HEADER)?;
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes[8..12].copy_from_slice(&length);
    let sum = checksum(&bytes[..12], &bytes[HEADER..]);
    bytes[12..HEADER].copy_from_slice(&sum.to_le_bytes());
    Ok(())
}

/// The number and payload of the frame at the start of `bytes`; none if it is incomplete or damaged.
pub(crate) fn parse(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let number = number_at(bytes).filter(|number| *number > 0)?;
    let payload = bytes.get(HEADER..HEADER.checked_add(length_at(bytes, 8)? as usize)?)?;
    (checksum(&bytes[..12], payload) == length_at(bytes, 12)?).then_some((number, payload))
}

/// The number in the header at the start of `bytes`.
pub(crate) fn number_at(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?))
}

fn length_at(bytes: &[u8], place: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(place..place + 4)?.try_into().ok()?))
}

fn length(length: usize) -> io::Result<[u8; 4]> {
    let refused = || io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 4 GiB");
    u32::try_from(length).map(u32::to_le_bytes).map_err(|_| refused())
}

fn encode_text(text: &[u8], bytes: &mut Vec<u8>) -> io::Result<()> {
    bytes.extend_from_slice(&length(text.len())?);
    bytes.extend_from_slice(text);
    Ok(())
}

/// Appends the count of keys and the keys.
fn encode_keys(keys: &[String], bytes: &mut Vec<u8>) -> io::Result<()> {
    bytes.extend_from_slice(&length(keys.len())?);
    keys.iter().try_for_each(|key| encode_text(key.as_bytes(), bytes))
}

/// Appends the count of records, and key and value of each.
fn encode_records<'a>(
    mut records: impl ExactSizeIterator<Item = (&'a String, &'a Vec<u8>)>,
    bytes: &mut Vec<u8>,
) -> io::Result<()> {
    bytes.extend_from_slice(&length(records.len())?);
    records.try_for_each(|(key, value)| {
        encode_text(key.as_bytes(), bytes)?;
        encode_text(value, bytes)
    })
}

/// The changes in a payload; none if it was not made by [`frame`].
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Vec<Change>> {
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
    !extend(extend(!0, first), second)
}

/// Extends a checksum by eight bytes at a time: the table of each place has the checksum of a byte with as many zeros
/// behind it.
fn extend(sum: u32, bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(sum, |sum, word| {
        let word = u64::from_le_bytes(*word) ^ u64::from(sum);
        let bytes = word.to_le_bytes().into_iter();
        bytes.zip(TABLES.iter().rev()).fold(0, |sum, (byte, table)| sum ^ table[usize::from(byte)])
    });
    rest.iter().fold(sum, |sum, byte| sum >> 8 ^ TABLES[0][usize::from((sum as u8) ^ byte)])
}

static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0_u32; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0x82f6_3b78 } else { value >> 1 };
            bit += 1;
        }
        tables[0][byte] = value;
        byte += 1;
    }
    let mut place = 1;
    while place < 8 {
        let mut byte = 0;
        while byte < 256 {
            let shorter = tables[place - 1][byte];
            tables[place][byte] = shorter >> 8 ^ tables[0][(shorter & 0xff) as usize];
            byte += 1;
        }
        place += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change() -> Change {
        Change {
            put: vec![("sandbox/1".to_owned(), vec![7; 100]), (String::new(), Vec::new())],
            delete: vec!["endpoint/1".to_owned(), String::new()],
        }
    }

    #[test]
    fn the_checksum_matches_rfc_3720() {
        // RFC 3720, appendix B.4: 32 bytes of zeros, of ones, and counting up.
        assert_eq!(checksum(&[0; 16], &[0; 16]), 0x8a91_36aa);
        assert_eq!(checksum(&[0xff; 32], &[]), 0x62a8_ab43);
        let counted = std::array::from_fn::<u8, 32, _>(|byte| byte as u8);
        for cut in 0..32 {
            assert_eq!(checksum(&counted[..cut], &counted[cut..]), 0x46dd_794e, "cut at {cut}");
        }
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let changes = [change(), Change::default(), change()];
        let mut bytes = frame(9, &changes).unwrap();
        bytes.extend([1, 2, 3]);
        let (number, payload) = parse(&bytes).unwrap();
        assert_eq!((number, decode(payload).unwrap()), (9, changes.to_vec()));
    }

    #[test]
    fn a_flipped_bit_or_a_missing_byte_is_noticed_anywhere() {
        let bytes = frame(9, &[change()]).unwrap();
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 4;
            assert_eq!(parse(&damaged), None, "byte {place}");
            assert_eq!(parse(&bytes[..place]), None, "{place} bytes");
        }
    }

    #[test]
    fn a_payload_that_ends_early_is_no_change() {
        let bytes = frame(9, &[change()]).unwrap();
        for end in HEADER + 1..bytes.len() {
            assert_eq!(decode(&bytes[HEADER..end]), None, "{end} bytes");
        }
    }
}
