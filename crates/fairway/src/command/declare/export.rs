//! `fairway export`: what there is, as a declaration.

use clap::{Args, ValueEnum};
use fairway_api::Client;

use super::send;
use crate::command::declaration::{DeclareError, export};
use crate::command::error::CommandError;
use crate::command::print::{print, print_line, warn};

/// How the declaration is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Yaml,
    /// For programs
    Json,
}

/// How to write what there is.
#[derive(Debug, Args)]
pub(in crate::command) struct ExportOptions {
    /// Format output
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

impl ExportOptions {
    pub(in crate::command) fn run(&self, client: &mut Client) -> Result<i32, CommandError> {
        let present = send::read(client)?;
        let (file, notes) = export(&present)?;
        match self.format {
            Format::Yaml => print(&serde_saphyr::to_string(&file).map_err(DeclareError::Write)?)?,
            Format::Json => {
                let text = serde_json::to_string_pretty(&file);
                print_line(&text.map_err(|error| CommandError::Print(error.into()))?)?;
            }
        }
        notes.iter().for_each(|note| warn(note));
        Ok(0)
    }
}
