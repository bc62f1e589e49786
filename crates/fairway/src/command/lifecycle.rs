//! `fairway stop`, `restart`, `kill`, `rm` and `wait`.

use std::panic::resume_unwind;
use std::thread;

use clap::Args;
use fairway_api::Client;

use super::error::CommandError;
use super::print::{complain, each, print_line};
use super::session::Session;
use super::start::start;

/// So many sandboxes are stopped at once, as by Docker's client.
const AT_ONCE: usize = 50;

/// How to end a process.
#[derive(Debug, Args)]
struct Ending {
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Seconds to wait before killing the sandbox; negative: wait forever [default: 10]
    #[arg(
        short = 't',
        long = "timeout",
        visible_alias = "time",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    timeout: Option<i64>,
}

/// Which sandboxes to stop, and how.
#[derive(Debug, Args)]
pub(super) struct StopOptions {
    #[command(flatten)]
    ending: Ending,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Which sandboxes to stop and start again, and how.
#[derive(Debug, Args)]
pub(super) struct RestartOptions {
    #[command(flatten)]
    ending: Ending,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Which sandboxes to send which signal.
#[derive(Debug, Args)]
pub(super) struct KillOptions {
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Which sandboxes to remove.
#[derive(Debug, Args)]
pub(super) struct RemoveOptions {
    /// Force the removal of a running sandbox (uses SIGKILL)
    #[arg(short, long)]
    force: bool,
    /// Accepted for compatibility with Docker: there are no volumes
    #[arg(short, long, hide = true)]
    volumes: bool,
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Which sandboxes to wait for.
#[derive(Debug, Args)]
pub(super) struct WaitOptions {
    /// Names or ids
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Ending {
    fn stop(&self, client: &mut Client, name: &str) -> Result<(), CommandError> {
        Ok(client.stop(name, self.signal.as_deref(), self.timeout)?)
    }
}

impl StopOptions {
    /// Stops sandboxes at once, and prints their names in the order of the line.
    pub(super) fn run(&self, client: &mut Client) -> Result<i32, CommandError> {
        let client = &*client;
        let mut code = 0;
        for names in self.containers.chunks(AT_ONCE) {
            code |= thread::scope(|scope| {
                let stopping = names.iter().map(|name| {
                    let stop = move || self.ending.stop(&mut client.another(), name);
                    (name, stop, thread::Builder::new().spawn_scoped(scope, stop))
                });
                each(stopping.collect::<Vec<_>>(), |(name, stop, thread)| {
                    match thread {
                        Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                        // The kernel gives no more threads.
                        Err(_) => stop(),
                    }?;
                    print_line(name)
                })
            })?;
        }
        Ok(code)
    }
}

impl RestartOptions {
    pub(super) fn run(&self, session: &mut Session) -> Result<i32, CommandError> {
        each(&self.containers, |name| {
            let known = session.client.container(name)?;
            if known.kind != "run" {
                return Err(CommandError::NotStartable { name: name.to_owned(), kind: known.kind });
            }
            self.ending.stop(&mut session.client, name)?;
            start(session, name, 0)?;
            print_line(name)
        })
    }
}

impl KillOptions {
    pub(super) fn run(&self, client: &mut Client) -> Result<i32, CommandError> {
        each(&self.containers, |name| {
            client.kill(name, &self.signal)?;
            print_line(name)
        })
    }
}

impl RemoveOptions {
    pub(super) fn run(&self, client: &mut Client) -> Result<i32, CommandError> {
        each(&self.containers, |name| {
            match client.remove_container(name, self.force).map_err(CommandError::from) {
                Err(error) if error.not_found() => {
                    let missing = CommandError::NotFound { kind: "container", name: name.to_owned() };
                    // As in Docker, which says so all the same.
                    if self.force {
                        complain(&missing);
                        return Ok(());
                    }
                    Err(missing)
                }
                outcome => outcome.and_then(|()| print_line(name)),
            }
        })
    }
}

impl WaitOptions {
    pub(super) fn run(&self, client: &mut Client) -> Result<i32, CommandError> {
        each(&self.containers, |name| {
            let code = client.wait(name, "not-running").map_err(CommandError::from);
            let code = code.map_err(|error| error.with_near(client))?;
            print_line(&code.to_string())
        })
    }
}
