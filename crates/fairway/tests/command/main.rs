//! The command line as its users meet it: the program is run, and what it prints and returns is
//! looked at. What needs a daemon gets one that answers by rote.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall end")]
#![allow(clippy::disallowed_methods, reason = "tests run programs and read the environment")]

mod fake_daemon;
mod help;
mod install;
mod install_component;
mod output;
mod refusals;

use std::process::{Command, Output, Stdio};

/// Where no daemon listens.
const UNUSED: &str = "unix:///nonexistent/fairway.sock";

/// An environment in which a program gets no more threads: there is no memory for so large a stack.
const NO_THREADS: (&str, &str) = ("RUST_MIN_STACK", "1152921504606846976");

/// The program with these arguments.
fn program(host: &str, words: &[&str]) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_fairway"));
    program.args(words).env("FAIRWAY_HOST", host).env_remove("COLUMNS").stdin(Stdio::null());
    program
}

/// The program's output and exit code.
fn fairway(host: &str, words: &[&str]) -> Output {
    program(host, words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
