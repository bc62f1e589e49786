//! The pages of the documentation: languages of blocks, links, and names of tests.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{assert_none, root, sources};

/// The languages of blocks, and what becomes of each: `console` is run, `sh` is checked here, `nft` is loaded by the test
/// of firewalls, `text` has no commands.
const LANGUAGES: [&str; 5] = ["console", "console counts", "sh", "nft", "text"];

/// The most lines that README.md may have.
const README_LIMIT: usize = 150;

/// The pages: their path from the root, and their text.
fn pages() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut directories = vec![root().join("docs")];
    let top = std::fs::read_dir(root()).unwrap().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = top.filter(|path| path.is_file()).collect();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            if entry.path().is_dir() { directories.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        found.push((name, std::fs::read_to_string(path).unwrap()));
    }
    assert!(found.len() > 30, "the pages are found");
    found.sort();
    found
}

/// The blocks of a page: the language of each, and its lines.
fn blocks(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            found.push((language, lines.by_ref().take_while(|line| line.trim() != "```").collect()));
        }
    }
    found
}

#[test]
fn each_page_with_commands_is_run() {
    let tests = std::fs::read_to_string(root().join("crates/fairway/tests/lab/documents.rs")).unwrap();
    let runs = |path: &str| tests.contains(&format!("\"{path}\";"));
    let mut offences = Vec::new();
    for (path, text) in pages() {
        for (language, lines) in blocks(&text) {
            if !LANGUAGES.contains(&language) {
                offences.push(format!("{path}: a block has the language `{language}`"));
            }
            if language.starts_with("console") && !runs(&path) {
                offences.push(format!("{path}: tests/lab/documents.rs does not name it"));
            }
            if language == "text"
                && lines.iter().any(|line| line.starts_with("$ ") || line.starts_with("fairway "))
            {
                offences.push(format!("{path}: a block of text has commands"));
            }
        }
    }
    offences.dedup();
    assert_none("each block of commands is run by a test", offences);
}

#[test]
fn commands_for_a_checkout_name_what_is_there() {
    let mut offences = Vec::new();
    for (path, text) in pages() {
        for (_, lines) in blocks(&text).into_iter().filter(|(language, _)| *language == "sh") {
            let unknown = lines.iter().filter(|line| !is_checkout_command(line));
            offences.extend(unknown.map(|line| format!("{path}: {line}")));
        }
    }
    assert_none("blocks of sh name programs, packages and tests of this checkout", offences);
}

/// Whether a line runs cargo or a script of the checkout, on packages and tests that exist.
fn is_checkout_command(line: &str) -> bool {
    let words: Vec<&str> = line.split('#').next().unwrap().split_whitespace().collect();
    let mut command = words.iter().skip_while(|word| word.contains('='));
    let Some(program) = command.next() else { return true };
    let named = |flag: &'static str| words.windows(2).filter(move |pair| pair[0] == flag).map(|pair| pair[1]);
    let tests = root().join("crates/fairway/tests");
    let has_test = |name: &str| tests.join(format!("{name}.rs")).exists() || tests.join(name).is_dir();
    (*program == "cargo" || root().join(program).is_file())
        && named("-p").all(|package| root().join("crates").join(package).is_dir())
        && named("--test").all(has_test)
}

#[test]
fn links_lead_to_files_and_headings() {
    let pages = pages();
    let mut offences = Vec::new();
    for (path, text) in &pages {
        let directory = root().join(path).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { root().join(path) } else { directory.join(file) };
            let text = std::fs::read_to_string(&target).unwrap_or_default();
            let headings: BTreeSet<String> =
                text.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
            if !target.exists() || !heading.is_empty() && !headings.contains(heading) {
                offences.push(format!("{path}: {link}"));
            }
        }
    }
    assert_none("links lead to files and headings of the repository", offences);
}

/// The anchor that a heading has: lower case, words joined by hyphens.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-")
}

#[test]
fn the_readme_is_short() {
    let lines = std::fs::read_to_string(root().join("README.md")).unwrap().lines().count();
    assert!(lines <= README_LIMIT, "README.md has {lines} lines");
}

#[test]
fn every_page_is_in_the_index() {
    let index = std::fs::read_to_string(root().join("docs/README.md")).unwrap();
    let missing = pages().into_iter().filter_map(|(path, _)| {
        let page = path.strip_prefix("docs/")?.to_owned();
        (page != "README.md" && !index.contains(&format!("]({page})"))).then_some(page)
    });
    assert_none("docs/README.md links to each page", missing.collect());
}

#[test]
fn every_test_that_a_page_names_is_there() {
    let tests: String =
        sources().into_iter().filter(|(name, _)| name.contains("/tests/")).map(|(_, text)| text).collect();
    let is_there = |name: &str| {
        let function = name.rsplit("::").next().unwrap();
        tests.contains(&format!("fn {function}(")) || tests.contains(&format!("{function}:"))
    };
    let mut offences = Vec::new();
    let mut count = 0;
    for (path, text) in pages().into_iter().filter(|(path, _)| path.starts_with("docs/")) {
        for row in text.lines().filter(|line| line.starts_with("| ")) {
            let last = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap();
            let names = last.split('`').skip(1).step_by(2);
            for name in names.filter(|name| name.contains("::") && !name.contains(['.', ' '])) {
                count += 1;
                if !is_there(name) {
                    offences.push(format!("{path}: {name}"));
                }
            }
        }
    }
    assert!(count > 200, "{count} tests are named");
    assert_none("pages name tests that exist", offences);
}
