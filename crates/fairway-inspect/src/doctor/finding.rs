//! Findings as printed and as JSON, and the texts that they share.

use serde::{Deserialize, Serialize};

/// How severe a finding is, least severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The check found no problem.
    Ok,
    /// Worth knowing; nothing fails because of it alone.
    Note,
    /// The check could not be carried out.
    Unknown,
    /// Something may fail, now or under more load.
    Warning,
    /// Something fails now.
    Error,
}

impl Severity {
    /// The severity in lower case, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// The command that fixes the cause of a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Fix {
    /// A shell command. Words in capitals are placeholders.
    pub command: String,
    /// Whether `fairway doctor --fix` applies the fix.
    pub automatic: bool,
}

impl Fix {
    /// The fix that only `fairway doctor --fix` makes.
    pub(super) const COMMAND: &str = "fairway doctor --fix";

    /// A command that the user runs.
    pub(super) fn by_user(command: String) -> Self {
        Self { command, automatic: false }
    }
}

/// A finding as printed and as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Finding {
    /// The identifier of the check.
    pub id: String,
    /// How severe it is.
    pub severity: Severity,
    /// What was observed.
    pub message: String,
    /// What fails because of it; empty if the check found no problem.
    pub impact: String,
    /// The command that fixes the cause, if there is one.
    pub fix: Option<Fix>,
}

impl Finding {
    pub(super) fn new(
        id: &str,
        severity: Severity,
        message: impl Into<String>,
        impact: impl Into<String>,
    ) -> Self {
        Self { id: id.to_owned(), severity, message: message.into(), impact: impact.into(), fix: None }
    }

    pub(super) fn error(id: &str, message: impl Into<String>, impact: impl Into<String>) -> Self {
        Self::new(id, Severity::Error, message, impact)
    }

    pub(super) fn warning(id: &str, message: impl Into<String>, impact: impl Into<String>) -> Self {
        Self::new(id, Severity::Warning, message, impact)
    }

    pub(super) fn note(id: &str, message: impl Into<String>, impact: impl Into<String>) -> Self {
        Self::new(id, Severity::Note, message, impact)
    }

    /// Adds a command that the user runs.
    pub(super) fn fix(self, command: impl Into<String>) -> Self {
        self.fix_if(command, false)
    }

    /// Adds a command whose effect `fairway doctor --fix` has too.
    pub(super) fn automatic_fix(self, command: impl Into<String>) -> Self {
        self.fix_if(command, true)
    }

    /// Adds a command, and whether `fairway doctor --fix` has its effect too.
    pub(super) fn fix_if(self, command: impl Into<String>, automatic: bool) -> Self {
        Self { fix: Some(Fix { command: command.into(), automatic }), ..self }
    }
}

/// Joins the first five items with commas and says how many more there are.
pub(super) fn join_some(items: impl IntoIterator<Item = impl Into<String>>) -> String {
    const SHOWN: usize = 5;
    let items: Vec<String> = items.into_iter().map(Into::into).collect();
    let first = items.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match items.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// Names in alphabetical order.
pub(super) fn sorted(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort_unstable();
    names
}

/// A number with its noun: `1 bridge`, `2 bridges`.
pub(super) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
