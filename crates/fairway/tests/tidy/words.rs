//! Words: what readers see is written in the field's language.
//!
//! The list names words that were once used here in a sense of our own, where the field has a term.

use crate::{assert_none, root, sources};

/// Words that are not used in documents, help, errors, logs, JSON keys, doc comments and names, with the word that is.
const WORDS: [(&str, &str); 21] = [
    ("ill", "finding"),
    ("ills", "findings"),
    ("mend", "repair, fix"),
    ("mends", "repairs, fixes"),
    ("mended", "repaired"),
    ("told", "reported, logged, sent"),
    ("tell", "report, say"),
    ("tells", "reports, says"),
    ("beside", "foreign, along with"),
    ("whoever", "the noun"),
    ("nobody", "no process, no sandbox"),
    ("somebody", "another program, a user"),
    ("seldom", "rarely"),
    ("heed", "apply, respect"),
    ("lately", "recently"),
    ("house", "project, host"),
    ("room", "space, module"),
    ("rooms", "modules"),
    ("stand-in", "dummy, replacement"),
    ("standin", "dummy, replacement"),
    ("manners", "behavior"),
];

/// Phrases that are not used either.
const PHRASES: [(&str, &str); 4] = [
    ("out of sight", "unlinked"),
    ("of the older kind", "iptables-legacy"),
    ("stand in", "replace"),
    ("stands in", "replaces"),
];

/// The words of a text in lower case: `OwnMacs`, `own_macs` and `own macs` have the same.
fn words(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut word = String::new();
    let mut previous_is_lower = false;
    for letter in text.chars() {
        let begins = letter.is_uppercase() && previous_is_lower;
        if (begins || !(letter.is_alphabetic() || letter == '-')) && !word.is_empty() {
            found.push(std::mem::take(&mut word));
        }
        if letter.is_alphabetic() || (letter == '-' && !word.is_empty()) {
            word.extend(letter.to_lowercase());
        }
        previous_is_lower = letter.is_lowercase();
    }
    found.push(word);
    found
}

/// What a text says that is on the list. To tell things apart is allowed.
fn offences(text: &str) -> Vec<String> {
    let allowed = ["tell apart", "tells apart", "told apart"];
    let lower = allowed.iter().fold(text.to_lowercase(), |text, phrase| text.replace(phrase, ""));
    let words = if lower.len() == text.len() { words(text) } else { words(&lower) };
    let said = WORDS.iter().filter(|(word, _)| words.iter().any(|it| it == word));
    let phrases = PHRASES.iter().filter(|(phrase, _)| lower.contains(phrase));
    said.chain(phrases).map(|(word, instead)| format!("\"{word}\" (write: {instead})")).collect()
}

/// What a reader sees of a line of code: its doc comment, its string literals, and the name that it defines.
fn seen(line: &str) -> String {
    let trimmed = line.trim_start();
    if trimmed.starts_with("///") || trimmed.starts_with("//!") {
        return trimmed.to_owned();
    }
    let code = trimmed.split(" // ").next().unwrap_or_default();
    let literals = code.split('"').skip(1).step_by(2).collect::<Vec<_>>().join(" ");
    let defines = ["fn ", "struct ", "enum ", "trait ", "mod ", "const ", "static ", "type "];
    let name = defines.iter().find_map(|it| {
        let after = code.strip_prefix("pub ").or(code.strip_prefix("pub(crate) ")).unwrap_or(code);
        let after = after.strip_prefix("const fn ").or_else(|| after.strip_prefix(it))?;
        after.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next()
    });
    format!("{literals} {}", name.unwrap_or_default())
}

/// Every Markdown file of the repository: its path from the root, and its text.
fn documents() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut directories = vec![root()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            if path.is_dir() && name != "target" && !name.starts_with(".git") {
                directories.push(path);
            } else if name.ends_with(".md") {
                found.push((name, std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(found.len() > 10, "the documents are found");
    found
}

#[test]
fn documents_use_the_terms_of_the_field() {
    let mut found = Vec::new();
    for (path, text) in documents() {
        for (number, line) in text.lines().enumerate() {
            found.extend(offences(line).iter().map(|it| format!("{path}:{}: {it}", number + 1)));
        }
    }
    assert_none("documents use words that are on the list", found);
}

#[test]
fn code_uses_the_terms_of_the_field() {
    let mut found = Vec::new();
    for (path, text) in sources().iter().filter(|(path, _)| !path.contains("tests/tidy/")) {
        found.extend(offences(path).iter().map(|it| format!("{path}: {it} in its name")));
        for (number, line) in text.lines().enumerate() {
            found.extend(offences(&seen(line)).iter().map(|it| format!("{path}:{}: {it}", number + 1)));
        }
    }
    assert_none("doc comments, string literals and names use words that are on the list", found);
}

#[test]
fn the_list_is_found_in_names_and_sentences() {
    assert_eq!(offences("/// Told apart by number."), Vec::<String>::new());
    assert_eq!(offences("a room_with `StandIn`").len(), 1);
    assert_eq!(offences("fn is_told()").len(), 1);
    assert_eq!(offences("OutOfSight and out of sight").len(), 1);
    assert_eq!(seen("pub const fn heed(self) // nobody"), " heed");
    assert_eq!(seen("    Err(\"nobody\".to_owned())"), "nobody ");
}
