use std::collections::BTreeSet;

use super::*;
use crate::journal::CAPACITY;

fn put(key: &str, bytes: usize) -> Change {
    Change { put: vec![(key.to_owned(), vec![key.len() as u8; bytes])], delete: Vec::new() }
}

fn open(path: &Path) -> Disk {
    Disk::open(path, Duration::ZERO).unwrap()
}

fn keys(records: &Records) -> BTreeSet<String> {
    records.keys().cloned().collect()
}

/// A store whose journal is full enough that the next but one of these changes needs a snapshot.
fn nearly_full(path: &Path) -> Disk {
    let mut disk = open(path);
    for step in 0..4 {
        disk.write(vec![put(&format!("before/{step}"), CAPACITY / 5)]).unwrap();
    }
    disk
}

/// The file operations of three changes, with the snapshot between them.
fn operations() -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let mut disk = nearly_full(&data.join("world"));
    disk.files.faults.fail(usize::MAX - 1, 0);
    for step in 0..3 {
        disk.write(vec![put(&format!("after/{step}"), CAPACITY / 8)]).unwrap();
    }
    disk.files.faults.log()
}

#[test]
fn each_step_is_on_disk_before_the_next_one_that_rests_on_it() {
    let commit = ["write world.journal", "sync world.journal"];
    let snapshot = [
        "create world.snapshot.new",
        "write world.snapshot.new",
        "sync world.snapshot.new",
        "rename world.snapshot.new",
        "sync data",
    ];
    assert_eq!(operations(), [&commit[..], &snapshot, &commit, &commit].concat());
}

#[test]
fn what_is_durable_is_what_was_acknowledged_whatever_operation_fails_for_however_long() {
    for healthy in 0..operations().len() {
        for length in [1, 2, 3, 7] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("world");
            let mut disk = nearly_full(&path);
            let mut acknowledged = keys(disk.records());
            disk.files.faults.fail(healthy, length);
            let case = format!("{length} operations fail after {healthy}");
            for step in 0..3 {
                let key = format!("after/{step}");
                if disk.write(vec![put(&key, CAPACITY / 8)]).is_ok() {
                    acknowledged.insert(key);
                }
                assert_eq!(keys(disk.records()), acknowledged, "{case}");
            }
            // As soon as operations succeed, changes do.
            disk.files.faults.fail(0, 0);
            disk.write(vec![put("last", 10)]).unwrap_or_else(|error| panic!("{case}: {error}"));
            acknowledged.insert("last".to_owned());
            drop(disk);
            assert_eq!(keys(open(&path).records()), acknowledged, "{case}");
        }
    }
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_acknowledged() {
    for healthy in 0..operations().len() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("world");
        let mut disk = nearly_full(&path);
        let mut acknowledged = keys(disk.records());
        // After a crash nothing is done any more, and the last operation is done by half or not acknowledged.
        disk.files.faults.fail(healthy, usize::MAX);
        let mut submitted = acknowledged.clone();
        for step in 0..3 {
            let key = format!("after/{step}");
            submitted.insert(key.clone());
            match disk.write(vec![put(&key, CAPACITY / 8)]) {
                Ok(()) => drop(acknowledged.insert(key)),
                Err(_) => break,
            }
        }
        drop(disk);
        let found = keys(open(&path).records());
        assert!(acknowledged.is_subset(&found), "crash after {healthy}: lost {acknowledged:?}: {found:?}");
        assert!(found.is_subset(&submitted), "crash after {healthy}: {found:?}");
        let mut again = open(&path);
        again.write(vec![put("last", 10)]).unwrap();
        drop(again);
        assert!(keys(open(&path).records()).contains("last"));
    }
}

#[test]
fn creating_a_store_can_be_interrupted_anywhere() {
    for healthy in 0.. {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("world");
        let files = Files::of(&path);
        files.faults.fail(healthy, usize::MAX);
        let done = create(&files, &Records::new()).is_ok();
        let mut disk = open(&path);
        disk.write(vec![put("a", 1)]).unwrap();
        drop(disk);
        assert_eq!(keys(open(&path).records()), BTreeSet::from(["a".to_owned()]), "after {healthy}");
        if done {
            assert!(healthy > 5);
            return;
        }
    }
}

#[test]
fn a_failed_snapshot_leaves_no_draft_and_refuses_small_changes_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("world");
    let mut disk = nearly_full(&path);
    disk.files.faults.fail(1, usize::MAX);
    let error = disk.write(vec![put("large", CAPACITY / 4)]).unwrap_err();
    assert!(error.to_string().contains("world.snapshot.new: No space left on device"), "{error}");
    assert!(!disk.files.draft.exists());
    disk.write(vec![put("small", 1)]).unwrap_err();
    disk.write(vec![Change::default()]).unwrap_err();
    disk.files.faults.fail(0, 0);
    disk.write(vec![Change::default()]).unwrap();
    disk.write(vec![put("small", 1)]).unwrap();
    drop(disk);
    assert!(keys(open(&path).records()).contains("small"));
}

#[test]
fn records_are_read_while_another_thread_writes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("world");
    let mut disk = open(&path);
    disk.write(vec![put("0000", CAPACITY / 9)]).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for step in 1..60 {
                disk.write(vec![put(&format!("{step:04}"), CAPACITY / 9)]).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        let mut before = 0;
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            let Ok(records) = read(&path) else { continue };
            let expected: BTreeSet<String> = (0..records.len()).map(|step| format!("{step:04}")).collect();
            assert_eq!(keys(&records), expected, "not a prefix");
            assert!(records.len() >= before, "older than what was read before");
            before = records.len();
        }
    });
    assert_eq!(read(&path).unwrap().len(), 60);
}
