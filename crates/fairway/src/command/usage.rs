//! What cannot be read of a command line: clap's words and suggestions, Docker's exit codes.

use std::ffi::OsString;
use std::io::{self, Write};

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::Arguments;

/// Tells what is wrong, or the help that was asked for, and returns the exit code: as Docker's, 125
/// for a flag that cannot be, 1 for arguments that are missing and commands that there are not.
pub(super) fn tell(error: &clap::Error, arguments: &[OsString]) -> i32 {
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
    // Instead of clap's own reference to the help, which does not name the command.
    let reason: Vec<&str> = text.lines().filter(|line| !line.starts_with("For more information")).collect();
    let reason = reason.join("\n");
    let reason = reason.trim_end();
    let reason = reason.strip_prefix("error: ").unwrap_or(reason);
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
