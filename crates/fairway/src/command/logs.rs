//! `fairway logs`.

use std::io;

use clap::Args;
use fairway_api::Client;

use super::error::CommandError;
use super::events::timestamp;
use super::session::log_path;
use fairway_run::{LogOptions, print_log};

/// Which log to print, and how.
#[derive(Debug, Args)]
pub(super) struct LogsOptions {
    /// Follow log output
    #[arg(short, long)]
    follow: bool,
    /// Number of lines to show from the end of the logs, or 'all'
    #[arg(short = 'n', long, value_name = "N", default_value = "all", value_parser = tail, allow_hyphen_values = true)]
    tail: Tail,
    /// Show timestamps
    #[arg(short, long)]
    timestamps: bool,
    /// Show logs since this time: a timestamp (2026-11-22T10:00:00Z, seconds since 1970) or how long ago (10m)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Show logs before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Wait for the next start of the sandbox
    #[arg(long, hide = true)]
    next: bool,
    /// Begin with an empty line, which says that nothing will be missed from then on
    #[arg(long, hide = true)]
    announce: bool,
    /// Name or id
    container: String,
}

/// How many lines; none are all.
#[derive(Debug, Clone, Copy)]
struct Tail(Option<usize>);

/// Reads `--tail`; like Docker takes a negative number for all.
fn tail(text: &str) -> Result<Tail, String> {
    match text.parse::<i64>() {
        Ok(number) => Ok(Tail(usize::try_from(number).ok())),
        Err(_) if text == "all" => Ok(Tail(None)),
        Err(_) => Err("a number of lines, or all, is expected".to_owned()),
    }
}

impl LogsOptions {
    pub(super) fn run(&self, client: &mut Client) -> Result<i32, CommandError> {
        let path = log_path(&client.container(&self.container)?)?;
        let time = |text: &Option<String>| text.as_deref().map(timestamp).transpose();
        let options = LogOptions {
            follow: self.follow,
            tail: self.tail.0,
            timestamps: self.timestamps,
            since: time(&self.since)?,
            until: time(&self.until)?,
            next: self.next,
            announce: self.announce,
        };
        print_log(&path, &options, &mut io::stdout().lock(), &mut io::stderr().lock())?;
        Ok(0)
    }
}
