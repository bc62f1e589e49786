//! Completions: the shell asks this program, which asks the daemon for the names that it knows.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command, CommandFactory};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};
use fairway_api::Client;
use fairway_core::world::NETWORK_OPTIONS;
use fairway_model::Driver;

use super::known::{self, Kind};
use super::{Arguments, DEFAULT_HOST};

/// The environment variable by which a shell's script asks: the name of the shell.
const VARIABLE: &str = "FAIRWAY_COMPLETE";

/// Answers a shell; false if no shell asks.
pub(super) fn answer(arguments: &[OsString]) -> Result<bool, clap::Error> {
    let command = || with_names(Arguments::command());
    CompleteEnv::with_factory(command).var(VARIABLE).try_complete(arguments, None)
}

/// The script that has a shell ask; none for an unknown shell.
pub(super) fn script(shell: &str) -> Option<String> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    shells
        .completer(shell)?
        .write_registration(VARIABLE, "fairway", "fairway", "fairway", &mut script)
        .ok()?;
    String::from_utf8(script).ok()
}

/// Has the arguments of all commands completed that are names of the daemon's objects.
fn with_names(command: Command) -> Command {
    command.mut_args(with_name).mut_subcommands(with_names)
}

fn with_name(arg: Arg) -> Arg {
    let positional = arg.is_positional();
    let completer = match arg.get_id().as_str() {
        "container" | "containers" | "sandboxes" if positional => names(Kind::Sandbox, &[]),
        "names" if positional => names(Kind::Any, &[]),
        "from" | "to" if positional => names(Kind::Sandbox, &["host", "lan"]),
        "network" | "networks" | "config_from" => names(Kind::Network, &[]),
        "driver" => ArgValueCompleter::new(|current: &OsStr| {
            matching(current, Driver::CREATABLE.map(|it| it.0.name()))
        }),
        "opt" => ArgValueCompleter::new(|current: &OsStr| {
            matching(current, NETWORK_OPTIONS.iter().map(|option| format!("{}=", option.name)))
        }),
        _ => return arg,
    };
    arg.add(completer)
}

/// The names that the daemon knows, and these words.
fn names(kind: Kind, words: &'static [&'static str]) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| {
        let known = Client::new(&host()).map(|mut client| known::names(&mut client, kind));
        let words = words.iter().map(|word| (*word).to_owned());
        matching(current, known.unwrap_or_default().into_iter().chain(words))
    })
}

fn matching(current: &OsStr, words: impl IntoIterator<Item = impl Into<String>>) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let words = words.into_iter().map(Into::into).filter(|word| word.starts_with(&*current));
    words.map(CompletionCandidate::new).collect()
}

/// The daemon of the shell; flags on the line do not count.
#[expect(clippy::disallowed_methods, reason = "a shell has no other way to say which daemon it means")]
fn host() -> String {
    std::env::var("FAIRWAY_HOST").unwrap_or_else(|_| DEFAULT_HOST.to_owned())
}
