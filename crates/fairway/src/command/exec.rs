//! `fairway exec`.

use clap::Args;
use fairway_api::types::ContainerInspect;
use fairway_kernel::process;

use super::error::CommandError;
use super::process_options::ProcessOptions;
use super::session::{Session, capabilities, files, surroundings};
use fairway_run::{
    CapabilitySet, Entry, Launch, LaunchError, NetworkNamespace, enter, find_user, take_terminal,
};
use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a process that begins is looked at.
const GLANCE: Duration = Duration::from_millis(1);
/// How long it may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);

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
    pub(super) fn run(self, session: &mut Session) -> Result<i32, CommandError> {
        let asked = self.process.environment()?;
        if self.own_terminal {
            take_terminal().map_err(CommandError::Terminal)?;
        }
        let known = session.client.container(&self.container)?;
        if !known.state.runs_now() {
            return Err(CommandError::NotRunning(self.container));
        }
        if known.state.pid == 0 {
            return self.run_in_namespace(session, &known, asked);
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
        let user = self.process.user.unwrap_or(known.config.user.clone());
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        if !known.root_directory.is_empty() {
            await_image(&root).map_err(|source| LaunchError::Unreadable { path: root.clone(), source })?;
        }
        let user = find_user(&root, &user, &known.host_config.group_add)?;
        let directory = [self.process.workdir.unwrap_or_default(), known.config.working_dir.clone()];
        let directory = directory.into_iter().find(|it| !it.is_empty()).unwrap_or_else(|| "/".to_owned());
        let entry = Entry {
            capabilities: match self.process.privileged {
                true => CapabilitySet::all(),
                false => capabilities(&known)?,
            },
            environment: surroundings(&known.config.hostname, terminal, user.as_ref(), &variables),
            identity: user.map(|user| user.identity),
            cgroups: fairway_run::cgroup::places(&known.id),
            directory: directory.into(),
            command: self.command,
        };
        enter(target, &entry)?.wait_forwarding_signals().map_err(CommandError::Wait)
    }
}

/// Waits until a process that begins has its image as its root directory, not the host's. One that cannot get there ends.
fn await_image(root: &Path) -> io::Result<()> {
    let identity = |path: &Path| fs::metadata(path).map(|it| (it.dev(), it.ino()));
    let (host, deadline) = (identity(Path::new("/"))?, Instant::now() + PATIENCE);
    while identity(root)? == host {
        if Instant::now() > deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "its root directory is still the host's"));
        }
        std::thread::sleep(GLANCE);
    }
    Ok(())
}

impl ExecOptions {
    /// Runs the command in a sandbox that is a network namespace and nothing else, with its resolv.conf and hosts file.
    fn run_in_namespace(
        self,
        session: &Session,
        known: &ContainerInspect,
        asked: Vec<String>,
    ) -> Result<i32, CommandError> {
        let user = self.process.user.unwrap_or_default();
        let user = find_user(Path::new("/"), &user, &[])?;
        let terminal = io::stdin().is_terminal();
        let launch = Launch {
            network: NetworkNamespace::Join(known.network_settings.sandbox_key.clone().into()),
            capabilities: CapabilitySet::choose(self.process.privileged, &[], &[])?,
            privileged: self.process.privileged,
            environment: surroundings(&known.config.hostname, terminal, user.as_ref(), &asked),
            identity: user.map(|user| user.identity),
            hostname: known.config.hostname.clone(),
            directory: self.process.workdir.unwrap_or_else(|| "/".to_owned()).into(),
            command: self.command,
            hidden: session.hidden(known),
            ..Launch::default()
        };
        let running = fairway_run::launch(&launch)?.release(&files(known))?;
        running.wait_forwarding_signals().map_err(CommandError::Wait)
    }
}
