use std::os::unix::fs::PermissionsExt;
use std::thread;

use std::fs;

use super::*;
use crate::journal::CAPACITY;

/// No other process has the store.
const NO_WAIT: Duration = Duration::ZERO;

fn put(key: &str, value: &[u8]) -> Change {
    Change { put: vec![(key.to_owned(), value.to_vec())], delete: Vec::new() }
}

fn delete(key: &str) -> Change {
    Change { put: Vec::new(), delete: vec![key.to_owned()] }
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn committed_records_survive_reopening() {
    let directory = directory();
    let path = directory.path().join("world");
    let store = Store::open(&path, NO_WAIT).unwrap();
    assert_eq!(store.load(), Records::new());
    store.commit(put("network/b", b"1")).unwrap();
    store.commit(put("network/a", b"2")).unwrap();
    store
        .commit(Change {
            put: vec![("sandbox/c".into(), b"3".to_vec()), ("network/b".into(), b"4".to_vec())],
            delete: vec!["network/a".into(), "network/nosuch".into()],
        })
        .unwrap();
    drop(store);
    let expected = [("network/b".into(), b"4".to_vec()), ("sandbox/c".into(), b"3".to_vec())];
    assert_eq!(Store::open(&path, NO_WAIT).unwrap().load(), expected.into());
    for file in ["world.snapshot", "world.journal", "world.lock"] {
        let mode = directory.path().join(file).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_change_deletes_before_it_puts() {
    let directory = directory();
    let store = Store::open(directory.path().join("world"), NO_WAIT).unwrap();
    store.commit(Change { put: vec![("a".into(), b"1".to_vec())], delete: vec!["a".into()] }).unwrap();
    assert_eq!(store.load(), [("a".into(), b"1".to_vec())].into());
}

#[test]
fn changes_apply_in_the_order_of_submission() {
    let directory = directory();
    let store = Store::open(directory.path().join("world"), NO_WAIT).unwrap();
    let first = store.submit(put("a", b"1"));
    let second = store.submit(delete("a"));
    let third = store.submit(put("b", b"1"));
    let fourth = store.submit(put("b", b"2"));
    fourth.wait().unwrap();
    assert_eq!(store.load(), [("b".into(), b"2".to_vec())].into());
    third.wait().unwrap();
    first.wait().unwrap();
    second.wait().unwrap();
    assert_eq!(store.load(), [("b".into(), b"2".to_vec())].into());
}

#[test]
fn a_dropped_ticket_does_not_lose_its_change() {
    let directory = directory();
    let store = Store::open(directory.path().join("world"), NO_WAIT).unwrap();
    drop(store.submit(put("a", b"1")));
    assert_eq!(store.load(), [("a".into(), b"1".to_vec())].into());
}

#[test]
fn many_threads_commit_at_once_and_each_finds_its_record() {
    let directory = directory();
    let store = Store::open(directory.path().join("world"), NO_WAIT).unwrap();
    thread::scope(|scope| {
        for writer in 0..16 {
            let store = &store;
            scope.spawn(move || {
                for step in 0..20 {
                    let key = format!("{writer}/{step}");
                    store.commit(put(&key, &[writer])).unwrap();
                    assert_eq!(store.load().get(&key), Some(&vec![writer]));
                }
            });
        }
    });
    assert_eq!(store.load().len(), 16 * 20);
}

#[test]
fn a_locked_store_names_the_process_that_holds_it() {
    let directory = directory();
    let path = directory.path().join("world");
    let _held = Store::open(&path, NO_WAIT).unwrap();
    let error = Store::open(&path, Duration::from_millis(20)).unwrap_err();
    assert!(matches!(&error, StoreError::Locked { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    assert!(text.contains(&path.display().to_string()), "{text}");
}

#[test]
fn opening_waits_for_the_lock() {
    let directory = directory();
    let path = directory.path().join("world");
    let held = Store::open(&path, NO_WAIT).unwrap();
    thread::scope(|scope| {
        let second = scope.spawn(|| Store::open(&path, Duration::from_secs(60)).unwrap().load());
        thread::sleep(Duration::from_millis(30));
        held.commit(put("a", b"1")).unwrap();
        drop(held);
        assert_eq!(second.join().unwrap(), [("a".into(), b"1".to_vec())].into());
    });
}

#[test]
fn a_newer_format_is_refused() {
    let directory = directory();
    let path = directory.path().join("world");
    Store::open(&path, NO_WAIT).unwrap();
    let snapshot = directory.path().join("world.snapshot");
    let mut bytes = fs::read(&snapshot).unwrap();
    bytes[12] = 3;
    fs::write(&snapshot, bytes).unwrap();
    let error = Store::open(&path, NO_WAIT).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 3, known: 2, .. }), "{error}");
    assert!(error.to_string().contains("start the newer version again"), "{error}");
}

#[test]
fn a_damaged_snapshot_is_refused_by_its_path() {
    let directory = directory();
    let path = directory.path().join("world");
    let snapshot = directory.path().join("world.snapshot");
    let store = Store::open(&path, NO_WAIT).unwrap();
    store.commit(put("network/a", &[0x5a; 3000])).unwrap();
    // More than the journal holds, so that the other record is in the snapshot.
    store.commit(put("network/b", &[0x5b; CAPACITY])).unwrap();
    drop(store);
    let whole = fs::read(&snapshot).unwrap();
    let mut flipped = whole.clone();
    let place = whole.windows(3000).position(|window| window == [0x5a; 3000]).unwrap();
    flipped[place + 1500] ^= 1;
    let cases: [(&str, &[u8]); 4] = [
        ("no store", b"something else entirely"),
        ("empty", b""),
        ("a flipped bit", &flipped),
        ("cut short", &whole[..whole.len() / 2]),
    ];
    for (what, bytes) in cases {
        fs::write(&snapshot, bytes).unwrap();
        for error in [Store::open(&path, NO_WAIT).unwrap_err(), Store::read(&path).unwrap_err()] {
            assert!(matches!(error, StoreError::Damaged { .. }), "{what}: {error:?}");
            assert!(error.to_string().contains(&path.display().to_string()), "{what}: {error}");
        }
        assert_eq!(fs::read(&snapshot).unwrap(), bytes, "{what}: the file was changed");
    }
}

#[test]
fn open_reports_a_damaged_journal() {
    let directory = directory();
    let path = directory.path().join("world");
    let journal = directory.path().join("world.journal");
    let store = Store::open(&path, NO_WAIT).unwrap();
    store.commit(put("network/a", b"1")).unwrap();
    store.commit(put("network/b", b"2")).unwrap();
    drop(store);
    let whole = fs::read(&journal).unwrap();
    let mut flipped = whole.clone();
    flipped[20] ^= 1;
    fs::write(&journal, flipped).unwrap();
    let error = Store::open(&path, NO_WAIT).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    fs::remove_file(&journal).unwrap();
    let error = Store::open(&path, NO_WAIT).unwrap_err();
    assert!(error.to_string().contains("journal is missing"), "{error}");
    fs::write(&journal, whole).unwrap();
    assert_eq!(Store::open(&path, NO_WAIT).unwrap().load().len(), 2);
}

#[test]
fn a_missing_snapshot_with_a_used_journal_is_an_error() {
    let directory = directory();
    let path = directory.path().join("world");
    let (snapshot, journal) =
        (directory.path().join("world.snapshot"), directory.path().join("world.journal"));
    let store = Store::open(&path, NO_WAIT).unwrap();
    store.commit(put("network/a", b"1")).unwrap();
    drop(store);
    let (records, changes) = (fs::read(&snapshot).unwrap(), fs::read(&journal).unwrap());
    fs::remove_file(&snapshot).unwrap();
    let error = Store::open(&path, NO_WAIT).unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error:?}");
    assert!(error.to_string().contains(&journal.display().to_string()), "{error}");
    assert_eq!(fs::read(&journal).unwrap(), changes, "the journal was changed");
    fs::write(&snapshot, records).unwrap();
    assert_eq!(Store::open(&path, NO_WAIT).unwrap().load(), put("network/a", b"1").put.into_iter().collect());
    // A crash while a store is made leaves an empty journal, or a part of one.
    for unused in [&vec![0; CAPACITY][..], &[0; 100], b""] {
        fs::remove_file(&snapshot).unwrap();
        fs::write(&journal, unused).unwrap();
        assert_eq!(Store::open(&path, NO_WAIT).unwrap().load(), Records::new());
    }
}

#[test]
fn a_failed_write_names_its_reason_and_the_next_change_tries_again() {
    let directory = directory();
    let path = directory.path().join("world");
    let store = Store::open(&path, NO_WAIT).unwrap();
    store.commit(put("a", b"1")).unwrap();
    assert!(store.health().is_none());
    store.shared.disk().files.faults.fail(0, usize::MAX);
    let error = store.commit(put("b", b"2")).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("world.journal: No space left on device"), "{text}");
    let first = store.health().unwrap();
    assert_eq!(first.error.to_string(), text);
    store.commit(put("c", b"3")).unwrap_err();
    assert_eq!(store.health().unwrap().since, first.since);
    assert_eq!(store.load(), put("a", b"1").put.into_iter().collect());
    // With space again, asking for the health is enough.
    store.shared.disk().files.faults.fail(0, 0);
    assert!(store.health().is_none());
    store.commit(put("d", b"4")).unwrap();
    drop(store);
    let keys: Vec<String> = Store::open(&path, NO_WAIT).unwrap().load().into_keys().collect();
    assert_eq!(keys, ["a", "d"]);
}

#[test]
fn statistics_count_changes_and_writes_and_say_whether_the_last_failed() {
    let directory = directory();
    let store = Store::open(directory.path().join("world"), NO_WAIT).unwrap();
    let tickets = [store.submit(put("a", b"1")), store.submit(put("b", b"2"))];
    tickets.iter().for_each(|ticket| ticket.wait().unwrap());
    let before = store.statistics();
    assert_eq!((before.submitted, before.writes, before.fails), (2, 1, false));
    assert!(before.bytes >= CAPACITY as u64 && before.writing > Duration::ZERO, "{before:?}");
    store.shared.disk().files.faults.fail(0, usize::MAX);
    store.commit(put("c", b"3")).unwrap_err();
    let after = store.statistics();
    assert_eq!((after.submitted, after.writes, after.fails), (3, 2, true));
}

#[test]
fn a_failed_write_fails_all_that_was_submitted_with_it() {
    let directory = directory();
    let path = directory.path().join("world");
    let store = Store::open(&path, NO_WAIT).unwrap();
    store.shared.disk().files.faults.fail(0, 1);
    let tickets = [store.submit(put("a", b"1")), store.submit(put("b", b"2"))];
    for ticket in tickets {
        ticket.wait().unwrap_err();
        assert!(ticket.outcome().unwrap().is_err());
    }
    store.submit(put("x", b"0")).wait().expect_err("it may rest on what failed");
    store.resume();
    let ticket = store.submit(put("c", b"3"));
    assert!(ticket.outcome().is_none());
    ticket.wait().unwrap();
    assert_eq!(store.load(), put("c", b"3").put.into_iter().collect());
}

#[test]
fn a_failed_write_fails_what_was_submitted_during_it() {
    let directory = directory();
    let store = Store::open(directory.path().join("world"), NO_WAIT).unwrap();
    thread::scope(|scope| {
        // The first commit waits for the disk.
        let disk = store.shared.disk();
        disk.files.faults.fail(0, 1);
        let first = scope.spawn(|| store.commit(put("a", b"1")));
        while !store.shared.queue().committing {
            thread::yield_now();
        }
        let second = store.submit(put("b", b"2"));
        drop(disk);
        first.join().unwrap().unwrap_err();
        second.wait().unwrap_err();
    });
    assert_eq!(store.load(), Records::new());
    store.commit(put("c", b"3")).unwrap();
}

#[test]
fn records_survive_many_snapshots() {
    let directory = directory();
    let path = directory.path().join("world");
    let mut expected = Records::new();
    for round in 0..4_u8 {
        let store = Store::open(&path, NO_WAIT).unwrap();
        for step in 0..30_u8 {
            let (key, value) = (format!("sandbox/{}", step % 7), vec![round ^ step; CAPACITY / 10]);
            store.commit(put(&key, &value)).unwrap();
            expected.insert(key, value);
            if step % 5 == 0 {
                store.commit(delete(&format!("sandbox/{}", step % 3))).unwrap();
                expected.remove(&format!("sandbox/{}", step % 3));
            }
        }
        assert_eq!(store.load(), expected);
        drop(store);
        let store = Store::open(&path, NO_WAIT).unwrap();
        assert_eq!(store.load(), expected);
    }
}

#[test]
fn a_missing_directory_is_named() {
    let directory = directory();
    let path = directory.path().join("nosuch/world");
    let error = Store::open(&path, NO_WAIT).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("nosuch"), "{error}");
}
