//! The supervisor: a process that runs a detached command, outlives its starter, writes the log and reports the
//! exit code.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use fairway_kernel::clock;
use fairway_model::{LogLimits, Namespace, ProcessIdentity, ResourceLimits};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use super::cgroup;
use super::channel::Channel;
use super::init::{stray, take_input};
use super::launch::{self, Output, spawn_stage, start};
use super::log::Log;
use super::streams::{Ends, Streams, give};
use super::{Failure, Files, Launch, LaunchError, Running};

/// The first argument that starts this program as this stage.
pub(super) const STAGE: &str = "sandbox-supervise";
/// What a supervisor is called in ps(1), before the name of its sandbox.
const TITLE: &str = "fairway-supervisor";

/// The control group of all supervisors once their commands run. In that of its sandbox a supervisor would count towards
/// the limits, and the kernel could kill it for lack of memory in place of the command.
const GROUP: &str = "supervisors";
/// How long a command may take to end when its supervisor is asked to; Docker's.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What a supervisor is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The name of the sandbox, which ps(1) shows.
    pub name: String,
    /// What to start.
    pub launch: Launch,
    /// The control groups that it goes into, where it can: see `cgroup::places`.
    pub cgroups: Vec<PathBuf>,
    /// What its processes may use: it does not start where that cannot be limited.
    pub resources: ResourceLimits,
    /// How many clients attach before the command begins.
    pub attachments: usize,
    /// The file to add its output to.
    pub log: PathBuf,
    /// How large the log may grow.
    pub limits: LogLimits,
    /// The file that is to say how it ended, see [`Ending::read`]. One that is there is removed.
    pub record: PathBuf,
    /// Handed to the `report` of [`super::stage`]: which sandbox it is, and where to report.
    pub context: String,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Which process it was.
    pub process: ProcessIdentity,
    /// Its exit code, or 128 and the number of the signal that ended it.
    pub code: i32,
    /// When, in nanoseconds since 1970.
    pub at: i64,
    /// Whether the kernel killed one of its processes for lack of memory.
    #[serde(default)]
    pub oom_killed: bool,
}

impl Ending {
    /// What the record file of an [`Order`] says, if it is about this process: for a daemon that was
    /// not running then.
    pub fn read(record: &Path, process: ProcessIdentity) -> Option<Self> {
        let text = fs::read(record).ok()?;
        serde_json::from_slice(&text).ok().filter(|ending: &Self| ending.process == process)
    }

    /// Writes it down, so that [`Ending::read`] finds it.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn write(&self, record: &Path) -> io::Result<()> {
        let draft = record.with_extension("draft");
        let written = fs::write(&draft, serde_json::to_vec(self)?).and_then(|()| fs::rename(&draft, record));
        if written.is_err() {
            let _ = fs::remove_file(draft);
        }
        written
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    Ready(ProcessIdentity),
    Started { notes: Vec<String> },
    Failed(Failure),
}

/// A process under a supervisor, which waits for [`Detached::release`] and is killed when this is
/// dropped or its starter ends.
#[derive(Debug)]
pub struct Detached {
    /// None once the supervisor is on its own.
    held: Option<(Channel, Child)>,
    identity: ProcessIdentity,
}

/// Starts a supervisor, and under it a process without terminal or input. Returns when its
/// namespaces are there.
///
/// # Errors
/// As [`super::launch`], and when the log cannot be written. Nothing is left behind.
pub fn detach(order: &Order) -> Result<Detached, LaunchError> {
    let stage_error = |source| LaunchError::Stage { stage: STAGE, source };
    let (mut channel, end) = Channel::pair().map_err(stage_error)?;
    let supervisor = spawn_stage(&[TITLE, STAGE, &order.name], end, &Output::Nowhere).map_err(stage_error)?;
    let sent = channel.send(order);
    let unread = ProcessIdentity { pid: 0, start_time: 0 };
    let mut detached = Detached { held: Some((channel, supervisor)), identity: unread };
    match detached.hear()? {
        Reply::Ready(identity) => detached.identity = identity,
        Reply::Failed(failure) => return Err(failure.into()),
        Reply::Started { .. } => return Err(silent()),
    }
    sent.map(|()| detached).map_err(|source| LaunchError::Channel { stage: STAGE, source })
}

fn silent() -> LaunchError {
    LaunchError::Ended { ending: "its supervisor did not say how".to_owned() }
}

impl Detached {
    /// Which process it is: the command, not its supervisor.
    pub fn identity(&self) -> ProcessIdentity {
        self.identity
    }

    /// Its network namespace, by the path `/proc/PID/ns/net`.
    ///
    /// # Errors
    /// As stat(2): the process has ended.
    pub fn namespace(&self) -> Result<Namespace, LaunchError> {
        launch::namespace(self.identity)
    }

    /// Lets the process become its command, and returns when it has: from here on the supervisor
    /// is on its own. The notes that are returned say what the command has to live without.
    ///
    /// # Errors
    /// As [`super::Launched::release`].
    pub fn release(mut self, files: &Files) -> Result<Vec<String>, LaunchError> {
        let sent = match &mut self.held {
            Some((channel, _)) => channel.send(files),
            None => Ok(()),
        };
        match self.hear()? {
            Reply::Started { notes } => {
                self.held = None;
                Ok(notes)
            }
            Reply::Failed(failure) => Err(failure.into()),
            Reply::Ready(_) => {
                sent.map_err(|source| LaunchError::Channel { stage: STAGE, source })?;
                Err(silent())
            }
        }
    }

    fn hear(&mut self) -> Result<Reply, LaunchError> {
        let Some((channel, _)) = &mut self.held else { return Err(silent()) };
        match channel.receive() {
            Ok(reply) => reply.ok_or_else(silent),
            Err(source) => Err(LaunchError::Channel { stage: STAGE, source }),
        }
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        if let Some((channel, mut supervisor)) = self.held.take() {
            drop(channel);
            // It ends by itself, after the process that it holds.
            let _ = supervisor.wait();
        }
    }
}

/// Runs the stage and returns the code to exit with.
pub(super) fn main(report: impl FnOnce(&str, Ending)) -> i32 {
    let mut channel = match Channel::of_stage() {
        Ok(channel) => channel,
        Err(error) => return stray(&error.to_string()),
    };
    let order: Order = match channel.receive() {
        Ok(Some(order)) => order,
        Ok(None) => return 125,
        Err(_) => return stray("its standard input is not a socket of fairway's"),
    };
    // Before the command is there, which is born into them.
    let cgroups = cgroup::enter(order.cgroups.clone(), 0);
    let limited = cgroup::limit(&cgroups, &order.resources);
    let begun = limited.map_err(|error| Failure::Limit(error.to_string()));
    let (running, streams, log) = match begun.and_then(|()| begin(&mut channel, &order)) {
        Ok(Some(begun)) => begun,
        Ok(None) => {
            cgroup::leave(&cgroups);
            return 125;
        }
        Err(failure) => {
            cgroup::leave(&cgroups);
            let code = failure.exit_code();
            // There is no receiver when the starter has gone.
            let _ = channel.send(&Reply::Failed(failure));
            return code;
        }
    };
    drop(channel);
    let own = cgroup::enter(cgroups.iter().map(|place| place.with_file_name(GROUP)).collect(), 0);
    let Order { launch, record, context, .. } = order;
    drop(launch);
    let process = running.identity();
    let code = follow(running, streams, log).unwrap_or(255);
    let oom_killed = cgroup::oom_killed(&cgroups);
    cgroup::leave(&cgroups);
    own.iter().for_each(|place| cgroup::remove(place));
    let ending = Ending { process, code, at: clock::wall(), oom_killed };
    // A daemon that got the report needs no record.
    let _ = ending.write(&record);
    report(&context, ending);
    0
}

/// Starts the command; none when the starter ended before it said to go on.
#[expect(clippy::disallowed_methods, reason = "the supervisor is a process of its own with one thread")]
fn begin(channel: &mut Channel, order: &Order) -> Result<Option<(Running, Streams, Log)>, Failure> {
    let refused = |step: &str, error: io::Error| Failure::step(step, error);
    rustix::process::setsid().map_err(|errno| refused("make a session", errno.into()))?;
    std::env::set_current_dir("/").map_err(|error| refused("enter /", error))?;
    take_input(File::open("/dev/null").map_err(|error| refused("open /dev/null", error))?)?;
    let log = Log::open(&order.log, order.limits)
        .map_err(|error| refused(&format!("write the log {}", order.log.display()), error))?;
    match fs::remove_file(&order.record) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(refused(&format!("remove the old record {}", order.record.display()), error));
        }
        _ => {}
    }
    let ends =
        Ends::open(&order.launch).map_err(|error| refused("make the streams of the command", error))?;
    let mut streams = Streams::listen(&order.log, &order.launch, &ends)
        .map_err(|error| refused("listen for clients of the command", error))?;
    let launched = start(&order.launch, ends.input.as_fd(), ends.output).map_err(as_failure)?;
    launched.output().for_each(|pipe| give(pipe, order.launch.identity.as_ref()));
    channel.send(&Reply::Ready(launched.identity())).map_err(|error| refused("report the process", error))?;
    let files: Option<Files> =
        channel.receive().map_err(|error| refused("read which files to use", error))?;
    let Some(files) = files else { return Ok(None) };
    streams.await_clients(order.attachments);
    let mut running = launched.release(&files).map_err(as_failure)?;
    streams.take_output(&mut running);
    // The starter may have gone; the command runs all the same.
    let _ = channel.send(&Reply::Started { notes: running.notes().to_vec() });
    Ok(Some((running, streams, log)))
}

fn as_failure(error: LaunchError) -> Failure {
    match error {
        LaunchError::Failed(failure) => failure,
        other => Failure::step("start the process", other),
    }
}

/// Writes the log and serves clients until the command has ended, and returns its exit code.
fn follow(mut running: Running, mut streams: Streams, mut log: Log) -> io::Result<i32> {
    let mut deadline = None;
    loop {
        // Looked at first: what the command wrote before it ended is then in the pipes, and
        // no process of its pid namespace is left to write more (pid_namespaces(7)).
        let code = running.turn()?;
        streams.turn(&mut log, code.is_some());
        if let Some(code) = code {
            streams.finish();
            // What a full disk refuses is lost; the exit code is not.
            let _ = log.finish();
            return Ok(code);
        }
        // As the first process of its namespace the command may not notice the signal that was passed on.
        if deadline.is_none() && running.terminated() {
            deadline = Some(Instant::now() + STOP_TIMEOUT);
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            running.kill()?;
        }
        let timeout = left.filter(|left| !left.is_zero()).and_then(|left| Timespec::try_from(left).ok());
        let mut watched = vec![PollFd::new(&running, PollFlags::IN)];
        streams.watch(&mut watched);
        rustix::io::retry_on_intr(|| poll(&mut watched, timeout.as_ref()))?;
    }
}
