//! Arrows between the modules of a crate: siblings do not use one another in a cycle.

use std::collections::{BTreeMap, BTreeSet};

use crate::{assert_none, code, is_test, sources};

type Path = Vec<String>;

/// The modules of one crate, each with the paths that it names.
#[derive(Default)]
struct Crate {
    modules: BTreeMap<Path, Module>,
}

#[derive(Default)]
struct Module {
    file: String,
    /// What `use` brings in: its name here, and its path from the root of the crate.
    imports: BTreeMap<String, Path>,
    /// Every path that begins with `crate` or `super`, from the root of the crate.
    named: BTreeSet<Path>,
}

/// The module that a file is, from the root of its crate; none if the file is not below `src`.
fn module_of(file: &str) -> Option<(String, Path)> {
    let (name, inside) = file.strip_prefix("crates/")?.split_once("/src/")?;
    let inside = inside.strip_suffix(".rs")?;
    let path = match inside {
        "lib" | "main" => Vec::new(),
        other => other.split('/').map(str::to_owned).collect(),
    };
    Some((name.to_owned(), path))
}

/// Takes a use tree apart: `a::{b, c::d as e}` becomes `a::b` and `a::c::d`, each with its name.
fn leaves(tree: &str, prefix: &[String], found: &mut Vec<(String, Path)>) {
    let tree = tree.trim();
    if let Some((head, group)) = tree.split_once('{') {
        let mut prefix = prefix.to_vec();
        prefix.extend(head.split("::").map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned));
        let group = group.strip_suffix('}').unwrap_or(group);
        let (mut depth, mut start) = (0, 0);
        for (at, letter) in group.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    leaves(&group[start..at], &prefix, found);
                    start = at + 1;
                }
                _ => {}
            }
        }
        if !group[start..].trim().is_empty() {
            leaves(&group[start..], &prefix, found);
        }
        return;
    }
    let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias)));
    let mut whole = prefix.to_vec();
    whole.extend(path.split("::").map(|it| it.trim().to_owned()));
    if whole.last().is_some_and(|it| it == "self") {
        whole.pop();
    }
    let name = alias.map(str::trim).or(whole.last().map(String::as_str)).unwrap_or_default().to_owned();
    found.push((name, whole));
}

/// A path as it is written in a module, from the root of the crate; none if it leads out of the crate.
fn absolute(written: &[String], module: &[String], children: &BTreeSet<String>) -> Option<Path> {
    let mut base = module.to_vec();
    let mut rest = written;
    match rest.first()?.as_str() {
        "crate" => {
            base.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|it| it == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        child if children.contains(child) => {}
        _ => return None,
    }
    base.extend_from_slice(rest);
    Some(base)
}

/// The paths that begin with `crate::` or `super::` in a line of code.
fn paths_in(line: &str) -> Vec<Path> {
    let is_word = |it: char| it.is_alphanumeric() || it == '_' || it == ':';
    let words = line.split(|it| !is_word(it));
    let ours = words.filter(|it| it.starts_with("crate::") || it.starts_with("super::"));
    ours.map(|it| it.split("::").filter(|it| !it.is_empty()).map(str::to_owned).collect()).collect()
}

fn read() -> BTreeMap<String, Crate> {
    let files: Vec<_> = sources().into_iter().filter(|(file, _)| !is_test(file)).collect();
    let modules: BTreeSet<(String, Path)> = files.iter().filter_map(|(file, _)| module_of(file)).collect();
    let mut crates: BTreeMap<String, Crate> = BTreeMap::new();
    for (file, text) in &files {
        let Some((name, path)) = module_of(file) else { continue };
        let children: BTreeSet<String> = modules
            .iter()
            .filter(|(of, it)| *of == name && it.len() == path.len() + 1 && it.starts_with(&path))
            .filter_map(|(_, it)| it.last().cloned())
            .collect();
        let mut module = Module { file: file.clone(), ..Module::default() };
        let mut statement = String::new();
        for (_, line) in code(text) {
            let trimmed = line.trim();
            let begins = ["use ", "pub use ", "pub(crate) use ", "pub(super) use "];
            let tree = begins.iter().find_map(|it| trimmed.strip_prefix(it));
            match tree {
                Some(tree) if statement.is_empty() => statement.push_str(tree),
                _ if !statement.is_empty() => statement.push_str(trimmed),
                _ => {
                    module.named.extend(paths_in(line).iter().filter_map(|it| absolute(it, &path, &children)))
                }
            }
            if statement.ends_with(';') {
                let mut found = Vec::new();
                leaves(statement.trim_end_matches(';'), &[], &mut found);
                for (name, written) in found {
                    if let Some(whole) = absolute(&written, &path, &children) {
                        module.named.insert(whole.clone());
                        module.imports.insert(name, whole);
                    }
                }
                statement.clear();
            }
        }
        crates.entry(name).or_default().modules.insert(path, module);
    }
    crates
}

impl Crate {
    /// The module in which a path's item is defined.
    fn definition(&self, path: &[String], depth: usize) -> Path {
        let mut module = Path::new();
        for (at, segment) in path.iter().enumerate() {
            let mut child = module.clone();
            child.push(segment.clone());
            if self.modules.contains_key(&child) {
                module = child;
                continue;
            }
            let import = self.modules.get(&module).and_then(|it| it.imports.get(segment));
            if let Some(import) = import.filter(|_| depth < 8) {
                let mut whole = import.clone();
                whole.extend_from_slice(&path[at + 1..]);
                return self.definition(&whole, depth + 1);
            }
            break;
        }
        module
    }

    /// For each module, the arrows between its children, each with a file that draws it.
    fn arrows(&self) -> BTreeMap<Path, BTreeMap<(String, String), String>> {
        let mut arrows: BTreeMap<Path, BTreeMap<_, _>> = BTreeMap::new();
        for (user, module) in &self.modules {
            for named in &module.named {
                let used = self.definition(named, 0);
                let shared = user.iter().zip(&used).take_while(|(one, other)| one == other).count();
                if let (Some(from), Some(to)) = (user.get(shared), used.get(shared)) {
                    let arrow = (from.clone(), to.clone());
                    arrows.entry(user[..shared].to_vec()).or_default().insert(arrow, module.file.clone());
                }
            }
        }
        arrows
    }
}

/// What can be reached from a node.
fn reached<'a>(from: &'a str, arrows: &'a BTreeMap<(String, String), String>) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open = vec![from];
    while let Some(node) = open.pop() {
        for ((_, to), _) in arrows.iter().filter(|((user, _), _)| user == node) {
            if found.insert(to.as_str()) {
                open.push(to);
            }
        }
    }
    found
}

#[test]
fn modules_do_not_use_one_another_in_a_cycle() {
    let mut offences = Vec::new();
    for (name, modules) in read() {
        for (parent, arrows) in modules.arrows() {
            let closes = |(from, to): &(String, String)| reached(to, &arrows).contains(from.as_str());
            let cyclic = arrows.iter().filter(|(arrow, _)| closes(arrow));
            offences.extend(
                cyclic.map(|((from, to), file)| {
                    format!("{name} {}: {from} -> {to} ({file})", parent.join("::"))
                }),
            );
        }
    }
    assert_none("these arrows close cycles of modules", offences);
}
