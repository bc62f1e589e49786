//! Arrows between crates: which crate may use which.

use std::collections::BTreeMap;

use crate::{assert_none, root};

/// The crates that each crate may use. An arrow points from user to used; there are no cycles.
pub const ARROWS: [(&str, &[&str]); 18] = [
    ("fairway-model", &[]),
    ("fairway-ruleset", &["model"]),
    ("fairway-core", &["model", "ruleset"]),
    ("fairway-walk", &["model", "ruleset"]),
    ("fairway-inspect", &["model", "ruleset", "core", "walk"]),
    ("fairway-kernel", &["model", "ruleset", "core", "walk"]),
    ("fairway-store", &[]),
    ("fairway-relay", &["model", "core"]),
    ("fairway-trace", &["model", "ruleset", "core", "walk", "inspect", "kernel"]),
    ("fairway-engine", &["model", "ruleset", "core", "walk", "inspect", "kernel", "trace", "store", "relay"]),
    ("fairway-api", &["model", "core", "walk", "inspect"]),
    ("fairway-run", &["model", "kernel"]),
    ("fairway-host", &["model", "ruleset", "walk", "inspect", "kernel", "containers", "trace"]),
    ("fairway-lab", &["kernel"]),
    ("fairway-containers", &["model", "kernel"]),
    ("fairway-ui", &["inspect", "containers"]),
    (
        "fairway",
        &[
            "model",
            "core",
            "walk",
            "inspect",
            "kernel",
            "relay",
            "run",
            "engine",
            "api",
            "containers",
            "host",
            "ui",
            "lab",
        ],
    ),
    ("fairway-fuzz", &["api", "core", "kernel", "model", "relay", "store"]),
];

/// The crates of ours below one heading of a manifest.
fn used<'a>(manifest: &'a str, heading: &str) -> Vec<&'a str> {
    let Some(section) = manifest.split(heading).nth(1) else { return Vec::new() };
    let lines = section.split("\n[").next().unwrap().lines();
    lines.filter_map(|line| line.strip_prefix("fairway-")?.split(['.', ' ']).next()).collect()
}

#[test]
fn crates_use_exactly_the_crates_that_the_table_names() {
    let mut table: BTreeMap<_, _> = ARROWS.into_iter().collect();
    let mut offences = Vec::new();
    for entry in std::fs::read_dir(root().join("crates")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let manifest = std::fs::read_to_string(entry.path().join("Cargo.toml")).unwrap();
        let Some(allowed) = table.remove(name.as_str()) else {
            offences.push(format!("{name} is not in the table"));
            continue;
        };
        let used = used(&manifest, "[dependencies]");
        let extra = used.iter().filter(|it| !allowed.contains(it)).map(|it| format!("{name} uses {it}"));
        offences.extend(extra);
        let missing = allowed.iter().filter(|it| !used.contains(it));
        offences.extend(missing.map(|it| format!("{name} does not use {it}, as the table says")));
    }
    offences.extend(table.keys().map(|name| format!("there is no crate {name}")));
    assert_none("the crates' arrows differ from the table", offences);
}
