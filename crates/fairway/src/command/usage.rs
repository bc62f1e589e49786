//! What cannot be read of a command line: clap's words and suggestions, Docker's exit codes.

use std::ffi::OsString;
use std::io::{self, Write};

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Arguments;
use super::docker::{INSTEAD_OF_ATTACH, instead_of_command, instead_of_flag, instead_of_prune};

/// Prints what is wrong, or the help that was asked for, and returns the exit code: as Docker's, 125
/// for a flag that cannot be, 1 for arguments that are missing and commands that there are not.
pub(super) fn report(mut error: clap::Error, arguments: &[OsString]) -> i32 {
    propose_nothing_destructive(&mut error);
    let error = &error;
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = write!(io::stdout(), "{text}");
            return 0;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = write!(io::stderr(), "{text}");
            return 1;
        }
        _ => {}
    }
    let path = meant(arguments);
    let reason = reason(&text, instead(error, &path));
    let _ = writeln!(io::stderr(), "fairway: {reason}\n\nSee '{path} --help'.");
    let starts_something = ["fairway run", "fairway exec"].contains(&path.as_str());
    match error.kind() {
        ErrorKind::MissingRequiredArgument | ErrorKind::InvalidSubcommand | ErrorKind::MissingSubcommand
            if !starts_something =>
        {
            1
        }
        _ => 125,
    }
}

/// Commands whose flags of Docker's are known.
const STARTING: [&str; 4] = ["fairway run", "fairway exec", "fairway update", "fairway sandbox create"];

/// Commands that stop, remove or disconnect what they name.
const DESTRUCTIVE: [&str; 10] =
    ["detach", "disconnect", "kill", "prune", "remove", "restart", "rm", "stop", "uninstall", "unpublish"];

/// Whether the command that was meant may destroy what it names, so that no other name is proposed to it.
pub(super) fn destroys(arguments: &[OsString]) -> bool {
    meant(arguments).split(' ').any(|word| DESTRUCTIVE.contains(&word))
}

/// Takes clap's suggestions away where one is a command that a hasty user should not run: it may be the one that was
/// meant, and the others then are not.
fn propose_nothing_destructive(error: &mut clap::Error) {
    let Some(ContextValue::Strings(suggested)) = error.get(ContextKind::SuggestedSubcommand) else { return };
    if suggested.iter().any(|word| DESTRUCTIVE.contains(&word.as_str())) {
        error.remove(ContextKind::SuggestedSubcommand);
    }
}

/// What to do instead of a flag or a command that only Docker has.
fn instead(error: &clap::Error, path: &str) -> Option<&'static str> {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::UnknownArgument if STARTING.contains(&path) => {
            instead_of_flag(word(ContextKind::InvalidArg)?)
        }
        ErrorKind::UnknownArgument if path == "fairway attach" => {
            let word = word(ContextKind::InvalidArg)?;
            (!word.starts_with('-')).then_some(INSTEAD_OF_ATTACH)
        }
        ErrorKind::UnknownArgument if path == "fairway system prune" => {
            instead_of_prune(word(ContextKind::InvalidArg)?)
        }
        ErrorKind::InvalidSubcommand => instead_of_command(word(ContextKind::InvalidSubcommand)?),
        _ => None,
    }
}

/// Clap's text without its reference to the help, which does not name the command, and without the tip to pass what
/// looks like a flag as a value, which makes it a part of the command to run. Where `instead` says what to do, no
/// other word is suggested.
fn reason(text: &str, instead: Option<&str>) -> String {
    let kept = |line: &&str| {
        let tip = line.trim_start().strip_prefix("tip: ");
        !line.starts_with("For more information")
            && tip.is_none_or(|tip| instead.is_none() && !tip.starts_with("to pass "))
    };
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let advice = instead.map(|advice| format!(": {advice}")).unwrap_or_default();
    let mut reason = format!("{first}{advice}\n");
    for line in rest.lines().filter(kept) {
        // A tip that is gone leaves two empty lines.
        if !(line.is_empty() && reason.ends_with("\n\n")) {
            reason.push_str(line);
            reason.push('\n');
        }
    }
    let reason = reason.trim_end();
    reason.strip_prefix("error: ").unwrap_or(reason).to_owned()
}

/// The command that was meant, as far as there is one: `fairway network create`.
fn meant(arguments: &[OsString]) -> String {
    let mut command = &Arguments::command();
    let mut path = command.get_name().to_owned();
    let mut found = false;
    for word in arguments.iter().skip(1) {
        match command.find_subcommand(word) {
            Some(next) => {
                path = format!("{path} {}", next.get_name());
                command = next;
                found = true;
            }
            // Before the command there can be `-H` with its value.
            None if found => break,
            None => {}
        }
    }
    path
}
