//! ARCHITECTURE.md: its table of crates is that of the manifests, its code map has each module, its paragraphs are short.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::arrows::ARROWS;
use crate::{assert_none, root};

/// The most lines that a paragraph may have.
const PARAGRAPH_LIMIT: usize = 5;

fn page() -> String {
    std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

/// The cells of the rows of a table whose first cell is code.
fn rows(text: &str) -> impl Iterator<Item = (&str, Vec<&str>)> {
    text.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` |")?;
        Some((name, rest.trim_end_matches('|').split('|').map(str::trim).collect()))
    })
}

/// The part of the page below a heading, up to the next one of its level.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let level = heading.split(' ').next().unwrap();
    let below = page
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("there is no heading {heading}"))
        .1;
    below.split(&format!("\n{level} ")).next().unwrap()
}

#[test]
fn the_table_of_crates_is_that_of_the_manifests() {
    let page = page();
    let documented: BTreeMap<&str, String> =
        rows(section(&page, "## Crates")).map(|(name, cells)| (name, cells[1].to_owned())).collect();
    let uses = |used: &[&str]| if used.is_empty() { "nothing".to_owned() } else { used.join(", ") };
    let expected: BTreeMap<&str, String> = ARROWS.iter().map(|(name, used)| (*name, uses(used))).collect();
    assert_eq!(documented, expected, "the table of crates in ARCHITECTURE.md");
}

#[test]
fn the_code_map_has_a_line_for_each_module() {
    let page = page();
    let mut offences = Vec::new();
    for (name, _) in ARROWS {
        let documented: BTreeSet<String> =
            rows(section(&page, &format!("### {name}"))).map(|(module, _)| module.to_owned()).collect();
        let source = root().join("crates").join(name).join("src");
        let mut modules = modules_of(&source, "");
        let detailed = documented.iter().filter_map(|module| module.split_once("::"));
        for parent in detailed.map(|(parent, _)| parent).collect::<BTreeSet<_>>() {
            modules.extend(modules_of(&source.join(parent), &format!("{parent}::")));
        }
        offences
            .extend(modules.difference(&documented).map(|module| format!("{name}: no line for {module}")));
        offences.extend(
            documented.difference(&modules).map(|module| format!("{name}: there is no module {module}")),
        );
    }
    assert_none("the code map of ARCHITECTURE.md has one line for each module", offences);
}

/// The modules in a directory, except those of tests, with a prefix before each name.
fn modules_of(directory: &Path, prefix: &str) -> BTreeSet<String> {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let names =
        files.filter_map(|entry| Some(entry.file_name().into_string().ok()?.strip_suffix(".rs")?.to_owned()));
    let other = ["lib", "main", "tests", "testing"];
    names.filter(|name| !other.contains(&name.as_str())).map(|name| format!("{prefix}{name}")).collect()
}

#[test]
fn paragraphs_are_short() {
    let page = page();
    let long = page.split("\n\n").filter(|paragraph| {
        let first = paragraph.trim_start();
        let prose = !first.starts_with(['|', '`', '#']);
        let items = first.split("\n- ").flat_map(|item| item.split("\n1. "));
        prose && items.flat_map(numbered).any(|item| item.lines().count() > PARAGRAPH_LIMIT)
    });
    assert_none("paragraphs of ARCHITECTURE.md have at most five lines", long.map(str::to_owned).collect());
}

/// The items of a numbered list: each begins with a digit.
fn numbered(text: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    for line in text.lines() {
        if line.starts_with(|c: char| c.is_ascii_digit()) {
            items.push(String::new());
        }
        let item = items.last_mut().unwrap();
        item.push_str(line);
        item.push('\n');
    }
    items
}
