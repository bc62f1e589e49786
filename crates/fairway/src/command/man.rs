//! `fairway man`: a manual page for each command, made of the definitions that the help is made of.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use super::Arguments;
use super::error::CommandError;

/// Where to.
#[derive(Debug, Args)]
pub(super) struct ManOptions {
    /// Directory to write the pages to
    directory: PathBuf,
}

impl ManOptions {
    pub(super) fn run(&self) -> Result<i32, CommandError> {
        let mut program = Arguments::command().disable_help_subcommand(true);
        // Commands get their full names and the global options.
        program.build();
        write(&program, &self.directory)
            .map_err(|source| CommandError::Write { path: self.directory.display().to_string(), source })?;
        Ok(0)
    }
}

/// Writes the page of a command, and those of the commands below it.
fn write(command: &Command, directory: &Path) -> io::Result<()> {
    let source = concat!("fairway ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).source(source).manual("Fairway").generate_to(directory)?;
    command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
        .try_for_each(|below| write(below, directory))
}
