use std::os::unix::fs::PermissionsExt;
use std::thread;

use std::fs;

use redb::Database;

use super::*;
use crate::disk::{FORMAT, write_format};
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
    assert_eq!(store.load().unwrap(), []);
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
    assert_eq!(Store::open(&path, NO_WAIT).unwrap().load().unwrap(), expected);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_change_deletes_before_it_puts() {
    let directory = directory();
    let store = Store::open(directory.path().join("world"), NO_WAIT).unwrap();
    store.commit(Change { put: vec![("a".into(), b"1".to_vec())], delete: vec!["a".into()] }).unwrap();
    assert_eq!(store.load().unwrap(), [("a".into(), b"1".to_vec())]);
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
    assert_eq!(store.load().unwrap(), [("b".into(), b"2".to_vec())]);
    third.wait().unwrap();
    first.wait().unwrap();
    second.wait().unwrap();
    assert_eq!(store.load().unwrap(), [("b".into(), b"2".to_vec())]);
}

#[test]
fn a_dropped_ticket_does_not_lose_its_change() {
    let directory = directory();
    let store = Store::open(directory.path().join("world"), NO_WAIT).unwrap();
    drop(store.submit(put("a", b"1")));
    assert_eq!(store.load().unwrap(), [("a".into(), b"1".to_vec())]);
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
                    assert!(store.load().unwrap().contains(&(key, vec![writer])));
                }
            });
        }
    });
    assert_eq!(store.load().unwrap().len(), 16 * 20);
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
        let second = scope.spawn(|| Store::open(&path, Duration::from_secs(60)).unwrap().load().unwrap());
        thread::sleep(Duration::from_millis(30));
        held.commit(put("a", b"1")).unwrap();
        drop(held);
        assert_eq!(second.join().unwrap(), [("a".into(), b"1".to_vec())]);
    });
}

#[test]
fn a_newer_format_is_refused() {
    let directory = directory();
    let path = directory.path().join("world");
    Store::open(&path, NO_WAIT).unwrap();
    let database = Database::open(&path).unwrap();
    write_format(&database, FORMAT + 1).unwrap();
    drop(database);
    let error = Store::open(&path, NO_WAIT).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found, known: FORMAT, .. } if found == FORMAT + 1));
}

#[test]
fn open_reports_a_damaged_database_by_its_path() {
    let directory = directory();
    let path = directory.path().join("world");
    let store = Store::open(&path, NO_WAIT).unwrap();
    store.commit(put("network/a", &[0x5a; 3000])).unwrap();
    // More than the journal holds, so that all records are in the database.
    store.commit(put("network/b", &[0x5b; CAPACITY])).unwrap();
    drop(store);
    let whole = fs::read(&path).unwrap();
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
        fs::write(&path, bytes).unwrap();
        let error = Store::open(&path, NO_WAIT).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{what}: {error:?}");
        assert!(error.to_string().contains(&path.display().to_string()), "{what}: {error}");
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
    assert_eq!(Store::open(&path, NO_WAIT).unwrap().load().unwrap().len(), 2);
}

#[test]
fn a_missing_database_with_a_used_journal_is_an_error() {
    let directory = directory();
    let path = directory.path().join("world");
    let journal = directory.path().join("world.journal");
    let store = Store::open(&path, NO_WAIT).unwrap();
    store.commit(put("network/a", b"1")).unwrap();
    drop(store);
    let (database, changes) = (fs::read(&path).unwrap(), fs::read(&journal).unwrap());
    fs::remove_file(&path).unwrap();
    let error = Store::open(&path, NO_WAIT).unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error:?}");
    assert!(error.to_string().contains(&journal.display().to_string()), "{error}");
    assert_eq!(fs::read(&journal).unwrap(), changes, "the journal was changed");
    fs::write(&path, database).unwrap();
    assert_eq!(Store::open(&path, NO_WAIT).unwrap().load().unwrap(), [("network/a".into(), b"1".to_vec())]);
    // A crash while a store is made leaves an empty journal, or a part of one.
    for unused in [&vec![0; CAPACITY][..], &[0; 100], b""] {
        fs::remove_file(&path).unwrap();
        fs::write(&journal, unused).unwrap();
        assert_eq!(Store::open(&path, NO_WAIT).unwrap().load().unwrap(), []);
    }
}

#[test]
fn records_survive_many_checkpoints() {
    let directory = directory();
    let path = directory.path().join("world");
    let mut expected = std::collections::BTreeMap::new();
    for round in 0..4_u8 {
        let store = Store::open(&path, NO_WAIT).unwrap();
        for step in 0..30_u8 {
            let (key, value) = (format!("sandbox/{}", step % 7), vec![round ^ step; 100_000]);
            store.commit(put(&key, &value)).unwrap();
            expected.insert(key, value);
            if step % 5 == 0 {
                store.commit(delete(&format!("sandbox/{}", step % 3))).unwrap();
                expected.remove(&format!("sandbox/{}", step % 3));
            }
        }
        assert_eq!(store.load().unwrap(), Vec::from_iter(expected.clone()));
        drop(store);
        let store = Store::open(&path, NO_WAIT).unwrap();
        assert_eq!(store.load().unwrap(), Vec::from_iter(expected.clone()));
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
