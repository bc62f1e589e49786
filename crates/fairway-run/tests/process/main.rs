//! Sandboxes' processes, started for real: as root of a user namespace in which there is only
//! root, and, where the tests run as root, as that root as well.
//!
//! A case starts processes by the stages of this very program, needs to be the only thread of its
//! process, and changes mounts. So each runs in a process of its own with namespaces of its own,
//! and this is a program without the usual harness. `cargo test --test process -- NAME` runs the
//! cases whose names contain NAME.

// Clippy takes no program without the usual harness for a test.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "tests run programs and read the environment")]

mod detached;
mod entered;
mod foreground;
mod probe;
mod view;
mod workspace;

use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};

use fairway_kernel::system::spawn::{Users, spawn_in_new_namespaces};
use fairway_run::{Ending, stage};

type Case = (&'static str, fn());

/// A program that a case starts, outside or as a sandbox's command.
const PROBE: &str = "--probe";
/// In the environment of each case, and of no sandbox.
const MARK: &str = "FAIRWAY_TEST_OF_PROCESSES";
/// This program, to run one case.
const CASE: &str = "--case";

fn main() -> ExitCode {
    if let Some(code) = stage(std::env::args_os(), report) {
        return ExitCode::from(u8::try_from(code).unwrap_or(125));
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [PROBE, ref arguments @ ..] => probe::run(arguments),
        [CASE, name] => workspace::enter(|| run_case(name)),
        _ => run_all(&arguments),
    }
}

/// What a supervisor that a case made does at its end.
fn report(context: &str, ending: Ending) {
    std::fs::write(context, ending.code.to_string()).unwrap();
}

fn cases() -> Vec<Case> {
    [foreground::CASES, view::CASES, entered::CASES, detached::CASES].concat()
}

fn run_case(name: &str) {
    let (_, case) = cases().into_iter().find(|(known, _)| *known == name).unwrap();
    case();
}

fn run_all(arguments: &[String]) -> ExitCode {
    let wanted = |name: &str| {
        let mut filters = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
        filters.peek().is_none() || filters.any(|filter| name.contains(filter.as_str()))
    };
    let cases: Vec<Case> = cases().into_iter().filter(|(name, _)| wanted(name)).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        cases.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, _) in &cases {
        let mut ways: Vec<(&str, Output)> = vec![("only root", alone(name))];
        if Users::allowed() == Users::All {
            ways.push(("as root", as_root(name)));
        }
        for (way, output) in ways {
            let good = output.status.success();
            println!("test {name} ({way}) ... {}", if good { "ok" } else { "FAILED" });
            if !good {
                failed += 1;
                println!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
            }
        }
    }
    println!("\ntest result: {} cases, {failed} failures", cases.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn this_program() -> Command {
    Command::new(std::env::current_exe().unwrap())
}

/// The command that runs a case; `first` are words before those of this program.
fn case(first: &[&str], name: &str) -> Command {
    let own = std::env::current_exe().unwrap();
    let words: Vec<&str> = first.iter().copied().chain([own.to_str().unwrap(), CASE, name]).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env(MARK, "").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn alone(name: &str) -> Output {
    let child = spawn_in_new_namespaces(&mut case(&[], name), Users::OnlyRoot)
        .unwrap_or_else(|error| panic!("{error}: these tests need user namespaces"));
    child.wait_with_output().unwrap()
}

/// Runs a case as the root that the tests run as. What it leaves behind ends with its pid namespace.
fn as_root(name: &str) -> Output {
    case(&["unshare", "--pid", "--fork", "--kill-child"], name).output().unwrap()
}

/// The text of a file, without the line feed at its end.
fn text(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim_end().to_owned()
}
