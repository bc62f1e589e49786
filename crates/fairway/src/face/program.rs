//! Plugins of other programs, which read a text and print their answer.

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

/// Runs a plugin with a text on its standard input, and returns what it printed.
///
/// # Errors
/// The plugin cannot be executed, or what it prints cannot be read.
pub fn run(command: &mut Command, input: &[u8]) -> io::Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A plugin may answer without reading all.
        let _ = stdin.write_all(input);
    }
    child.wait_with_output()
}
