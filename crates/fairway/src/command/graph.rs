//! `fairway graph`: the host's networks as a picture.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use fairway_api::{Client, ClientError};
use fairway_inspect::graph::{Collapse, Format, draw};

use super::error::CommandError;
use super::image::{self, ImageError};
use super::on_host;
use super::print::print_bytes;

/// How a picture is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Written {
    Svg,
    Png,
    Pdf,
    Dot,
    Mermaid,
    Json,
}

impl Written {
    /// The format that it is made of.
    fn text(self) -> Format {
        match self {
            Self::Svg | Self::Png | Self::Pdf => Format::Svg,
            Self::Dot => Format::Dot,
            Self::Mermaid => Format::Mermaid,
            Self::Json => Format::Json,
        }
    }

    /// The name of a format that is no text.
    fn binary(self) -> Option<&'static str> {
        match self {
            Self::Png => Some("png"),
            Self::Pdf => Some("pdf"),
            Self::Svg | Self::Dot | Self::Mermaid | Self::Json => None,
        }
    }

    /// Makes a file of the text of a picture.
    fn file(self, text: String) -> Result<Vec<u8>, ImageError> {
        match self {
            Self::Png => image::png(&text, image::host_fonts()),
            Self::Pdf => image::pdf(&text, image::host_fonts()),
            Self::Svg | Self::Dot | Self::Mermaid | Self::Json => Ok(text.into_bytes()),
        }
    }
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
    /// Draw each sandbox, also where there are more than 12 on a network
    #[arg(long, conflicts_with = "collapse")]
    expand: bool,
    /// Draw sandboxes of each network as one box, but those that publish ports or are on the packet's way
    #[arg(long)]
    collapse: bool,
    /// How to draw it [default: by the file's name; mermaid on a terminal, else svg]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Written>,
    /// Output file: .svg, .png, .pdf, .dot, .gv, .mmd, .mermaid, .json
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// The format that a file's name stands for.
fn of_file(path: &Path) -> Option<Written> {
    Some(match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "svg" => Written::Svg,
        "png" => Written::Png,
        "pdf" => Written::Pdf,
        "dot" | "gv" => Written::Dot,
        "mmd" | "mermaid" => Written::Mermaid,
        "json" => Written::Json,
        _ => return None,
    })
}

impl GraphOptions {
    fn format(&self) -> Result<Written, CommandError> {
        match (self.format, &self.output) {
            (Some(written), None) => match written.binary() {
                Some(format) if io::stdout().is_terminal() => Err(CommandError::BinaryOnTerminal { format }),
                _ => Ok(written),
            },
            (Some(written), Some(_)) => Ok(written),
            (None, Some(path)) => {
                of_file(path).ok_or_else(|| CommandError::Extension(path.display().to_string()))
            }
            (None, None) if io::stdout().is_terminal() => Ok(Written::Mermaid),
            (None, None) => Ok(Written::Svg),
        }
    }

    /// Draws what the daemon knows, or all engines where no daemon runs. `chosen` says that the user has named a daemon.
    pub(super) fn run(&self, client: &mut Client, chosen: bool) -> Result<i32, CommandError> {
        let written = self.format()?;
        let format = written.text();
        let path = match &self.path[..] {
            [from, to] => Some((from.as_str(), to.as_str())),
            _ => None,
        };
        let networks: Vec<&str> = self.network.iter().map(String::as_str).collect();
        let collapse = match (self.expand, self.collapse) {
            (true, _) => Collapse::Never,
            (false, true) => Collapse::All,
            (false, false) => Collapse::Large,
        };
        let drawn = match self.all_engines {
            true => Err(None),
            false => client.graph(format, &self.network, path, collapse).map_err(Some),
        };
        let text = match drawn {
            Ok(text) => text,
            Err(Some(error)) if chosen || !matches!(error, ClientError::NotRunning { .. }) => {
                return Err(error.into());
            }
            Err(failure) => {
                let mut picture = on_host::read(client, failure)?.graph(&networks, path)?;
                if format != Format::Json {
                    picture.collapse(collapse);
                }
                draw(&picture, format)
            }
        };
        let file = written.file(text).map_err(|source| {
            let format = written.binary().unwrap_or_default();
            CommandError::Image { format, source }
        })?;
        match &self.output {
            None => print_bytes(&file)?,
            Some(path) => std::fs::write(path, file)
                .map_err(|source| CommandError::Write { path: path.display().to_string(), source })?,
        }
        Ok(0)
    }
}
