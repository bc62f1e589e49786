//! `fairway apply`: makes the networks and sandboxes that a file declares.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;

use clap::Args;
use fairway_api::Client;

use super::send;
use crate::command::declaration::{Action, Declaration, DeclareError, Step, plan, read, unset};
use crate::command::error::CommandError;
use crate::command::print::{print_line, warn};
use crate::command::process_options::environment_file;

/// Which file, and how far to go.
#[derive(Debug, Args)]
pub(in crate::command) struct ApplyOptions {
    /// File in YAML or JSON, a Compose file too; '-' is the standard input
    #[arg(short, long, value_name = "FILE")]
    file: String,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove networks and sandboxes that an earlier apply created and that the file no longer has
    #[arg(long)]
    prune: bool,
}

impl ApplyOptions {
    pub(in crate::command) fn run(self, client: &mut Client) -> Result<i32, CommandError> {
        let path = match self.file.as_str() {
            "-" => "the standard input".to_owned(),
            path => path.to_owned(),
        };
        let (text, variables) = (contents(&self.file, &path)?, variables(&self.file)?);
        let unset = unset(&text, &variables);
        let file = read(&text, variables);
        let file = file.map_err(|source| DeclareError::Text { path: path.clone(), source })?;
        for name in unset {
            // Compose's words.
            warn(&format!("The {name:?} variable is not set. Defaulting to a blank string."));
        }
        let refused = |refusals| DeclareError::Refused { path: path.clone(), refusals };
        let declaration = Declaration::new(file, &place(&self.file)).map_err(refused)?;
        if self.prune && declaration.owner.is_empty() {
            return Err(DeclareError::Unnamed.into());
        }
        let plan = plan(&declaration, &send::read(client)?, self.prune).map_err(refused)?;
        match send::check(client, &plan.steps)? {
            refusals if refusals.is_empty() => {}
            refusals => return Err(refused(refusals).into()),
        }
        plan.notes.iter().for_each(|note| warn(note));
        if plan.steps.is_empty() {
            print_line("unchanged")?;
        }
        let mut steps = plan.steps.into_iter();
        while let Some(step) = steps.next() {
            let (line, action) = (step.to_string(), step.action.to_string());
            if !self.dry_run
                && let Err(source) = send::send(client, step.action)
            {
                attach_again(client, steps);
                return Err(CommandError::Step { action, source: Box::new(source) });
            }
            print_line(&line)?;
        }
        Ok(0)
    }
}

/// Gives sandboxes their networks back that were detached for a change which a failed step prevents.
fn attach_again(client: &mut Client, left: impl Iterator<Item = Step>) {
    for step in left.filter(|step| matches!(step.action, Action::AttachAgain(_))) {
        let action = step.action.to_string();
        if let Err(error) = send::send(client, step.action) {
            warn(&format!("cannot {action}: {error}"));
        }
    }
}

/// Where a file is, which identifies files without a name; empty for the standard input.
fn place(file: &str) -> String {
    let path = std::fs::canonicalize(file).ok().filter(|_| file != "-");
    path.map(|path| path.display().to_string()).unwrap_or_default()
}

/// The variables that a file may refer to: the caller's, and others of a file `.env` next to it, as in Compose.
#[expect(clippy::disallowed_methods, reason = "a declaration refers to the caller's variables")]
fn variables(file: &str) -> Result<HashMap<String, String>, CommandError> {
    let dotenv = Path::new(file).with_file_name(".env");
    let mut variables = HashMap::new();
    if file != "-" && dotenv.exists() {
        let lines = environment_file(&dotenv.display().to_string())?;
        let pairs = lines.iter().filter_map(|line| line.split_once('='));
        variables.extend(pairs.map(|(name, value)| (name.to_owned(), unquoted(value).to_owned())));
    }
    variables.extend(
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
    );
    Ok(variables)
}

/// A value without the quotes around it.
fn unquoted(value: &str) -> &str {
    let within = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
    within('"').or_else(|| within('\'')).unwrap_or(value)
}

/// The text of a file, or of the standard input.
fn contents(file: &str, path: &str) -> Result<String, DeclareError> {
    let mut text = String::new();
    let read = match file {
        "-" => io::stdin().lock().read_to_string(&mut text).map(drop),
        file => std::fs::read_to_string(file).map(|read| text = read),
    };
    read.map(|()| text).map_err(|source| DeclareError::Read { path: path.to_owned(), source })
}
