//! `fairway doctor`: diagnoses networking problems on this host and suggests fixes.

use clap::{Args, ValueEnum};
use fairway_api::types::Diagnosis;
use fairway_api::{Client, ClientError};
use fairway_engine::examine_host;
use fairway_host::HostError;
use fairway_inspect::doctor::{Finding, Severity, engines_not_examined, worst};

use super::engines::sandboxes;
use super::error::CommandError;
use super::paint::{Colours, Look, Paint};
use super::print::{complain, print, warn};

/// The exit code if there are warnings or errors.
const PROBLEMS: i32 = 1;
/// The exit code if a check could not be carried out and there is nothing worse: trouble, as of grep(1) and diff(1).
const UNKNOWN: i32 = 2;
/// The width of the first column.
const WIDTH: usize = 8;

/// The output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// The options of `fairway doctor`.
#[derive(Debug, Args)]
pub(super) struct DoctorOptions {
    /// Repair Fairway's own objects; foreign objects are never changed
    #[arg(long)]
    fix: bool,
    /// Also show the checks that found nothing
    #[arg(short, long)]
    all: bool,
    /// When to use colors
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    color: Colours,
    /// Format output
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    format: Format,
}

impl DoctorOptions {
    /// The exit code: 0 without problems, 1 with warnings or errors, 2 if a check could not be carried out. `chosen` says
    /// that the user has named a daemon: its host may be another one, and it is asked alone.
    pub(super) fn run(&self, client: &mut Client, chosen: bool) -> Result<i32, CommandError> {
        let found = match client.doctor(self.fix) {
            Ok(found) if chosen => found,
            Ok(mut found) => {
                found.findings.extend(examine_engines(Some(client))?);
                found
            }
            Err(ClientError::NotRunning { .. }) => {
                if self.fix {
                    warn("no daemon is running, and only the daemon can apply fixes: nothing is changed");
                }
                let mut findings = examine_host();
                findings.extend(examine_engines(None)?);
                Diagnosis { findings, done: Vec::new() }
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
            Format::Text => print(&self.text(&found, &Paint::new(self.color)))?,
        }
        Ok(match worst(&found.findings) {
            Severity::Ok | Severity::Note => 0,
            Severity::Unknown => UNKNOWN,
            Severity::Warning | Severity::Error => PROBLEMS,
        })
    }

    fn shown<'a>(&self, findings: &'a [Finding]) -> impl Iterator<Item = &'a Finding> {
        let all = self.all;
        findings.iter().filter(move |finding| all || finding.severity != Severity::Ok)
    }

    /// The printed text: the applied fixes, the findings with the most severe last, and the counts.
    fn text(&self, found: &Diagnosis, paint: &Paint) -> String {
        let mut text = String::new();
        for line in &found.done {
            text.push_str(&format!("{:WIDTH$} {line}\n", paint.dress(Look::Good, "done")));
        }
        let mut shown: Vec<&Finding> = self.shown(&found.findings).collect();
        shown.sort_by_key(|finding| finding.severity);
        for finding in shown {
            let severity = format!("{:WIDTH$}", finding.severity.as_str());
            let severity = paint.dress(look(finding.severity), &severity);
            let id = paint.dress(Look::Title, &finding.id);
            text.push_str(&format!("{severity} {id}: {}\n", finding.message));
            if finding.severity == Severity::Ok {
                continue;
            }
            text.push_str(&format!("{:WIDTH$} {}\n", "impact", finding.impact));
            if let Some(fix) = &finding.fix {
                let is_flag = fix.command.ends_with("doctor --fix");
                let flag = if fix.automatic && !is_flag { "  (or: fairway doctor --fix)" } else { "" };
                let command = paint.dress(Look::Captured, &fix.command);
                text.push_str(&format!("{:WIDTH$} {command}{flag}\n", "fix"));
            }
            text.push('\n');
        }
        text.push_str(&summary(&found.findings));
        text
    }
}

/// Examines the containers of other engines on this host, which the daemon, if one runs, has no part in. Users who may
/// ask the daemon may lack the right to read the host.
fn examine_engines(daemon: Option<&mut Client>) -> Result<Vec<Finding>, CommandError> {
    let has_daemon = daemon.is_some();
    let own = daemon.map(sandboxes).transpose()?.unwrap_or_default();
    Ok(match fairway_host::examine(own) {
        Ok(findings) => findings,
        Err(error @ HostError::Rights { .. }) if has_daemon => {
            warn(&format!("containers of other engines are not examined: {error}"));
            Vec::new()
        }
        Err(error) => engines_not_examined(&error.to_string()),
    })
}

/// The number of findings of each severity.
fn summary(findings: &[Finding]) -> String {
    let count = |severity: Severity| findings.iter().filter(|it| it.severity == severity).count();
    let many = |number: usize, what: &str| match number {
        0 => None,
        1 => Some(format!("1 {what}")),
        number => Some(format!("{number} {what}s")),
    };
    let passed = match count(Severity::Ok) {
        number if number == findings.len() => {
            return format!("No problems found: {} passed.\n", many(number, "check").unwrap_or_default());
        }
        number => many(number, "check").map(|checks| format!("{checks} passed")),
    };
    let unknown = many(count(Severity::Unknown), "check").map(|checks| format!("{checks} not carried out"));
    let parts = [
        many(count(Severity::Error), "error"),
        many(count(Severity::Warning), "warning"),
        many(count(Severity::Note), "note"),
        unknown,
        passed,
    ];
    format!("{}.\n", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// The color of a severity.
fn look(severity: Severity) -> Look {
    match severity {
        Severity::Ok => Look::Good,
        Severity::Note => Look::Captured,
        Severity::Unknown | Severity::Warning => Look::Unsure,
        Severity::Error => Look::Bad,
    }
}
