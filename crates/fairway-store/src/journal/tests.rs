use super::*;

fn change(number: usize) -> Change {
    Change {
        put: vec![(format!("sandbox/{number}"), vec![number as u8; number])],
        delete: vec![format!("endpoint/{number}"), String::new()],
    }
}

/// A journal with three records of one, two and one changes, and the offset of each record.
fn journal() -> (tempfile::TempDir, std::path::PathBuf, [usize; 4]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    Journal::create(&path).unwrap();
    let (mut journal, changes) = Journal::open(&path, 0).unwrap();
    assert_eq!(changes, []);
    let mut places = [0; 4];
    for (step, changes) in [vec![change(1)], vec![change(2), change(3)], vec![change(4)]].iter().enumerate() {
        assert!(journal.append(changes).unwrap());
        places[step + 1] = journal.end;
    }
    (directory, path, places)
}

fn overwrite(path: &Path, place: usize, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, place as u64).unwrap();
}

fn damage(path: &Path) -> String {
    match Journal::open(path, 0).map(|(_, changes)| changes) {
        Err(JournalError::Damaged(reason)) => reason,
        other => panic!("not damaged: {other:?}"),
    }
}

#[test]
fn the_checksum_matches_rfc_3720() {
    // RFC 3720, appendix B.4: 32 bytes of zeros, of ones, and counting up.
    assert_eq!(checksum(&[0; 16], &[0; 16]), 0x8a91_36aa);
    assert_eq!(checksum(&[0xff; 32], &[]), 0x62a8_ab43);
    assert_eq!(checksum(&[], &std::array::from_fn::<u8, 32, _>(|byte| byte as u8)), 0x46dd_794e);
}

#[test]
fn open_reads_the_records_after_the_applied_one() {
    let (_directory, path, places) = journal();
    let (opened, changes) = Journal::open(&path, 0).unwrap();
    assert_eq!(changes, [change(1), change(2), change(3), change(4)]);
    assert_eq!((opened.last(), opened.end), (3, places[3]));
    assert_eq!(Journal::open(&path, 2).unwrap().1, [change(4)]);
    let (mut opened, changes) = Journal::open(&path, 3).unwrap();
    assert_eq!((changes, opened.end), (vec![], 0));
    assert!(opened.append(&[change(5)]).unwrap());
    assert_eq!(Journal::open(&path, 3).unwrap().1, [change(5)]);
}

#[test]
fn records_from_before_a_checkpoint_are_ignored() {
    let (_directory, path, _) = journal();
    let (mut opened, _) = Journal::open(&path, 0).unwrap();
    opened.rewind();
    // As long as the first record, so that the old second record follows without a gap.
    assert!(opened.append(&[change(1)]).unwrap());
    let (opened, changes) = Journal::open(&path, 3).unwrap();
    assert_eq!((opened.last(), changes), (4, vec![change(1)]));
}

#[test]
fn an_incomplete_last_record_is_ignored() {
    let (_directory, path, places) = journal();
    for cut in [places[2] + 1, places[2] + HEADER, places[3] - 1] {
        overwrite(&path, cut, &vec![0; places[3] - cut]);
        let (opened, changes) = Journal::open(&path, 0).unwrap();
        assert_eq!(changes, [change(1), change(2), change(3)]);
        assert_eq!((opened.last(), opened.end), (2, places[2]));
        let (mut opened, _) = Journal::open(&path, 0).unwrap();
        assert!(opened.append(&[change(4)]).unwrap());
    }
}

#[test]
fn a_damaged_record_before_a_newer_one_is_an_error() {
    let (_directory, path, places) = journal();
    overwrite(&path, places[1] + HEADER + 3, &[0xee]);
    assert_eq!(damage(&path), "its journal has record 3, but record 2 is missing");
    let (_directory, path, places) = journal();
    overwrite(&path, 0, &vec![0; places[1]]);
    assert_eq!(damage(&path), "its journal has record 2, but record 1 is missing");
}

#[test]
fn a_truncated_journal_is_damaged() {
    let (_directory, path, places) = journal();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(places[3] as u64).unwrap();
    assert_eq!(damage(&path), "its journal is truncated");
}

#[test]
fn append_to_a_full_journal_writes_nothing() {
    let (_directory, path, _) = journal();
    let (mut opened, _) = Journal::open(&path, 0).unwrap();
    let large = Change { put: vec![("a".into(), vec![1; CAPACITY])], delete: Vec::new() };
    assert!(!opened.append(&[large]).unwrap());
    assert_eq!(opened.last(), 3);
    assert_eq!(Journal::open(&path, 0).unwrap().1.len(), 4);
}
