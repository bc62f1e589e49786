//! `fairway exec`.

use clap::Args;
use fairway_api::Client;
use fairway_kernel::process;

use super::error::CommandError;
use super::process_options::ProcessOptions;
use super::session::{capabilities, surroundings};
use fairway_run::{CapabilitySet, Entry, LaunchError, enter};
use std::io::{self, IsTerminal};

/// What to run, and in which sandbox.
#[derive(Debug, Args)]
#[command(override_usage = "fairway exec [OPTIONS] CONTAINER COMMAND [ARGUMENT]...")]
pub(super) struct ExecOptions {
    #[command(flatten)]
    process: ProcessOptions,
    /// Begin a session whose terminal is the input
    #[arg(long, hide = true)]
    own_terminal: bool,
    /// Name or id of a running sandbox
    container: String,
    /// Command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl ExecOptions {
    /// Does it; the exit code is that of the command.
    pub(super) fn run(self, client: &mut Client) -> Result<i32, CommandError> {
        let asked = self.process.environment()?;
        if self.own_terminal {
            take_terminal().map_err(CommandError::Terminal)?;
        }
        let known = client.container(&self.container)?;
        if !known.state.running {
            return Err(CommandError::NotRunning(self.container));
        }
        if known.state.pid == 0 {
            return Err(CommandError::NoProcess(self.container, known.network_settings.sandbox_key));
        }
        let pid = known.state.pid;
        let target = process::identity(pid).map_err(|error| match error {
            process::Error::Gone(pid) => LaunchError::Gone { pid },
            error => LaunchError::Unreadable {
                path: format!("/proc/{pid}").into(),
                source: io::Error::other(error),
            },
        })?;
        let given = known.config.link_env.iter().chain(&known.config.env);
        let variables: Vec<String> = given.cloned().chain(asked).collect();
        let terminal = io::stdin().is_terminal();
        let directory = [self.process.workdir.unwrap_or_default(), known.config.working_dir.clone()];
        let directory = directory.into_iter().find(|it| !it.is_empty()).unwrap_or_else(|| "/".to_owned());
        let entry = Entry {
            capabilities: match self.process.privileged {
                true => CapabilitySet::all(),
                false => capabilities(&known)?,
            },
            environment: surroundings(&known.config.hostname, terminal, &variables),
            directory: directory.into(),
            command: self.command,
        };
        enter(target, &entry)?.wait_forwarding_signals().map_err(CommandError::Wait)
    }
}

/// Makes the input the terminal of a session of this process, so that its keys are signals (setsid(2), ioctl_tty(2)).
fn take_terminal() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(rustix::process::ioctl_tiocsctty(io::stdin())?)
}
