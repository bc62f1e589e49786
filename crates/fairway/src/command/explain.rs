//! `fairway explain`: where a packet goes.

use clap::{Args, ValueEnum};
use fairway_api::types::Explained;
use fairway_api::{Client, ClientError};
use fairway_walk::{EndKind, StepKind, StepRecord, WalkRecord};

use super::error::CommandError;
use super::on_host;
use super::paint::{Colours, Look, Paint};
use super::print::print;

/// The exit code when what is asked is not answered, or that cannot be known.
const NOT_ANSWERED: i32 = 1;

/// How the answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Whose packet, and where to.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fairway explain web db:5432              from one sandbox to another
  fairway explain lan host:8080            from the LAN to a published port
  fairway explain web example.com:443      out
  fairway explain docker:app podman:db:80  between containers of other engines")]
pub(super) struct ExplainOptions {
    /// Source: a container of any engine, pid:NUMBER, netns:NAME, host, lan, lan:ADDRESS or an address;
    /// container:NAME for a container called host or lan
    #[arg(value_name = "FROM")]
    from: String,
    /// Destination: as FROM, or a name that FROM resolves; without a port, an ICMP echo
    #[arg(value_name = "TO[:PORT[/PROTOCOL]]")]
    to: String,
    /// Walk the planned state instead of the kernel's actual state
    #[arg(long)]
    plan: bool,
    /// Show the walks of the answer and of an established connection, chains without a rule for it and captures too
    #[arg(short, long)]
    all: bool,
    /// When to use colors
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    color: Colours,
    /// Format output
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    format: Format,
}

impl ExplainOptions {
    /// Explains by the daemon, and by this program where no daemon runs, it does not know an end, or its walk comes to a
    /// container of another engine. `chosen` says that the user has named a daemon.
    pub(super) fn run(&self, client: &mut Client, chosen: bool) -> Result<i32, CommandError> {
        let explained = match client.explain(&self.from, &self.to, self.plan) {
            Err(error @ ClientError::NotRunning { .. }) if chosen => return Err(error.into()),
            Err(error) if !self.plan && on_host::can_answer(&error) => {
                on_host::explain(client, error, &self.from, &self.to)?
            }
            Ok(explained) if !self.plan && !chosen && on_host::goes_on(&explained) => {
                on_host::explain_further(client, &self.from, &self.to).unwrap_or(explained)
            }
            result => result?,
        };
        match self.format {
            Format::Json => {
                let json = serde_json::to_string_pretty(&explained).unwrap_or_default();
                print(&format!("{json}\n"))?;
            }
            Format::Text => {
                print(&text(&explained, self.all, &Paint::new(self.color)))?;
            }
        }
        Ok(if explained.answered == Some(false) { NOT_ANSWERED } else { 0 })
    }
}

/// How many branches are printed step by step; of the others only the end.
const MOST_BRANCHES: usize = 8;

/// What is printed. Where nothing goes wrong, the walks of later packets say little that is new, and are not
/// look.
fn text(explained: &Explained, all: bool, paint: &Paint) -> String {
    let mut text = String::new();
    let whole = all || explained.answered != Some(true);
    walks(&mut text, &shown(&explained.walks, 0, whole), all, paint);
    let shared = explained.walks.first().map_or(0, |walk| walk.steps.len());
    for (number, branch) in explained.branches.iter().enumerate() {
        let title = format!("branch {}: {}", number + 1, branch.text);
        text.push_str(&format!("{}\n", paint.dress(Look::Title, &title)));
        for condition in &branch.conditions {
            hang(&mut text, "  ", &format!("by {}", condition.rule), Some(Look::Faint), paint);
        }
        let mut rest = shown(&branch.walks, shared, all || branch.answered != Some(true));
        if let Some(first) = rest.first_mut() {
            first.title.clear();
        }
        if number >= MOST_BRANCHES && !all {
            rest.truncate(1);
            rest.iter_mut().for_each(|walk| walk.steps.clear());
        }
        walks(&mut text, &rest, all, paint);
    }
    if whole && !explained.captures.is_empty() {
        let title = "where captures see it (source ports are made up)";
        text.push_str(&format!("{}\n", paint.dress(Look::Title, title)));
        for capture in &explained.captures {
            // It is to be copied as it is.
            let what = paint.dress(Look::Faint, &format!("# {}", capture.what));
            text.push_str(&format!("  {}  {what}\n", capture.command));
            for seen in &capture.shows {
                text.push_str(&format!("    {}\n", paint.dress(Look::Captured, &seen.to_string())));
            }
        }
        text.push('\n');
    }
    let outcome = match explained.answered {
        Some(true) => Look::Good,
        Some(false) => Look::Bad,
        None => Look::Unsure,
    };
    hang(&mut text, "", &explained.sentence, Some(outcome), paint);
    if let Some(planned) = &explained.planned {
        hang(&mut text, "", &format!("By the Plan it would be otherwise: {planned}."), None, paint);
        for difference in &explained.differences {
            hang(&mut text, "  ", &format!("other than planned: {difference}"), None, paint);
        }
    }
    if let Some(advice) = &explained.advice {
        hang(&mut text, "", &format!("What would help: {advice}"), None, paint);
    }
    text
}

/// The walks that are printed, without the steps of the first that all branches share.
fn shown(walks: &[WalkRecord], shared: usize, whole: bool) -> Vec<WalkRecord> {
    let is_shown = |walk: &&WalkRecord| whole || walk.title.starts_with("the first packet");
    let mut walks: Vec<WalkRecord> = walks.iter().filter(is_shown).cloned().collect();
    if let Some(first) = walks.first_mut() {
        first.steps.drain(..shared.min(first.steps.len()));
    }
    walks
}

fn walks(text: &mut String, walks: &[WalkRecord], all: bool, paint: &Paint) {
    let steps = |walk: &'_ WalkRecord| -> Vec<StepRecord> {
        walk.steps.iter().filter(|step| all || step.kind != StepKind::Chain).cloned().collect()
    };
    let steps: Vec<Vec<StepRecord>> = walks.iter().map(steps).collect();
    let widest =
        |width: fn(&StepRecord) -> usize| steps.iter().flatten().map(width).max().unwrap_or_default();
    let (namespace, place) = (widest(|step| step.namespace.len()), widest(|step| step.location().len()));
    for (walk, steps) in walks.iter().zip(&steps) {
        if !walk.title.is_empty() {
            text.push_str(&format!("{}\n", paint.dress(Look::Title, &walk.title)));
        }
        for step in steps {
            let head = format!("  {:namespace$}  {:place$}  ", step.namespace, step.location());
            hang(text, &head, &step.text(), look(step), paint);
        }
        let end = match walk.end.kind {
            EndKind::Delivered | EndKind::Leaves => Look::Good,
            EndKind::Branches => Look::Unsure,
            _ => Look::Bad,
        };
        hang(text, "  = ", &walk.end.text, Some(end), paint);
        text.push('\n');
    }
}

/// A text behind a head; where it goes on in the next line, it begins under its beginning.
fn hang(to: &mut String, head: &str, text: &str, look: Option<Look>, paint: &Paint) {
    let indent = head.chars().count();
    for (number, line) in paint.fit(indent, text).iter().enumerate() {
        let head = if number == 0 { head.to_owned() } else { " ".repeat(indent) };
        let words = look.map_or_else(|| line.clone(), |look| paint.dress(look, line));
        to.push_str(&format!("{head}{words}\n"));
    }
}

fn look(step: &StepRecord) -> Option<Look> {
    match step.kind {
        StepKind::In | StepKind::Out => Some(Look::Captured),
        StepKind::Chain => Some(Look::Faint),
        StepKind::Translate if !step.remembered => Some(Look::Change),
        _ => None,
    }
}
