//! The rules of the code base, checked by reading the sources.

#![allow(clippy::unwrap_used, reason = "a test may fail on anything that it did not expect")]

mod architecture;
mod arrows;
mod modules;
mod pages;
mod words;

use std::path::{Path, PathBuf};

/// The most lines that a file may have: about what a reader can hold in the head.
const LINE_LIMIT: usize = 500;

/// The crates that decide without I/O.
const PURE_CRATES: [&str; 5] =
    ["fairway-model", "fairway-ruleset", "fairway-core", "fairway-walk", "fairway-inspect"];

/// What the pure crates must not depend on: I/O, clocks, randomness. What of the standard library they must not use is in
/// `clippy-pure.toml`.
const IMPURE: [&str; 7] = ["getrandom", "jiff", "libc", "nix", "rustix", "tempfile", "tokio"];

/// The one place for unsafe code.
const UNSAFE_MODULE: &str = "crates/fairway-kernel/src/system";

/// Names that say nothing.
const EMPTY_NAMES: [&str; 8] =
    ["utils.rs", "util.rs", "helpers.rs", "helper.rs", "manager.rs", "common.rs", "misc.rs", "types_core.rs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Each Rust file of the workspace: its path from the root, and its text.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut directories = vec![root().join("crates")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(found.len() > 100, "the sources are found");
    found.sort();
    found
}

/// The lines of a file that are neither comments nor below its `#[cfg(test)]` module.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut lines = Vec::new();
    let mut previous = "";
    for (number, line) in text.lines().enumerate() {
        if previous.trim() == "#[cfg(test)]" && line.trim_start().starts_with("mod ") && line.ends_with('{') {
            break;
        }
        previous = line;
        if !line.trim_start().starts_with("//") {
            lines.push((number + 1, line));
        }
    }
    lines.into_iter()
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/")
        || path.contains("/benches/")
        || path.ends_with("tests.rs")
        || path.ends_with("testing.rs")
}

/// Fails with every offence at once.
fn assert_none(rule: &str, offences: Vec<String>) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}

#[test]
fn pure_crates_do_no_io() {
    let mut offences = Vec::new();
    let rules = root().join("clippy-pure.toml");
    for name in PURE_CRATES {
        let directory = root().join("crates").join(name);
        let manifest = std::fs::read_to_string(directory.join("Cargo.toml")).unwrap();
        let dependencies = manifest.split_once("[dependencies]").map_or("", |(_, rest)| rest);
        let dependencies = dependencies.split("\n[").next().unwrap_or_default();
        let foreign = dependencies.lines().filter(|line| {
            IMPURE.iter().any(|word| line.strip_prefix(word).is_some_and(|rest| rest.starts_with([' ', '.'])))
        });
        offences.extend(foreign.map(|line| format!("{name} depends on {line}")));
        if directory.join("clippy.toml").canonicalize().ok().as_ref() != Some(&rules) {
            offences.push(format!("{name} has no link clippy.toml to clippy-pure.toml"));
        }
    }
    assert_none("pure crates have no I/O, no clock and no global state", offences);
}

#[test]
fn unsafe_code_is_in_one_module() {
    let mut offences = Vec::new();
    for (path, text) in sources() {
        let allowed = path.starts_with(UNSAFE_MODULE) || path.contains("tests/tidy/");
        let words = ["unsafe {", "unsafe fn", "unsafe impl", "allow(unsafe_code)"];
        let found = code(&text).filter(|(_, line)| words.iter().any(|word| line.contains(word)));
        offences.extend(found.filter(|_| !allowed).map(|(number, _)| format!("{path}:{number}")));
    }
    assert_none("unsafe code belongs in fairway-kernel's module system", offences);
}

#[test]
fn files_are_short() {
    let long = |(path, text): &(String, String)| {
        let lines = text.lines().count();
        (lines > LINE_LIMIT).then(|| format!("{path}: {lines} lines"))
    };
    assert_none("files have at most 500 lines", sources().iter().filter_map(long).collect());
}

#[test]
fn files_are_named_for_what_they_hold() {
    let empty = |path: &String| EMPTY_NAMES.iter().any(|name| path.ends_with(&format!("/{name}")));
    assert_none("names say something", sources().into_iter().map(|(path, _)| path).filter(empty).collect());
}

#[test]
fn public_items_have_docs() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("missing_docs = \"warn\""), "the lint is on, and clippy makes it an error");
    let mut offences = Vec::new();
    for (path, text) in sources() {
        let crate_root = path.ends_with("src/lib.rs") || path.ends_with("src/main.rs");
        if crate_root && !text.starts_with("//!") {
            offences.push(path.clone());
        }
        if path.ends_with("src/lib.rs") && text.contains("allow(missing_docs)") {
            offences.push(path);
        }
    }
    for entry in std::fs::read_dir(root().join("crates")).unwrap().flatten() {
        let manifest = std::fs::read_to_string(entry.path().join("Cargo.toml")).unwrap();
        if !manifest.contains("[lints]\nworkspace = true") {
            offences.push(format!("{} does not take the workspace's lints", entry.path().display()));
        }
    }
    assert_none("every crate says what it is and documents what it offers", offences);
}

#[test]
fn failures_are_values() {
    let words = [".unwrap()", ".expect(", "panic!(", concat!("unimplement", "ed!"), concat!("to", "do!(")];
    let mut offences = Vec::new();
    for (path, text) in sources() {
        // Labs are made for tests and the demo: there a failure is the end.
        if is_test(&path)
            || !path.contains("/src/")
            || path.contains("fairway-lab")
            || path.contains("/histories")
        {
            continue;
        }
        for (number, line) in code(&text) {
            let found = words.iter().filter(|word| line.contains(**word));
            offences.extend(found.map(|word| format!("{path}:{number}: {word}")));
        }
    }
    assert_none("outside tests nothing panics on purpose", offences);
}

#[test]
fn nothing_is_left_unfinished() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let mut offences = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                offences.push(format!("{path}:{}", number + 1));
            }
        }
    }
    assert_none("what is left to do is an issue, not a comment", offences);
}
