use std::os::unix::fs::FileExt;

use super::*;
use crate::frame::frame;

fn change(number: usize) -> Change {
    Change {
        put: vec![(format!("sandbox/{number}"), vec![number as u8; number])],
        delete: vec![format!("endpoint/{number}"), String::new()],
    }
}

/// A journal with three records of one, two and one changes, and the offset of each record.
fn journal() -> (tempfile::TempDir, Files, [usize; 4]) {
    let directory = tempfile::tempdir().unwrap();
    let files = Files::of(&directory.path().join("world"));
    create(&files).unwrap();
    let mut journal = Journal::open(&files.journal, 0, 0).unwrap();
    let mut places = [0; 4];
    for (step, changes) in [vec![change(1)], vec![change(2), change(3)], vec![change(4)]].iter().enumerate() {
        append(&mut journal, &files, changes).unwrap();
        places[step + 1] = journal.end;
    }
    (directory, files, places)
}

fn append(journal: &mut Journal, files: &Files, changes: &[Change]) -> Result<(), FileError> {
    journal.append(files, &frame(journal.last + 1, changes).unwrap())
}

fn tail(files: &Files, applied: u64) -> Result<Tail, String> {
    scan(&std::fs::read(&files.journal).unwrap(), applied, LAYOUT)
}

fn reopen(files: &Files, applied: u64) -> Journal {
    let Tail { last, end, .. } = tail(files, applied).unwrap();
    Journal::open(&files.journal, end, last).unwrap()
}

fn overwrite(files: &Files, place: usize, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(&files.journal).unwrap();
    file.write_all_at(bytes, place as u64).unwrap();
}

#[test]
fn the_records_after_the_applied_one_are_read() {
    let (_directory, files, places) = journal();
    let all = vec![change(1), change(2), change(3), change(4)];
    assert_eq!(tail(&files, 0), Ok(Tail { changes: all, last: 3, end: places[3] }));
    assert_eq!(tail(&files, 2).unwrap().changes, [change(4)]);
    assert_eq!(tail(&files, 3), Ok(Tail { changes: vec![], last: 3, end: 0 }));
    append(&mut reopen(&files, 3), &files, &[change(5)]).unwrap();
    assert_eq!(tail(&files, 3).unwrap().changes, [change(5)]);
}

#[test]
fn records_from_before_a_snapshot_are_ignored() {
    let (_directory, files, _) = journal();
    let mut opened = reopen(&files, 0);
    opened.rewind();
    // As long as the first record: the old second record follows without a gap.
    append(&mut opened, &files, &[change(1)]).unwrap();
    let tail = tail(&files, 3).unwrap();
    assert_eq!((tail.last, tail.changes), (4, vec![change(1)]));
}

#[test]
fn an_incomplete_last_record_is_ignored() {
    let (_directory, files, places) = journal();
    // Cut in its number, after its header, and in its changes.
    for cut in [places[2] + 1, places[2] + HEADER, places[2] + 60] {
        overwrite(&files, cut, &vec![0; places[3] - cut]);
        let changes = vec![change(1), change(2), change(3)];
        assert_eq!(tail(&files, 0), Ok(Tail { changes, last: 2, end: places[2] }));
        append(&mut reopen(&files, 0), &files, &[change(4)]).unwrap();
    }
}

#[test]
fn a_damaged_record_before_a_newer_one_is_an_error() {
    let (_directory, files, places) = journal();
    overwrite(&files, places[1] + HEADER + 3, &[0xee]);
    assert_eq!(tail(&files, 0).unwrap_err(), "its journal has record 3, but record 2 is missing");
    let (_directory, files, places) = journal();
    overwrite(&files, 0, &vec![0; places[1]]);
    assert_eq!(tail(&files, 0).unwrap_err(), "its journal has record 2, but record 1 is missing");
}

#[test]
fn a_truncated_journal_is_damaged() {
    let (_directory, files, places) = journal();
    OpenOptions::new().write(true).open(&files.journal).unwrap().set_len(places[3] as u64).unwrap();
    assert_eq!(tail(&files, 0).unwrap_err(), "its journal is truncated");
}

#[test]
fn a_full_journal_waits_for_a_snapshot_and_an_empty_one_takes_a_record_of_any_length() {
    let (_directory, files, places) = journal();
    let mut opened = reopen(&files, 0);
    assert!(!opened.is_full(CAPACITY - places[3]));
    assert!(opened.is_full(CAPACITY - places[3] + 1));
    opened.rewind();
    assert!(!opened.is_full(3 * CAPACITY));
    let large = Change { put: vec![("a".into(), vec![1; 3 * CAPACITY])], delete: Vec::new() };
    append(&mut opened, &files, std::slice::from_ref(&large)).unwrap();
    assert_eq!(tail(&files, 3).unwrap().changes, [large]);
}

#[test]
fn a_record_that_was_refused_is_erased_before_the_next_one() {
    // The write fails, the sync fails, and each erasure too until the third attempt.
    for (healthy, length) in [(0, 1), (1, 1), (0, 3), (1, 3)] {
        let (_directory, files, places) = journal();
        let mut opened = reopen(&files, 0);
        files.faults.fail(healthy, length);
        append(&mut opened, &files, &[change(5)]).unwrap_err();
        while opened.erase_refused(&files).is_err() {}
        assert_eq!((tail(&files, 0).unwrap().last, opened.end), (3, places[3]));
        append(&mut opened, &files, &[change(6)]).unwrap();
        assert_eq!(tail(&files, 0).unwrap().changes[4..], [change(6)]);
    }
}
