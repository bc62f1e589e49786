//! `fairway start`.

use clap::Args;

use super::error::CommandError;
use super::print::{each, print_line};
use super::session::Session;

/// Which sandboxes to start, and how.
#[derive(Debug, Args)]
pub(super) struct StartOptions {
    /// Attach STDOUT/STDERR and forward signals
    #[arg(short, long)]
    attach: bool,
    /// Accepted for compatibility with Docker: in the foreground the command has the caller's input
    #[arg(short, long)]
    interactive: bool,
    /// How many clients of the daemon attach before the command begins
    #[arg(long, hide = true, default_value_t = 0)]
    attachments: usize,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl StartOptions {
    pub(super) fn run(self, session: &mut Session) -> Result<i32, CommandError> {
        if !self.attach {
            return each(&self.containers, |name| {
                let started = start(session, name, self.attachments);
                started.map_err(|error| error.with_near(&mut session.client))?;
                print_line(name)
            });
        }
        match self.containers.as_slice() {
            [name] => {
                startable(session, name)?;
                session.foreground(name)
            }
            _ => Err(CommandError::AttachSeveral),
        }
    }
}

/// Starts a sandbox in the background, when so many clients are attached; one that runs is left alone, as in Docker.
pub(super) fn start(session: &mut Session, name: &str, attachments: usize) -> Result<(), CommandError> {
    match startable(session, name)? {
        true => session.detached(name, attachments),
        false => Ok(()),
    }
}

/// Whether a sandbox is to be started: it does not run.
fn startable(session: &mut Session, name: &str) -> Result<bool, CommandError> {
    let known = session.client.container(name)?;
    if !known.state.runs_now() && known.kind != "run" {
        return Err(CommandError::NotStartable { name: name.to_owned(), kind: known.kind });
    }
    Ok(!known.state.runs_now())
}
