//! `fairway completion`: what shells offer while a command is typed.

use clap::Args;
use clap_complete::Shell;

use super::complete;
use super::error::CommandError;
use super::print::print;

/// For which shell.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  source <(fairway completion bash)")]
pub(super) struct CompletionOptions {
    /// Shell
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionOptions {
    pub(super) fn run(&self) -> Result<i32, CommandError> {
        print(&complete::script(&self.shell.to_string()).unwrap_or_default())?;
        Ok(0)
    }
}
