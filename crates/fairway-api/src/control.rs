//! What the server needs of the engine.

use std::os::fd::BorrowedFd;
use std::sync::Weak;

use fairway_core::traffic::Counters;
use fairway_core::world::{Command, CreateSandbox, Refusal, TimedEvent, World};
use fairway_inspect::conflict::FirewallConflict;
use fairway_inspect::graph::Picture;
use fairway_inspect::trace::{TraceMessage, TraceRequest};
use fairway_model::RefusalKind;
use fairway_model::{Namespace, NetworkId, ProcessIdentity, SandboxId, SandboxKind};
use thiserror::Error;

use crate::types::{Diagnosis, Explained, Reloaded};

/// What an accepted command came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// The network that it was about.
    pub network: Option<NetworkId>,
    /// The sandbox that it was about.
    pub sandbox: Option<SandboxId>,
    /// What the user should know.
    pub warnings: Vec<String>,
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
    /// 501: Docker does it, Fairway does not.
    Unsupported,
    /// 503: later it may work.
    Unavailable,
}

impl From<RefusalKind> for FailureKind {
    fn from(kind: RefusalKind) -> Self {
        Self::Refused(kind)
    }
}

/// Why something was not done, in words for the user.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// The words.
    pub message: String,
}

impl Failure {
    /// A failure of a kind, in words.
    pub fn new(kind: impl Into<FailureKind>, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), message: message.into() }
    }

    /// A request that makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(RefusalKind::Invalid, message)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.kind(), refusal.to_string())
    }
}

/// How a client names a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamespaceReference {
    /// By a process in it.
    Pid(u32),
    /// By a path, such as a bind mount's.
    Path(String),
}

/// A namespace that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The process that keeps it, when it was named by one.
    pub process: Option<ProcessIdentity>,
    /// The namespace; none when it is the host's own.
    pub namespace: Option<Namespace>,
}

/// Where a sandbox's files are on the host; empty for those that it does not have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SandboxFiles {
    /// Its resolv.conf.
    pub resolv_conf: String,
    /// Its hosts file.
    pub hosts: String,
    /// Its hostname file.
    pub hostname: String,
    /// What its process wrote, when it runs detached.
    pub log: String,
}

/// The daemon and the machine, for `/version` and `/info`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// Fairway's version.
    pub version: String,
    /// The kernel's release.
    pub kernel: String,
    /// The machine's architecture, as uname(2) has it.
    pub architecture: String,
    /// What the host's distribution calls itself.
    pub operating_system: String,
    /// Processors that the daemon may use.
    pub processors: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// `--data-root`.
    pub data_root: String,
    /// What the user should know of the host.
    pub warnings: Vec<String>,
}

/// Called with the exit code of a sandbox.
pub type ExitListener = dyn Fn(i32) + Send + Sync;

/// A sandbox whose process has had the signal to end.
pub trait Stopping: Send + Sync {
    /// Kills the process.
    ///
    /// # Errors
    /// The kernel refuses.
    fn kill(&self) -> Result<(), Failure>;

    /// Takes the process for ended, if that was not told yet, and returns when the sandbox has stopped. May block.
    ///
    /// # Errors
    /// Those of [`Control::execute`].
    fn finish(&self) -> Result<(), Failure>;
}

/// What the server needs of the engine. All but [`Control::on_exit`] may block.
pub trait Control: Send + Sync + 'static {
    /// Whether the kernel is as the World says since the start. Before, commands wait.
    fn is_started(&self) -> bool {
        true
    }

    /// Checks that whoever connected a socket may command the daemon; the file modes of the socket have let it connect.
    ///
    /// # Errors
    /// Why it may not: all of its requests are answered by this.
    fn check_peer(&self, _socket: BorrowedFd<'_>) -> Result<(), Failure> {
        Ok(())
    }

    /// Has a command done: when this returns, the kernel is as the World says.
    ///
    /// # Errors
    /// Why it was refused, or could not be done; the World is then as it was.
    fn execute(&self, command: Command) -> Result<Applied, Failure>;

    /// Lets `look` see the World, which does not change meanwhile; so it shall be quick.
    fn read(&self, look: &mut dyn FnMut(&World));

    /// Finds a namespace, and the process that it was named by.
    ///
    /// # Errors
    /// There is no such process or namespace.
    fn locate(&self, reference: &NamespaceReference) -> Result<Located, Failure>;

    /// Begins to end the process of a running sandbox: it gets `signal`, or its default SIGTERM. One without a
    /// process is stopped by taking its endpoints; then there is nothing more to do.
    ///
    /// # Errors
    /// There is no such sandbox or signal.
    fn begin_stop(&self, sandbox: &str, signal: Option<&str>) -> Result<Option<Box<dyn Stopping>>, Failure>;

    /// Sends a signal, by name or number, to the process of a running sandbox.
    ///
    /// # Errors
    /// There is no such sandbox, process or signal.
    fn kill(&self, sandbox: &str, signal: &str) -> Result<(), Failure>;

    /// Whoever started a sandbox's process saw it end.
    ///
    /// # Errors
    /// Those of [`Control::execute`].
    fn exited(&self, sandbox: &str, code: i32) -> Result<Applied, Failure> {
        self.execute(Command::StopSandbox { sandbox: sandbox.to_owned(), code })
    }

    /// Calls `listener`, if it is still there, with the exit code when the sandbox stops next, or with 0 when it is
    /// removed without having run. Returns at once.
    fn on_exit(&self, sandbox: SandboxId, listener: Weak<ExitListener>);

    /// Calls `watcher`, which does not block, with what happened last and with each event from now on, until it
    /// says that it wants no more. Returns at once. An engine that tells nothing does nothing.
    fn watch(&self, _watcher: Box<dyn Fn(&TimedEvent) -> bool + Send>) {}

    /// Where a sandbox's files are.
    fn files(&self, sandbox: SandboxId) -> SandboxFiles;

    /// What firewalls of others drop of a network's packets. An engine that does not look finds none.
    fn firewall_conflicts(&self, _network: NetworkId) -> Vec<FirewallConflict> {
        Vec::new()
    }

    /// Where a packet from one to another goes, through what the kernel has or, with `plan`, through what it should
    /// have. An engine that programs no kernel knows nothing.
    ///
    /// # Errors
    /// Nobody is called that, or the kernel cannot be asked.
    fn explain(&self, _from: &str, _to: &str, _plan: bool) -> Result<Explained, Failure> {
        Err(Failure::invalid("there is no kernel to walk packets through"))
    }

    /// What is wrong with the host; with `fix`, after what is Fairway's own has been mended. An engine that programs no
    /// kernel finds nothing.
    ///
    /// # Errors
    /// The host cannot be looked at.
    fn doctor(&self, _fix: bool) -> Result<Diagnosis, Failure> {
        Ok(Diagnosis::default())
    }

    /// Reads the configuration file again, and returns when its settings are in force. An engine without a file has
    /// nothing to read.
    ///
    /// # Errors
    /// The file makes no sense, or its settings do not fit what runs; nothing has changed then.
    fn reload(&self) -> Result<Reloaded, Failure> {
        Ok(Reloaded::default())
    }

    /// The networks of those names, or all, as a picture, and where a packet goes from one to another. An engine that
    /// programs no kernel draws nothing.
    ///
    /// # Errors
    /// No network or nobody is called that, or the kernel cannot be asked.
    fn graph(&self, _networks: &[&str], _path: Option<(&str, &str)>) -> Result<Picture, Failure> {
        Err(Failure::invalid("there is no kernel whose networks could be drawn"))
    }

    /// Watches packets from now on, and tells each to `tell`, which does not block, until that wants no more. Returns
    /// as soon as they are watched. An engine that programs no kernel sees none.
    ///
    /// # Errors
    /// Nobody is called that, or packets cannot be watched.
    fn trace(
        &self,
        _request: TraceRequest,
        _tell: Box<dyn FnMut(TraceMessage) -> bool + Send>,
    ) -> Result<(), Failure> {
        Err(Failure::invalid("there is no kernel whose packets could be watched"))
    }

    /// What passed networks and published ports.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    fn counters(&self) -> Result<Counters, Failure> {
        Ok(Counters::default())
    }

    /// A request was worked on that took much memory, which is free now: it may be returned to the system.
    fn release_memory(&self) {}

    /// The daemon and the machine.
    fn about(&self) -> About;

    /// Nanoseconds since 1970.
    fn now(&self) -> i64;

    /// Makes a sandbox and starts it in a namespace that exists. One that can do both in one
    /// transaction should.
    ///
    /// # Errors
    /// Those of [`Control::execute`]; no sandbox is left then.
    fn attach(&self, create: CreateSandbox, located: Located) -> Result<Applied, Failure> {
        let created = self.execute(Command::CreateSandbox(Box::new(create)))?;
        let sandbox = created.sandbox.map(|id| id.to_string()).unwrap_or_default();
        let start = Command::StartSandbox {
            sandbox: sandbox.clone(),
            process: located.process,
            namespace: located.namespace,
            avoid: Vec::new(),
        };
        match self.execute(start) {
            Ok(mut started) => {
                started.warnings.splice(0..0, created.warnings);
                started.sandbox = created.sandbox;
                Ok(started)
            }
            Err(failure) => {
                self.execute(Command::RemoveSandbox { sandbox })?;
                Err(failure)
            }
        }
    }

    /// Stops and removes a sandbox whose namespace somebody else keeps. One that can do both in one
    /// transaction should.
    ///
    /// # Errors
    /// Those of [`Control::execute`], and one that Fairway runs itself is refused.
    fn detach(&self, sandbox: &str) -> Result<(), Failure> {
        let mut found =
            Err(Failure::new(FailureKind::Unavailable, "the World cannot be read now: try again"));
        self.read(&mut |world| {
            found = world
                .find_sandbox(sandbox)
                .map(|it| (it.id, it.kind.clone(), it.running()))
                .map_err(Failure::from);
        });
        let (id, kind, running) = found?;
        if kind == SandboxKind::Run {
            return Err(Failure::new(
                RefusalKind::Conflict,
                format!("container {sandbox} was run, not attached: stop and remove it instead"),
            ));
        }
        let sandbox = id.to_string();
        if running {
            self.execute(Command::StopSandbox { sandbox: sandbox.clone(), code: 0 })?;
        }
        match self.execute(Command::RemoveSandbox { sandbox }) {
            // The World forgets one that was attached when it stops.
            Err(failure) if running && failure.kind == RefusalKind::NotFound.into() => Ok(()),
            result => result.map(drop),
        }
    }
}
