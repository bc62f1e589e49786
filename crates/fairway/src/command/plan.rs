//! `fairway plan`: the objects that the daemon keeps, and what it would do to make the kernel equal to them.

use clap::{Args, ValueEnum};
use fairway_api::Client;
use fairway_api::types::{PlanDifference, Planned};
use fairway_core::plan::Action;
use serde::Serialize;

use super::error::CommandError;
use super::print::print;

/// The exit code of `--diff` if there is something to do.
const CHANGES: i32 = 2;

/// The output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// The options of `fairway plan`.
#[derive(Debug, Args)]
pub(super) struct PlanOptions {
    /// Show what the daemon would do now to make the kernel equal to the plan, without doing it
    #[arg(long)]
    diff: bool,
    /// Format output
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    format: Format,
}

impl PlanOptions {
    /// The exit code: 0, or 2 with `--diff` if there is something to do.
    pub(super) fn run(&self, client: &mut Client) -> Result<i32, CommandError> {
        if !self.diff {
            let planned = client.plan()?;
            self.show(&planned, listing)?;
            return Ok(0);
        }
        let difference = client.plan_difference()?;
        self.show(&difference, changes)?;
        Ok(if difference.changes.is_empty() { 0 } else { CHANGES })
    }

    fn show<T: Serialize>(&self, reply: &T, text: impl FnOnce(&T) -> String) -> Result<(), CommandError> {
        match self.format {
            Format::Text => print(&text(reply)),
            Format::Json => {
                let json = serde_json::to_string_pretty(reply).unwrap_or_default();
                print(&format!("{json}\n"))
            }
        }
    }
}

/// The objects, by owner.
fn listing(planned: &Planned) -> String {
    planned.owners.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A line for each object, and how many there are.
fn changes(difference: &PlanDifference) -> String {
    let changes = &difference.changes;
    if changes.is_empty() {
        return "No changes: the kernel is as planned.\n".to_owned();
    }
    let lines: String = changes.iter().map(|change| format!("{change}\n")).collect();
    let count = |action| changes.iter().filter(|change| change.action == action).count();
    let (add, change, remove) = (count(Action::Add), count(Action::Change), count(Action::Remove));
    format!("{lines}{add} to add, {change} to change, {remove} to remove.\n")
}
