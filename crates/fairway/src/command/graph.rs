//! `fairway graph`: the host's networks as a picture.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use fairway_api::{Client, ClientError};
use fairway_inspect::graph::{Format, draw};

use super::error::CommandError;
use super::on_host;
use super::print::print;

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Asked {
    Svg,
    Dot,
    Mermaid,
    Json,
}

/// What is drawn, and where to.
#[derive(Debug, Args)]
pub(super) struct GraphOptions {
    /// Draw only this network; may be repeated
    #[arg(long, value_name = "NETWORK")]
    network: Vec<String>,
    /// Draw the containers of every engine on this host, not only the daemon's
    #[arg(short = 'A', long)]
    all_engines: bool,
    /// Draw the way of a packet; FROM and TO as in explain
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"])]
    path: Vec<String>,
    /// How to draw it [default: by the file's name; mermaid on a terminal, else svg]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Asked>,
    /// Output file: .svg, .dot, .gv, .mmd, .mermaid, .json
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The format that a file's name stands for.
fn of_file(path: &Path) -> Option<Format> {
    Some(match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "svg" => Format::Svg,
        "dot" | "gv" => Format::Dot,
        "mmd" | "mermaid" => Format::Mermaid,
        "json" => Format::Json,
        _ => return None,
    })
}

impl GraphOptions {
    fn format(&self) -> Result<Format, CommandError> {
        let asked = self.format.map(|asked| match asked {
            Asked::Svg => Format::Svg,
            Asked::Dot => Format::Dot,
            Asked::Mermaid => Format::Mermaid,
            Asked::Json => Format::Json,
        });
        match (asked, &self.output) {
            (Some(format), _) => Ok(format),
            (None, Some(path)) => {
                of_file(path).ok_or_else(|| CommandError::Extension(path.display().to_string()))
            }
            (None, None) if io::stdout().is_terminal() => Ok(Format::Mermaid),
            (None, None) => Ok(Format::Svg),
        }
    }

    /// Draws what the daemon knows, or all engines where no daemon runs. `chosen` says that the user has named a daemon.
    pub(super) fn run(&self, client: &mut Client, chosen: bool) -> Result<i32, CommandError> {
        let format = self.format()?;
        let path = match &self.path[..] {
            [from, to] => Some((from.as_str(), to.as_str())),
            _ => None,
        };
        let networks: Vec<&str> = self.network.iter().map(String::as_str).collect();
        let drawn = match self.all_engines {
            true => Err(None),
            false => client.graph(format, &self.network, path).map_err(Some),
        };
        let text = match drawn {
            Ok(text) => text,
            Err(Some(error)) if chosen || !matches!(error, ClientError::NotRunning { .. }) => {
                return Err(error.into());
            }
            Err(failure) => draw(&on_host::read(client, failure)?.graph(&networks, path)?, format),
        };
        match &self.output {
            None => print(&text)?,
            Some(path) => std::fs::write(path, text)
                .map_err(|source| CommandError::Write { path: path.display().to_string(), source })?,
        }
        Ok(0)
    }
}
