//! `fairway doctor`: what is wrong with the host, why it matters, and what mends it.

use std::io::{self, IsTerminal};

use clap::{Args, ValueEnum};
use fairway_api::types::Diagnosis;
use fairway_api::{Client, ClientError};
use fairway_engine::examine_host;
use fairway_inspect::doctor::{Finding, Level, worst};

use super::error::CommandError;
use super::print::{complain, print, warn};

/// The exit code when something is wrong.
const ILL: i32 = 1;
/// The exit code when it cannot be told, or not all of it: as grep(1) and diff(1) have it.
const UNKNOWN: i32 = 2;
/// How wide the words before what is said are.
const WIDTH: usize = 8;

/// How what is found is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// What is shown, and whether it is mended.
#[derive(Debug, Args)]
pub(super) struct DoctorOptions {
    /// Repair Fairway's own objects; foreign objects are never changed
    #[arg(long)]
    fix: bool,
    /// Also show the checks that found nothing
    #[arg(short, long)]
    all: bool,
    /// Format output
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    format: Format,
}

impl DoctorOptions {
    /// The exit code is 0 when all is well, 1 when there are warnings or problems, 2 when it could not be looked at.
    pub(super) fn run(&self, client: &mut Client) -> Result<i32, CommandError> {
        let found = match client.doctor(self.fix) {
            Ok(found) => found,
            Err(ClientError::NotRunning { .. }) => {
                if self.fix {
                    warn("no daemon runs, and only that can mend: nothing is changed");
                }
                Diagnosis { findings: examine_host(), done: Vec::new() }
            }
            Err(error) => {
                complain(&error.into());
                return Ok(UNKNOWN);
            }
        };
        match self.format {
            Format::Json => {
                let shown =
                    Diagnosis { findings: self.shown(&found.findings).cloned().collect(), ..found.clone() };
                let json = serde_json::to_string_pretty(&shown).unwrap_or_default();
                print(&format!("{json}\n"))?;
            }
            Format::Text => print(&self.text(&found, io::stdout().is_terminal()))?,
        }
        Ok(match worst(&found.findings) {
            Level::Ok | Level::Note => 0,
            Level::Unknown => UNKNOWN,
            Level::Warning | Level::Problem => ILL,
        })
    }

    fn shown<'a>(&self, findings: &'a [Finding]) -> impl Iterator<Item = &'a Finding> {
        let all = self.all;
        findings.iter().filter(move |finding| all || finding.level != Level::Ok)
    }

    /// What is printed: what was done, what was found, the worst last, where it is seen first, and how many there are.
    fn text(&self, found: &Diagnosis, colours: bool) -> String {
        let mut text = String::new();
        for line in &found.done {
            text.push_str(&format!("{:WIDTH$} {line}\n", dress(colours, "32", "done")));
        }
        let mut shown: Vec<&Finding> = self.shown(&found.findings).collect();
        shown.sort_by_key(|finding| finding.level);
        for finding in shown {
            let level = dress(colours, colour(finding.level), &format!("{:WIDTH$}", finding.level.text()));
            let check = dress(colours, "1", &finding.check);
            text.push_str(&format!("{level} {check}: {}\n", finding.seen));
            // What is well takes one line.
            let gap = if finding.level == Level::Ok { "" } else { "\n" };
            if !finding.why.is_empty() {
                text.push_str(&format!("{:WIDTH$} {}\n", "why", finding.why));
            }
            if let Some(mend) = &finding.mend {
                let fix = if mend.own { "  (or: fairway doctor --fix)" } else { "" };
                let fix = if mend.command.ends_with("doctor --fix") { "" } else { fix };
                let command = dress(colours, "36", &mend.command);
                text.push_str(&format!("{:WIDTH$} {command}{fix}\n", "mend"));
            }
            text.push_str(gap);
        }
        text.push_str(&summary(&found.findings));
        text
    }
}

/// How many there are of each level.
fn summary(findings: &[Finding]) -> String {
    let count = |level: Level| findings.iter().filter(|finding| finding.level == level).count();
    let many = |number: usize, what: &str| match number {
        0 => None,
        1 => Some(format!("1 {what}")),
        number => Some(format!("{number} {what}s")),
    };
    let well = match count(Level::Ok) {
        number if number == findings.len() => return format!("All is well: {number} checks.\n"),
        0 => None,
        1 => Some("1 check found all well".to_owned()),
        number => Some(format!("{number} checks found all well")),
    };
    let unknown = count(Level::Unknown);
    let unknown = (unknown > 0).then(|| format!("{unknown} could not be made"));
    let parts = [
        many(count(Level::Problem), "problem"),
        many(count(Level::Warning), "warning"),
        many(count(Level::Note), "note"),
        unknown,
        well,
    ];
    format!("{}.\n", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// The colour of a level (ECMA-48, 8.3.117).
fn colour(level: Level) -> &'static str {
    match level {
        Level::Ok => "32",
        Level::Note => "36",
        Level::Unknown | Level::Warning => "33",
        Level::Problem => "31",
    }
}

fn dress(colours: bool, code: &str, text: &str) -> String {
    if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
