//! `fairway completion`: what shells offer while a command is typed.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Arguments;
use super::error::CommandError;
use super::print::print;

/// For which shell.
#[derive(Debug, Args)]
pub(super) struct CompletionOptions {
    /// Shell
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionOptions {
    pub(super) fn run(&self) -> Result<i32, CommandError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "fairway", &mut script);
        print(&String::from_utf8_lossy(&script))?;
        Ok(0)
    }
}
