//! A connection to the daemon, and starting the processes of sandboxes that it knows.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use fairway_api::Client;
use fairway_api::image::{HOST_IMAGE, image_name};
use fairway_api::types::{AttachNamespace, ContainerInspect, Exited};
use fairway_kernel::clock;
use fairway_model::{LogLimits, ResourceLimits};
use serde::{Deserialize, Serialize};

use super::command_options::limits_of;
use super::error::CommandError;
use super::print::warn;
use crate::daemon::EXEC_ROOT;
use fairway_run::{
    CapabilitySet, Ending, Files, Launch, LaunchError, NetworkNamespace, Order, Running, User, cgroup,
    environment, find_user, home,
};

/// A connection to a daemon, and where that is.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    host: String,
}

/// Where a supervisor reports how its command ended.
#[derive(Debug, Serialize, Deserialize)]
struct Context {
    host: String,
    sandbox: String,
    record: PathBuf,
}

/// Reports to the daemon how a detached command ended; for [`fairway_run::stage`].
pub fn report(context: &str, ending: Ending) {
    let Ok(Context { host, sandbox, record }) = serde_json::from_str(context) else { return };
    let Ok(mut client) = Client::new(&host) else { return };
    match client.exited(&sandbox, exited(&ending)).map_err(CommandError::from) {
        // A daemon that does not run reads the record when it starts.
        Err(error) if !error.not_found() => {}
        // Else nobody needs it, and nobody may know that it is there. One that is gone is fine.
        _ => drop(fs::remove_file(record)),
    }
}

/// The entrypoint and the command of a sandbox, which are executed together.
fn command(known: &ContainerInspect) -> Vec<String> {
    let entrypoint = known.config.entrypoint.iter().flatten();
    entrypoint.chain(&known.config.cmd).cloned().collect()
}

fn exited(ending: &Ending) -> Exited {
    Exited { pid: ending.process.pid, code: ending.code, oom_killed: ending.oom_killed }
}

impl Session {
    /// A connection to the daemon at this address; it is made by the first request.
    pub(super) fn open(host: &str) -> Result<Self, CommandError> {
        Ok(Self { client: Client::new(host)?, host: host.to_owned() })
    }

    /// Starts the process of a sandbox with this program's streams, and waits for its end. Returns
    /// its exit code.
    pub(super) fn foreground(&mut self, sandbox: &str) -> Result<i32, CommandError> {
        let known = self.client.container(sandbox)?;
        let started = self.start_foreground(&known);
        let (running, group) = self.report_failed_start(&known.id, started)?;
        running.notes().iter().for_each(|note| tracing::warn!("{note}"));
        let process = running.identity();
        let code = running.wait_forwarding_signals().map_err(CommandError::Wait)?;
        let ending = Ending { process, code, at: clock::wall(), oom_killed: cgroup::oom_killed(&group.0) };
        if let Err(error) = self.report_exit(&known.id, exited(&ending)) {
            warn(&format!("cannot report the end of {sandbox} to the daemon: {error}"));
            // For the next daemon. Without it that knows only that the command ended.
            let _ = ending.write(&record_path(&log_path(&known)?));
        }
        Ok(code)
    }

    fn start_foreground(&mut self, known: &ContainerInspect) -> Result<(Running, Group), CommandError> {
        let terminal = [io::stdin().is_terminal(), io::stdout().is_terminal()].contains(&true);
        let launch = self.launch(known, terminal, false)?;
        let launched = fairway_run::launch(&launch)?;
        let pid = launched.identity().pid;
        let group = Group::limited(known, pid)?;
        let given = self.client.attach_namespace(&known.id, &in_process(pid))?;
        match launched.release(&files(&given)) {
            Ok(running) => Ok((running, group)),
            Err(error) => Err(self.unreleased(&known.id, pid, error)),
        }
    }

    /// Starts the process of a sandbox under a supervisor, once so many clients are attached to its streams, and returns when it runs.
    pub(super) fn detached(&mut self, sandbox: &str, attachments: usize) -> Result<(), CommandError> {
        let known = self.client.container(sandbox)?;
        let started = self.start_detached(&known, attachments);
        self.report_failed_start(&known.id, started)
    }

    fn start_detached(&mut self, known: &ContainerInspect, attachments: usize) -> Result<(), CommandError> {
        let launch = self.launch(known, known.config.tty, true)?;
        let log = log_path(known)?;
        if let Some(directory) = log.parent() {
            fs::create_dir_all(directory).map_err(|source| CommandError::LogDirectory {
                path: directory.display().to_string(),
                source,
            })?;
        }
        let (host, sandbox, record) = (self.host.clone(), known.id.clone(), record_path(&log));
        let context = Context { host, sandbox, record: record.clone() };
        let order = Order {
            name: known.name.trim_start_matches('/').to_owned(),
            launch,
            record,
            cgroups: cgroup::places(&known.id),
            resources: limits_of(&known.host_config),
            attachments,
            log,
            limits: LogLimits::parse(&known.host_config.log_config.config)?,
            context: serde_json::to_string(&context).unwrap_or_default(),
        };
        let detached = fairway_run::detach(&order)?;
        let pid = detached.identity().pid;
        let given = self.client.attach_namespace(&known.id, &in_process(pid))?;
        match detached.release(&files(&given)) {
            Ok(notes) => notes.iter().for_each(|note| tracing::warn!("{note}")),
            Err(error) => return Err(self.unreleased(&known.id, pid, error)),
        }
        Ok(())
    }

    /// The process was connected, but did not become its command: it is over.
    fn unreleased(&mut self, sandbox: &str, pid: u32, error: LaunchError) -> CommandError {
        // A daemon without this report notices by itself; the failure is what the user needs to know.
        let exited = Exited { pid, code: error.exit_code(), ..Exited::default() };
        let _ = self.report_exit(sandbox, exited);
        error.into()
    }

    /// Has the daemon keep the error of a failed start, as `docker inspect` shows it.
    fn report_failed_start<T>(
        &mut self,
        sandbox: &str,
        started: Result<T, CommandError>,
    ) -> Result<T, CommandError> {
        started.inspect_err(|error| {
            let text = match error {
                CommandError::Refused { message, .. } => message.clone(),
                other => other.to_string(),
            };
            // The caller gets the error in any case.
            let _ = self.client.start_failed(sandbox, text);
        })
    }

    fn report_exit(&mut self, sandbox: &str, exited: Exited) -> Result<(), CommandError> {
        match self.client.exited(sandbox, exited).map_err(CommandError::from) {
            // The daemon may have noticed by itself, and forgotten a sandbox run with `--rm`.
            Err(error) if error.not_found() => Ok(()),
            result => result,
        }
    }

    /// How the process of a sandbox is to be started.
    fn launch(
        &mut self,
        known: &ContainerInspect,
        terminal: bool,
        detached: bool,
    ) -> Result<Launch, CommandError> {
        let mode = known.host_config.network_mode.as_str();
        let mut hostname = known.config.hostname.clone();
        let network = match mode.strip_prefix("container:") {
            Some(target) => {
                let target = self.client.container(target)?;
                let name = target.name.trim_start_matches('/').to_owned();
                if !target.state.runs_now() {
                    return Err(CommandError::TargetNotRunning(name));
                }
                hostname = target.config.hostname;
                match target.network_settings.sandbox_key {
                    path if path.is_empty() => NetworkNamespace::Caller,
                    path => NetworkNamespace::Join(path.into()),
                }
            }
            None if mode == "host" => {
                // As in Docker: the host's own name unless another was asked for.
                if known.has_default_hostname() {
                    hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
                }
                NetworkNamespace::Caller
            }
            None => NetworkNamespace::New,
        };
        let directory = match known.config.working_dir.as_str() {
            "" => "/",
            directory => directory,
        };
        let variables: Vec<String> = known.config.link_env.iter().chain(&known.config.env).cloned().collect();
        let root = Some(PathBuf::from(&known.root_directory)).filter(|root| !root.as_os_str().is_empty());
        if root.is_none() && !["", HOST_IMAGE].contains(&image_name(&known.config.image)) {
            let name = known.name.trim_start_matches('/').to_owned();
            return Err(CommandError::NoImage { name, image: known.config.image.clone() });
        }
        let place = root.as_deref().unwrap_or(Path::new("/"));
        let user = find_user(place, &known.config.user, &known.host_config.group_add)?;
        Ok(Launch {
            network,
            capabilities: capabilities(known)?,
            privileged: known.host_config.privileged,
            environment: surroundings(&hostname, terminal, user.as_ref(), &variables),
            root,
            identity: user.map(|user| user.identity),
            init: known.host_config.init.unwrap_or_default(),
            sysctls: known.host_config.sysctls.clone().into_iter().collect(),
            terminal: (detached && known.config.tty)
                .then(|| known.host_config.console_size.unwrap_or_default()),
            input: detached && known.config.open_stdin,
            input_once: known.config.stdin_once,
            hostname,
            directory: directory.into(),
            command: command(known),
            hidden: self.hidden(known),
        })
    }

    /// What no sandbox may see: the daemon's socket, the directory with the relay's and with all
    /// sandboxes' files, in which a socket stays hidden also when a new daemon makes it anew, and that of the logs.
    pub(super) fn hidden(&self, known: &ContainerInspect) -> Vec<PathBuf> {
        let named = Path::new(self.host.strip_prefix("unix://").unwrap_or_default());
        let socket = fs::canonicalize(named).unwrap_or_else(|_| named.to_owned());
        // The default socket is a link to one in that directory.
        let by_link = named.is_symlink().then(|| socket.parent()).flatten();
        // EXEC_ROOT/sandboxes/ID/resolv.conf
        let by_file = Path::new(&known.resolv_conf_path).ancestors().nth(3);
        // In host mode there are no files of its own to tell the directory.
        let by_default = Some(Path::new(EXEC_ROOT)).filter(|it| it.is_dir());
        // The streams of other sandboxes are there too.
        let by_log = Path::new(&known.log_path).parent();
        let mut hidden: Vec<PathBuf> = [by_link, by_file, by_default, by_log]
            .into_iter()
            .flatten()
            .filter(|it| it.parent().is_some())
            .map(Path::to_owned)
            .collect();
        hidden.sort();
        hidden.dedup();
        if !hidden.iter().any(|directory| socket.starts_with(directory)) {
            hidden.push(socket);
        }
        hidden
    }
}

/// The control groups of a process in the foreground, removed when this is dropped.
struct Group(Vec<PathBuf>);

impl Group {
    /// Moves a process that waits into groups of its own, if its sandbox has limits.
    fn limited(known: &ContainerInspect, pid: u32) -> Result<Self, CommandError> {
        let limits = limits_of(&known.host_config);
        if limits == ResourceLimits::default() {
            return Ok(Self(Vec::new()));
        }
        let group = Self(cgroup::enter(cgroup::places(&known.id), pid));
        cgroup::limit(&group.0, &limits)?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.0.iter().for_each(|place| cgroup::remove(place));
    }
}

/// What a sandbox's processes may do.
pub(super) fn capabilities(known: &ContainerInspect) -> Result<CapabilitySet, CommandError> {
    let host = &known.host_config;
    Ok(CapabilitySet::choose(host.privileged, &host.cap_add, &host.cap_drop)?)
}

/// The environment of a command that this user starts.
#[expect(clippy::disallowed_methods, reason = "TERM describes the terminal of the caller")]
pub(super) fn surroundings(
    hostname: &str,
    terminal: bool,
    user: Option<&User>,
    asked: &[String],
) -> Vec<(String, String)> {
    let home = user.map(|user| user.home.clone()).unwrap_or_else(|| {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        home(&passwd, rustix::process::geteuid().as_raw())
    });
    let kind = terminal.then(|| std::env::var("TERM").unwrap_or_else(|_| "xterm".to_owned()));
    environment(hostname, &home, kind.as_deref(), asked)
}

/// Where a sandbox's detached command is recorded.
pub(super) fn log_path(known: &ContainerInspect) -> Result<PathBuf, CommandError> {
    match known.log_path.as_str() {
        "" => Err(CommandError::NoLog(known.name.trim_start_matches('/').to_owned())),
        path => Ok(path.into()),
    }
}

/// The file that records how a sandbox's command ended, for a daemon that could not be reached.
fn record_path(log: &Path) -> PathBuf {
    log.with_extension("exit")
}

fn in_process(pid: u32) -> AttachNamespace {
    AttachNamespace { pid, path: String::new() }
}

pub(super) fn files(given: &ContainerInspect) -> Files {
    let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
    Files {
        resolv_conf: path(&given.resolv_conf_path),
        hosts: path(&given.hosts_path),
        hostname: path(&given.hostname_path),
    }
}
