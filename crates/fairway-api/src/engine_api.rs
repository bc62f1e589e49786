//! The interface of the engine that the server uses.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};

use fairway_core::traffic::Counters;
use fairway_core::world::{Command, Draft, Refusal, Requester, TimedEvent, World};
use fairway_inspect::conflict::FirewallConflict;
use fairway_inspect::graph::Picture;
use fairway_inspect::metrics::Measurements;
use fairway_inspect::trace::{TraceMessage, TraceRequest};
use fairway_model::RefusalKind;
use fairway_model::{Namespace, NetworkId, ProcessIdentity, ResourceLimits, SandboxId};
use ipnet::IpNet;
use thiserror::Error;

use crate::types::{Diagnosis, Explained, PlanDifference, Planned, Reloaded};

/// The result of a command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// The network that the command created or changed.
    pub network: Option<NetworkId>,
    /// The sandbox that the command created or changed.
    pub sandbox: Option<SandboxId>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
    /// The pool or the address that the command allocated.
    pub allocated: Option<IpNet>,
}

/// The kind of a failure; decides its HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// 400, 403, 404 or 409: the request is refused.
    Refused(RefusalKind),
    /// 413.
    TooLarge,
    /// 500.
    Internal,
    /// 501: Docker supports the request, Fairway does not.
    Unsupported,
    /// 503: the request may succeed later.
    Unavailable,
}

impl From<RefusalKind> for FailureKind {
    fn from(kind: RefusalKind) -> Self {
        Self::Refused(kind)
    }
}

/// The error of a request, for the user.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Failure {
    /// The kind of the failure.
    pub kind: FailureKind,
    /// The message for the user.
    pub message: String,
}

impl Failure {
    /// A failure with a kind and a message.
    pub fn new(kind: impl Into<FailureKind>, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), message: message.into() }
    }

    /// The failure of an invalid request.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Invalid, message)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.kind(), refusal.to_string())
    }
}

/// A network namespace as a client names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamespaceReference {
    /// The namespace of a process.
    Pid(u32),
    /// The path of a namespace file, such as a bind mount.
    Path(String),
}

/// A network namespace with the process that it was named by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The process, if the client named one.
    pub process: Option<ProcessIdentity>,
    /// The namespace; none for the host's own.
    pub namespace: Option<Namespace>,
}

/// The paths of a sandbox's files on the host; empty for files that it does not have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SandboxFiles {
    /// The resolv.conf.
    pub resolv_conf: String,
    /// The hosts file.
    pub hosts: String,
    /// The hostname file.
    pub hostname: String,
    /// The log of its detached process.
    pub log: String,
    /// The directory that is its root; empty for the host's root.
    pub root: String,
}

/// The daemon and the host, for `/version` and `/info`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Fairway's version.
    pub version: String,
    /// The kernel's release.
    pub kernel: String,
    /// The host's architecture, in the format of uname(2).
    pub architecture: String,
    /// The name of the host's distribution.
    pub operating_system: String,
    /// The number of processors that the daemon may use.
    pub processors: usize,
    /// The host's memory in bytes.
    pub memory: u64,
    /// The cgroup controllers by which containers can be limited, such as `memory`.
    pub controllers: Vec<String>,
    /// `--data-root`.
    pub data_root: String,
    /// Warnings about the host.
    pub warnings: Vec<String>,
}

/// What the processes of a sandbox use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// The number of processes.
    pub processes: u64,
    /// The time of processors that they used, in nanoseconds.
    pub processor_time: u64,
    /// The time that all processors of the host had, in nanoseconds.
    pub host_time: u64,
    /// Their memory in bytes.
    pub memory: u64,
    /// The counters of the interfaces in the sandbox, but loopback, by name.
    pub interfaces: BTreeMap<String, InterfaceUsage>,
}

/// The counters of an interface, as the sandbox sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InterfaceUsage {
    /// Bytes, packets, errors and drops that were received.
    pub received: [u64; 4],
    /// The same of those that were sent.
    pub sent: [u64; 4],
}

/// A callback for the exit code of a sandbox.
pub type ExitListener = dyn Fn(i32) + Send + Sync;

/// A sandbox whose process has received the stop signal.
pub trait Stopping: Send + Sync {
    /// Kills the process.
    ///
    /// # Errors
    /// The kernel refuses the signal.
    fn kill(&self) -> Result<(), Failure>;

    /// Treats the process as ended and returns when the sandbox has stopped. May block.
    ///
    /// # Errors
    /// Those of [`EngineApi::execute`].
    fn finish(&self) -> Result<(), Failure>;
}

/// The engine as the server uses it. All methods except [`EngineApi::on_exit`] and [`EngineApi::watch`] may block.
pub trait EngineApi: Send + Sync + 'static {
    /// Whether the kernel matches the World since the daemon started. Until then, commands wait.
    fn is_started(&self) -> bool;

    /// Checks whether the peer of a connected socket may command the daemon.
    ///
    /// # Errors
    /// The peer may not: the server answers all of its requests with this failure.
    fn check_peer(&self, socket: BorrowedFd<'_>) -> Result<(), Failure>;

    /// The same engine for the requests of this process: events and the log name it.
    fn requested_by(self: Arc<Self>, requester: Requester) -> Arc<dyn EngineApi>;

    /// Executes a command, and returns when the kernel matches the World.
    ///
    /// # Errors
    /// The command is refused or fails; the World is then unchanged.
    fn execute(&self, command: Command) -> Result<Applied, Failure>;

    /// Decides a command on this World without carrying it out. Endpoints get no address where a DHCP server would lease
    /// it.
    ///
    /// # Errors
    /// The command is refused.
    fn decide(&self, world: &World, command: Command) -> Result<Draft, Failure>;

    /// Calls `look` with the World, which does not change meanwhile: `look` has to be quick.
    fn read(&self, look: &mut dyn FnMut(&World));

    /// Finds a network namespace.
    ///
    /// # Errors
    /// The process or the namespace does not exist.
    fn locate(&self, reference: &NamespaceReference) -> Result<Located, Failure>;

    /// Sends a stop signal, SIGTERM by default, to the process of a running sandbox. A sandbox without a process is
    /// stopped at once; the result is then none.
    ///
    /// # Errors
    /// The sandbox or the signal does not exist.
    fn begin_stop(&self, sandbox: &str, signal: Option<&str>) -> Result<Option<Box<dyn Stopping>>, Failure>;

    /// Sends a signal, by name or number, to the process of a running sandbox.
    ///
    /// # Errors
    /// The sandbox, its process or the signal does not exist.
    fn kill(&self, sandbox: &str, signal: &str) -> Result<(), Failure>;

    /// The names of the images: `host`, and those of directories.
    fn images(&self) -> Vec<String>;

    /// The streams of a sandbox that has an input or a terminal: output as Docker frames it, and input if that is asked
    /// for. None if its process has no supervisor, or none yet.
    ///
    /// # Errors
    /// The supervisor refuses.
    fn attach(&self, sandbox: SandboxId, with_input: bool) -> Result<Option<UnixStream>, Failure>;

    /// Sets the size in characters of a sandbox's terminal.
    ///
    /// # Errors
    /// The sandbox has no supervisor.
    fn resize(&self, sandbox: SandboxId, rows: u16, columns: u16) -> Result<(), Failure>;

    /// Limits what the processes of a running sandbox use; a limit that is none is left as it is.
    ///
    /// # Errors
    /// The kernel refuses, or the processes have no control group of their own.
    fn limit(&self, sandbox: SandboxId, limits: ResourceLimits) -> Result<(), Failure>;

    /// Registers a listener for the next exit code of a sandbox; it is 0 if the sandbox is removed without having run.
    fn on_exit(&self, sandbox: SandboxId, listener: Weak<ExitListener>);

    /// Emits an event of what a client does with a sandbox, such as a command that it executes there.
    fn emit(&self, sandbox: &str, action: String, attributes: &[(&str, String)]);

    /// Registers a watcher, which must not block, for recent and future events, until it returns false.
    fn watch(&self, watcher: Box<dyn Fn(&TimedEvent) -> bool + Send>);

    /// The paths of a sandbox's files.
    fn files(&self, sandbox: SandboxId) -> SandboxFiles;

    /// The foreign firewall rules that drop packets of a network.
    fn firewall_conflicts(&self, network: NetworkId) -> Vec<FirewallConflict>;

    /// Walks a packet through the kernel's rules or, with `plan`, through the planned ones.
    ///
    /// # Errors
    /// An endpoint does not exist, or the kernel cannot be read.
    fn explain(&self, from: &str, to: &str, plan: bool) -> Result<Explained, Failure>;

    /// All planned objects.
    fn plan(&self) -> Planned;

    /// What the daemon would do now to make the kernel equal to the Plan.
    ///
    /// # Errors
    /// The kernel cannot be read.
    fn plan_difference(&self) -> Result<PlanDifference, Failure>;

    /// Diagnoses networking problems of the host; with `fix`, after fixing what Fairway owns.
    ///
    /// # Errors
    /// The host cannot be examined.
    fn doctor(&self, fix: bool) -> Result<Diagnosis, Failure>;

    /// Reads the configuration file again, and returns when its settings are in force.
    ///
    /// # Errors
    /// The file is invalid, or its settings conflict with running sandboxes; nothing changes then.
    fn reload(&self) -> Result<Reloaded, Failure>;

    /// Has an on-demand daemon end as soon as no request is in progress, and remove what it made.
    ///
    /// # Errors
    /// The daemon is no on-demand daemon ([`FailureKind::Unsupported`]), or has sandboxes.
    fn end(&self) -> Result<(), Failure>;

    /// The named networks, or all, as a picture, optionally with the walk of a packet.
    ///
    /// # Errors
    /// A network or endpoint does not exist, or the kernel cannot be read.
    fn graph(&self, networks: &[&str], path: Option<(&str, &str)>) -> Result<Picture, Failure>;

    /// Traces packets, and calls `emit`, which must not block, with each message until it returns false. Returns as
    /// soon as tracing has begun.
    ///
    /// # Errors
    /// An endpoint does not exist, or packets cannot be captured.
    fn trace(
        &self,
        request: TraceRequest,
        emit: Box<dyn FnMut(TraceMessage) -> bool + Send>,
    ) -> Result<(), Failure>;

    /// The packet and byte counters of networks and published ports.
    ///
    /// # Errors
    /// The kernel cannot be read.
    fn counters(&self) -> Result<Counters, Failure>;

    /// What the engine measured; the API's clients are still to be added.
    fn measurements(&self) -> Measurements;

    /// A command of this program that is a client of this daemon; the arguments are still to be added.
    fn program(&self) -> std::process::Command;

    /// What the processes of a sandbox use, of which one is given.
    ///
    /// # Errors
    /// The process has ended.
    fn usage(&self, process: u32) -> Result<Usage, Failure>;

    /// Returns freed memory to the system; called after a request that took much.
    fn release_memory(&self);

    /// The daemon and the host.
    fn about(&self) -> About;

    /// The time in nanoseconds since 1970.
    fn now(&self) -> i64;
}
