//! Each target takes its corpus, and some thousand changes of it; the corpus and the targets of cargo-fuzz are complete.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use fairway_fuzz::{TARGETS, corpus, mutate};
use fairway_model::Rng;

/// How many changed inputs each target is given.
const CHANGED: usize = 3000;

#[test]
fn no_target_panics() {
    for target in &TARGETS {
        let inputs = corpus(target.name).unwrap_or_else(|error| panic!("{}: {error}", target.name));
        assert!(!inputs.is_empty(), "{} has no corpus", target.name);
        inputs.iter().for_each(|input| (target.run)(&input.bytes));
        let inputs: Vec<&[u8]> = inputs.iter().map(|input| input.bytes.as_slice()).collect();
        let mut rng = Rng::new(1);
        for _ in 0..CHANGED {
            (target.run)(&mutate(&inputs, &mut rng));
        }
    }
}

#[test]
fn cargo_fuzz_has_each_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let entries = |directory: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(root.join(directory)).unwrap().flatten();
        entries.map(|entry| entry.path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(entries("corpus"), names);
    assert_eq!(entries("fuzz_targets"), names);
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for name in &names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        let text = std::fs::read_to_string(root.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(text.contains(&format!("\"{name}\"")), "{name}");
    }
}
