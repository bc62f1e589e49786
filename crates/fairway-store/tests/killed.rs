//! What a store holds after the process that writes to it was killed.

#![allow(clippy::disallowed_methods, reason = "the test kills a program")]
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use fairway_store::Store;

#[test]
fn a_killed_writer_leaves_a_prefix_of_its_commits_with_all_that_were_acknowledged() {
    for round in 0..4_u64 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("world");
        let mut child = Command::new(env!("CARGO_BIN_EXE_commit-until-killed"))
            .arg(&path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = BTreeSet::new();
        let mut note = |line: std::io::Result<String>| {
            let line = line.unwrap();
            if let Some(number) = line.strip_prefix("acknowledged ") {
                acknowledged.insert(number.parse::<u64>().unwrap());
            }
            acknowledged.len()
        };
        // More than one round of the journal, then an instant that differs.
        while lines.next().is_some_and(|line| note(line) < 60 + 10 * round as usize) {}
        thread::sleep(Duration::from_micros(400 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines {
            note(line);
        }
        assert!(acknowledged.len() >= 60, "the writer did not get far");

        let records = Store::open(&path, Duration::ZERO).unwrap().load();
        let present: BTreeSet<u64> = records.keys().map(|key| key.parse().unwrap()).collect();
        assert_eq!(present, (1..=present.len() as u64).collect(), "not a prefix");
        assert!(acknowledged.is_subset(&present), "an acknowledged commit is gone");
    }
}
