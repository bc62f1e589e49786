//! Completions: the shell asks this program, which asks the daemon for the names that it knows.

use std::ffi::{OsStr, OsString};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::{Arg, Command, CommandFactory};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};
use fairway_api::Client;
use fairway_core::world::NETWORK_OPTIONS;
use fairway_kernel::system::inherit::unblock_signals;
use fairway_model::Driver;

use super::known::{self, Kind};
use super::{Arguments, DEFAULT_HOST};

/// The environment variable by which a shell's script asks: the name of the shell.
const VARIABLE: &str = "FAIRWAY_COMPLETE";

/// How long a shell waits for the daemon's names.
const PATIENCE: Duration = Duration::from_secs(1);

/// Answers a shell; false if no shell asks.
pub(super) fn answer(arguments: &[OsString]) -> Result<bool, clap::Error> {
    let arguments = &with_whole_addresses(arguments);
    let host = host(arguments);
    let command = || with_names(Arguments::command(), &host);
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
fn with_names(command: Command, host: &str) -> Command {
    command.mut_args(|arg| with_name(arg, host)).mut_subcommands(|command| with_names(command, host))
}

fn with_name(arg: Arg, host: &str) -> Arg {
    let positional = arg.is_positional();
    let names = |kind, words| names(host.to_owned(), kind, words);
    let completer = match arg.get_id().as_str() {
        "container" | "containers" | "sandboxes" if positional => names(Kind::Sandbox, &[]),
        "names" if positional => names(Kind::Any, &[]),
        "from" | "to" if positional => names(Kind::Sandbox, &["host", "lan"]),
        "path" => names(Kind::Sandbox, &["host", "lan"]),
        "link" => names(Kind::Sandbox, &[]),
        "network" | "networks" | "config_from" => names(Kind::Network, &[]),
        "restart" => words(&["no", "on-failure", "always", "unless-stopped"]),
        "signal" | "stop_signal" => {
            words(&["HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM", "STOP", "CONT"])
        }
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
fn names(host: String, kind: Kind, words: &'static [&'static str]) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| {
        let words = words.iter().map(|word| (*word).to_owned());
        matching(current, known(host.clone(), kind).into_iter().chain(words))
    })
}

/// The names that the daemon knows; none where it does not answer soon, since the shell waits for them.
fn known(host: String, kind: Kind) -> Vec<String> {
    // They were held for the daemon; a user who does not want to wait sends them.
    let _ = unblock_signals();
    let (sender, receiver) = mpsc::channel();
    // Without a thread the sender is gone, and there are no names.
    let _ = thread::Builder::new().spawn(move || {
        let known = Client::new(&host).map(|mut client| known::names(&mut client, kind));
        let _ = sender.send(known.unwrap_or_default());
    });
    receiver.recv_timeout(PATIENCE).unwrap_or_default()
}

fn words(words: &'static [&'static str]) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| matching(current, words.iter().copied()))
}

fn matching(current: &OsStr, words: impl IntoIterator<Item = impl Into<String>>) -> Vec<CompletionCandidate> {
    let current = current.to_string_lossy();
    let words = words.into_iter().map(Into::into).filter(|word| word.starts_with(&*current));
    words.map(CompletionCandidate::new).collect()
}

/// The arguments with the address of `-H` in one word, of which bash makes three, at its colon. It is there twice then, so
/// that each other word keeps its place, of which the shell says which one is to be completed.
fn with_whole_addresses(arguments: &[OsString]) -> Vec<OsString> {
    let mut arguments = arguments.to_vec();
    let split = |words: &[OsString]| {
        (words[0] == "-H" || words[0] == "--host") && words[1] == "unix" && words[2] == ":"
    };
    if let Some(at) = arguments.windows(4).position(split) {
        let mut address = OsString::from("unix:");
        address.push(&arguments[at + 3]);
        arguments[at + 1] = address.clone();
        arguments[at + 2] = arguments[at].clone();
        arguments[at + 3] = address;
    }
    arguments
}

/// The daemon that is meant by the line, before its command, or by the shell.
#[expect(clippy::disallowed_methods, reason = "a shell has no other way to say which daemon it means")]
fn host(arguments: &[OsString]) -> String {
    // The line begins after this program, `--`, and the name by which the shell knows it.
    let mut words = arguments.iter().skip(3).map_while(|word| word.to_str());
    let of_line = loop {
        match words.next() {
            Some("-H" | "--host") => break words.next().map(str::to_owned),
            Some("-l" | "--log-level") => drop(words.next()),
            Some(word) if word.starts_with('-') => {
                if let Some(address) = word.strip_prefix("--host=") {
                    break Some(address.to_owned());
                }
            }
            _ => break None,
        }
    };
    of_line.or_else(|| std::env::var("FAIRWAY_HOST").ok()).unwrap_or_else(|| DEFAULT_HOST.to_owned())
}
