use std::fs;
use std::time::Duration;

use super::*;
use crate::disk::Disk;
use crate::{Change, Store};

/// A store of version 0.1.0 that was killed: its database has the network `web` with the sandbox `shop`; its journal the
/// network `late`, which `shop` joined, and the sandbox `mail`, which runs and has a published port.
const DATABASE: &[u8] = include_bytes!("../../tests/data/format-1.redb");
/// Its journal without the zeros at the end.
const TAIL: &[u8] = include_bytes!("../../tests/data/format-1.redb.journal");
/// The records that version 0.1.0 reads, one in a line: key, space, value.
const RECORDS: &str = include_str!("../../tests/data/format-1.records");

fn expected() -> Records {
    let records = RECORDS.lines().map(|line| line.split_once(' ').unwrap());
    records.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).collect()
}

fn old_store() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("world");
    fs::write(database(&path), DATABASE).unwrap();
    let mut journal = TAIL.to_vec();
    journal.resize(super::JOURNAL.capacity, 0);
    fs::write(companion_file(&path, ".redb.journal"), journal).unwrap();
    (directory, path)
}

fn open(path: &Path) -> Result<Store, StoreError> {
    Store::open(path, Duration::ZERO)
}

#[test]
fn the_store_of_the_version_before_is_migrated_with_nothing_lost() {
    let (_directory, path) = old_store();
    assert!(Store::exists(&path));
    assert!(matches!(Store::read(&path), Err(StoreError::Older { .. })));
    let store = open(&path).unwrap();
    assert_eq!(store.load(), expected());
    store.commit(Change { put: vec![("a".into(), b"1".to_vec())], delete: Vec::new() }).unwrap();
    drop(store);
    let mut records = expected();
    records.insert("a".into(), b"1".to_vec());
    assert_eq!(open(&path).unwrap().load(), records);
    assert_eq!(Store::read(&path).unwrap(), records);
    assert!(companion_file(&path, ".redb.old").exists(), "the old database is kept");
    assert!(!database(&path).exists());
    Store::delete(&path).unwrap();
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn the_database_is_renamed_durably_before_a_change_can_be_written() {
    let (_directory, path) = old_store();
    let log = Disk::open(&path, Duration::ZERO).unwrap().files.faults.log();
    let renamed = log.iter().position(|operation| operation == "rename world.redb").unwrap();
    let directory = path.parent().unwrap().file_name().unwrap();
    assert_eq!(log[renamed + 1..], [format!("sync {}", directory.display())]);
}

#[test]
fn the_database_alone_lacks_what_is_in_the_journal() {
    let (_directory, path) = old_store();
    let (_, _, records) = read_database(&database(&path)).unwrap();
    assert!(!records.is_empty() && records.len() < expected().len());
}

#[test]
fn a_migration_that_was_interrupted_is_made_again() {
    let (_directory, path) = old_store();
    let database_before = fs::read(database(&path)).unwrap();
    drop(open(&path).unwrap());
    // The crash was after the new store was complete, and before the database was renamed.
    fs::remove_file(companion_file(&path, ".redb.old")).unwrap();
    fs::write(database(&path), &database_before).unwrap();
    assert_eq!(open(&path).unwrap().load(), expected());
    // In the middle: a journal without a snapshot.
    fs::rename(companion_file(&path, ".redb.old"), database(&path)).unwrap();
    fs::remove_file(companion_file(&path, ".snapshot")).unwrap();
    assert_eq!(open(&path).unwrap().load(), expected());
}

#[test]
fn two_stores_with_changes_are_refused() {
    let (_directory, path) = old_store();
    let store = open(&path).unwrap();
    store.commit(Change { put: vec![("a".into(), b"1".to_vec())], delete: Vec::new() }).unwrap();
    drop(store);
    fs::rename(companion_file(&path, ".redb.old"), database(&path)).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Two { .. }), "{error}");
    assert!(error.to_string().contains("world.redb of the version before"), "{error}");
}

#[test]
fn damage_of_the_old_files_is_refused_and_nothing_is_created() {
    for (suffix, what) in [(".redb", "cut"), (".redb.journal", "cut"), (".redb.journal", "missing")] {
        let (_directory, path) = old_store();
        let file = companion_file(&path, suffix);
        match what {
            "cut" => fs::write(&file, &fs::read(&file).unwrap()[..9000]).unwrap(),
            _ => fs::remove_file(&file).unwrap(),
        }
        let error = open(&path).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{suffix} {what}: {error}");
        assert!(!companion_file(&path, ".snapshot").exists());
    }
    let (_directory, path) = old_store();
    fs::remove_file(database(&path)).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
}

#[test]
fn a_running_daemon_of_the_version_before_keeps_its_store() {
    let (_directory, path) = old_store();
    let _held = crate::lock::Lock::take(&database(&path), Duration::ZERO).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    assert!(database(&path).exists() && !companion_file(&path, ".snapshot").exists());
}
