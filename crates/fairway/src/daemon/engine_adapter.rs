//! The adapter between the API and the engine.

use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path;
use std::sync::{Arc, Weak};

use fairway_api::types::{Diagnosis, Explained, PlanDifference, Planned, Reloaded};
use fairway_api::{
    About, Applied, EngineApi, ExitListener, Failure, FailureKind, Located, NamespaceReference, SandboxFiles,
    Stopping, Usage,
};
use fairway_core::object::FileName;
use fairway_core::traffic::Counters;
use fairway_core::world::{Change, Command, Draft, Requester, TimedEvent, World};
use fairway_engine::{Engine, EngineError, ExplainError, GraphError, TraceError};
use fairway_inspect::conflict::FirewallConflict;
use fairway_inspect::explain::QueryError;
use fairway_inspect::graph::Picture;
use fairway_inspect::metrics::Measurements;
use fairway_inspect::trace::{TraceMessage, TraceRequest};
use fairway_kernel::{clock, namespace, pid_namespace, process};
use fairway_model::RefusalKind;
use fairway_model::{NetworkId, NetworkMode, ResourceLimits, SandboxId, SandboxKind, Settings};
use fairway_run::cgroup;
use rustix::process::Signal;

use super::about::about;
use super::images;
use super::on_demand::EndRequest;
use super::plugin::{Plugin, PluginEngine};
use super::reload::{Reload, ReloadError};
use super::signal::signal;
use super::usage::usage;

/// Implements the API's interface on an engine.
#[derive(Clone)]
pub struct EngineAdapter {
    engine: Arc<Engine>,
    data_root: String,
    socket: path::PathBuf,
    reload: Arc<Reload>,
    end: Option<(Arc<EndRequest>, String)>,
    plugin: Arc<dyn Plugin>,
    /// The process whose requests these are.
    requester: Option<Requester>,
}

impl EngineAdapter {
    /// An adapter for an engine, whose clients connect to `socket`.
    pub fn new(
        engine: Arc<Engine>,
        data_root: &path::Path,
        socket: &path::Path,
        reload: Arc<Reload>,
        plugin: Arc<dyn Plugin>,
    ) -> Self {
        let data_root = data_root.display().to_string();
        Self { engine, data_root, socket: socket.to_owned(), reload, end: None, plugin, requester: None }
    }

    /// Has clients ask an on-demand daemon to end.
    pub fn ended_by(self, request: Arc<EndRequest>) -> Self {
        let socket = self.socket.display().to_string();
        Self { end: Some((request, socket)), ..self }
    }

    /// Refuses to stop a sandbox that is another program's.
    fn check_may_stop(&self, sandbox: &str) -> Result<(), Failure> {
        self.engine.read(|world| self.plugin.stop_refusal(world, sandbox)).map_or(Ok(()), Err)
    }

    fn carry_out(&self, command: Command) -> Result<Applied, Failure> {
        if let Command::CreateSandbox(create) = &command
            && !create.options.process.stop_signal.is_empty()
        {
            signal(&create.options.process.stop_signal)?;
        }
        let publishes = matches!(&command, Command::CreateSandbox(create) | Command::Attach { create, .. }
            if !create.options.publish.is_empty());
        let publishes = publishes || matches!(&command, Command::Publish { .. });
        let creates = matches!(&command, Command::CreateNetwork(_));
        let mut applied = self.engine.execute(self.requester, command).map(applied).map_err(failure)?;
        if let (true, Some(network)) = (creates, applied.network) {
            applied.warnings.extend(in_the_way(&self.engine.firewall_conflicts(network), |_| true));
        }
        if let (true, Some(sandbox)) = (publishes, applied.sandbox) {
            let published = |conflict: &FirewallConflict| conflict.path.is_published();
            applied.warnings.extend(in_the_way(&self.engine.firewall_conflicts_of(sandbox), published));
        }
        Ok(applied)
    }
}

fn failure(error: EngineError) -> Failure {
    Failure::new(kind(&error), error.to_string())
}

fn kind(error: &EngineError) -> FailureKind {
    error.kind().map_or(FailureKind::Internal, FailureKind::Refused)
}

fn unexplained(error: &ExplainError) -> Failure {
    let kind = match error {
        ExplainError::Query(QueryError::NotFound(..)) => FailureKind::Refused(RefusalKind::NotFound),
        ExplainError::Query(_) => FailureKind::Refused(RefusalKind::Invalid),
        _ => FailureKind::Internal,
    };
    Failure::new(kind, error.to_string())
}

fn applied(change: Change) -> Applied {
    Applied {
        network: change.network,
        sandbox: change.sandbox,
        warnings: change.warnings,
        allocated: change.allocated,
    }
}

/// What other firewalls drop, as warnings.
fn in_the_way<'a>(
    firewall_conflicts: impl IntoIterator<Item = &'a FirewallConflict>,
    is_meant: impl Fn(&FirewallConflict) -> bool,
) -> Vec<String> {
    let meant = firewall_conflicts.into_iter().filter(|conflict| is_meant(conflict));
    meant.map(|conflict| format!("another firewall drops packets: {conflict}")).collect()
}

/// What users should know of the settings in force.
fn warnings(settings: &Settings) -> Vec<String> {
    let flags = match (settings.iptables, settings.ip6tables) {
        _ if settings.userland_proxy => return Vec::new(),
        (true, true) => return Vec::new(),
        (false, true) => "--iptables=false",
        (true, false) => "--ip6tables=false",
        (false, false) => "--iptables=false, --ip6tables=false",
    };
    vec![format!(
        "published ports are held but not forwarded: the daemon runs with {flags} and --userland-proxy=false"
    )]
}

/// A sandbox of the engine whose process has had the signal to end.
struct EngineStopping {
    engine: Arc<Engine>,
    stopping: fairway_engine::Stopping,
}

impl Stopping for EngineStopping {
    fn kill(&self) -> Result<(), Failure> {
        self.stopping.kill().map_err(failure)
    }

    fn finish(&self) -> Result<(), Failure> {
        self.engine.finish_stop(&self.stopping).map_err(failure)
    }
}

impl EngineApi for EngineAdapter {
    fn usage(&self, process: u32) -> Result<Usage, Failure> {
        usage(process).map_err(|error| {
            let reason = format!("cannot read what process {process} uses: {error}");
            Failure::new(FailureKind::Internal, reason)
        })
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a process of a sandbox is started by this program, as users start it"
    )]
    fn program(&self) -> std::process::Command {
        let mut program = std::process::Command::new("/proc/self/exe");
        program.arg("--host").arg(format!("unix://{}", self.socket.display())).env_clear();
        program.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        program
    }

    fn is_started(&self) -> bool {
        self.engine.is_started()
    }

    /// A sandbox sees the host's files, and may reach the socket: it may not use it.
    fn check_peer(&self, socket: BorrowedFd<'_>) -> Result<(), Failure> {
        let refused = |reason: String| Failure::new(RefusalKind::Forbidden, reason);
        let namespaces = pid_namespace::pid_namespaces_of_peer(socket).map_err(|error| {
            refused(format!("cannot command the daemon: the process that asks cannot be looked at: {error}"))
        })?;
        if namespaces.is_empty() {
            return Ok(());
        }
        let running = self.engine.read(|world| {
            let ours = world.sandboxes().filter(|sandbox| sandbox.kind == SandboxKind::Run);
            ours.filter_map(|sandbox| Some((sandbox.name.clone(), sandbox.process()?.pid)))
                .collect::<Vec<_>>()
        });
        let is_within =
            |pid| pid_namespace::pid_namespace(pid).is_ok_and(|found| namespaces.contains(&found));
        match running.into_iter().find(|(_, pid)| is_within(*pid)) {
            Some((sandbox, _)) => {
                tracing::warn!(sandbox, "refused a request from inside a sandbox");
                Err(refused(format!(
                    "cannot command the daemon from inside sandbox {sandbox}: it could leave its network: run the command on the host"
                )))
            }
            None => Ok(()),
        }
    }

    fn requested_by(self: Arc<Self>, requester: Requester) -> Arc<dyn EngineApi> {
        Arc::new(Self { requester: Some(requester), ..Self::clone(&self) })
    }

    fn execute(&self, command: Command) -> Result<Applied, Failure> {
        match self.engine.read(|world| self.plugin.refusal(world, &command)) {
            Some(refusal) => Err(refusal),
            None => self.carry_out(command),
        }
    }

    fn decide(&self, world: &World, command: Command) -> Result<Draft, Failure> {
        match self.plugin.refusal(world, &command) {
            Some(refusal) => Err(refusal),
            None => self.engine.decide(world, command).map_err(failure),
        }
    }

    fn explain(&self, from: &str, to: &str, plan: bool) -> Result<Explained, Failure> {
        let found = self.engine.explain(from, to, plan).map_err(|error| unexplained(&error))?;
        let (planned, differences) = found.planned.map(|planned| (planned.end, planned.differences)).unzip();
        Ok(Explained {
            planned,
            differences: differences.unwrap_or_default(),
            ..Explained::new(&found.branches, &found.topology, found.captures, found.advice)
        })
    }

    fn plan(&self) -> Planned {
        Planned { owners: self.engine.plan() }
    }

    fn plan_difference(&self) -> Result<PlanDifference, Failure> {
        let changes = self.engine.plan_difference().map_err(failure)?;
        Ok(PlanDifference { changes })
    }

    fn doctor(&self, fix: bool) -> Result<Diagnosis, Failure> {
        self.plugin.compare(self);
        let found = if fix { self.engine.doctor_fix() } else { self.engine.doctor() };
        Ok(Diagnosis { findings: found.findings, done: found.done })
    }

    fn reload(&self) -> Result<Reloaded, Failure> {
        self.reload.reload(self.requester).map_err(|error| {
            tracing::error!("{error}");
            let kind = match &error {
                ReloadError::Configuration(_) => FailureKind::Refused(RefusalKind::Invalid),
                ReloadError::Engine(error) => kind(error),
            };
            Failure::new(kind, error.to_string())
        })
    }

    fn end(&self) -> Result<(), Failure> {
        match &self.end {
            Some((request, socket)) => self.engine.read(|world| request.ask(world, socket)),
            None => Err(Failure::new(
                FailureKind::Unsupported,
                "cannot end the daemon: it was not started on demand: stop it with systemctl stop fairway",
            )),
        }
    }

    fn graph(&self, networks: &[&str], path: Option<(&str, &str)>) -> Result<Picture, Failure> {
        self.engine.graph(networks, path).map_err(|error| match error {
            GraphError::Network(refusal) => refusal.into(),
            GraphError::Explain(error) => unexplained(&error),
        })
    }

    fn trace(
        &self,
        request: TraceRequest,
        emit: Box<dyn FnMut(TraceMessage) -> bool + Send>,
    ) -> Result<(), Failure> {
        self.engine.trace(request, emit).map_err(|error| {
            let kind = match error {
                TraceError::Query(QueryError::NotFound(..)) => FailureKind::Refused(RefusalKind::NotFound),
                TraceError::Query(_) => FailureKind::Refused(RefusalKind::Invalid),
                TraceError::TooMany => FailureKind::Refused(RefusalKind::Conflict),
                _ => FailureKind::Internal,
            };
            Failure::new(kind, error.to_string())
        })
    }

    fn firewall_conflicts(&self, network: NetworkId) -> Vec<FirewallConflict> {
        self.engine.firewall_conflicts(network)
    }

    fn read(&self, look: &mut dyn FnMut(&World)) {
        self.engine.read(look);
    }

    fn locate(&self, reference: &NamespaceReference) -> Result<Located, Failure> {
        let (path, process) = match reference {
            NamespaceReference::Pid(pid) => {
                let process = process::identity(*pid).map_err(|error| failure(error.into()))?;
                (format!("/proc/{pid}/ns/net"), Some(process))
            }
            NamespaceReference::Path(path) => (path.clone(), None),
        };
        let found = namespace::identity(&path).map_err(|error| failure(error.into()))?;
        let own = namespace::own().map_err(|error| failure(error.into()))?;
        let host = own.namespace();
        let is_host = found.identity() == host.identity();
        Ok(Located { process, namespace: (!is_host).then_some(found) })
    }

    fn begin_stop(&self, sandbox: &str, name: Option<&str>) -> Result<Option<Box<dyn Stopping>>, Failure> {
        let signal = name.map_or(Ok(Signal::TERM), signal)?;
        self.check_may_stop(sandbox)?;
        let stopping = self.engine.begin_stop(self.requester, sandbox, signal).map_err(failure)?;
        let engine = Arc::clone(&self.engine);
        Ok(stopping.map(|stopping| Box::new(EngineStopping { engine, stopping }) as Box<dyn Stopping>))
    }

    fn kill(&self, sandbox: &str, name: &str) -> Result<(), Failure> {
        self.check_may_stop(sandbox)?;
        self.engine.kill(self.requester, sandbox, signal(name)?).map_err(failure)
    }

    fn images(&self) -> Vec<String> {
        images::names(path::Path::new(&self.data_root))
    }

    fn attach(&self, sandbox: SandboxId, with_input: bool) -> Result<Option<UnixStream>, Failure> {
        fairway_run::attach(&self.engine.log(sandbox), with_input).map_err(|error| {
            Failure::new(FailureKind::Internal, format!("cannot attach to container {sandbox}: {error}"))
        })
    }

    fn resize(&self, sandbox: SandboxId, rows: u16, columns: u16) -> Result<(), Failure> {
        let reason = match fairway_run::resize(&self.engine.log(sandbox), rows, columns) {
            Ok(true) => return Ok(()),
            Ok(false) => "its command runs in the foreground of fairway run".to_owned(),
            Err(error) => error.to_string(),
        };
        let message = format!("cannot resize the terminal of container {sandbox}: {reason}");
        Err(Failure::new(RefusalKind::Conflict, message))
    }

    fn limit(&self, sandbox: SandboxId, limits: ResourceLimits) -> Result<(), Failure> {
        let places = cgroup::places(&sandbox.to_string());
        cgroup::limit(&places, &limits)
            .map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))
    }

    fn on_exit(&self, sandbox: SandboxId, listener: Weak<ExitListener>) {
        self.engine.on_exit(sandbox, listener);
    }

    fn emit(&self, sandbox: &str, action: String, attributes: &[(&str, String)]) {
        self.engine.emit(self.requester, sandbox, action, attributes);
    }

    fn watch(&self, watcher: Box<dyn Fn(&TimedEvent) -> bool + Send>) {
        self.engine.watch(watcher);
    }

    fn files(&self, sandbox: SandboxId) -> SandboxFiles {
        let log = self.engine.log(sandbox).display().to_string();
        let (owner, image) = self.engine.read(|world| {
            let Some(sandbox) = world.sandbox(sandbox) else { return (None, String::new()) };
            let owner = world.namespace_owner(sandbox).filter(|owner| owner.mode != NetworkMode::Host);
            (owner.map(|owner| owner.id), sandbox.options.image.clone())
        });
        let root = images::root(path::Path::new(&self.data_root), &image);
        let root = root.map(|root| root.display().to_string()).unwrap_or_default();
        let Some(owner) = owner else { return SandboxFiles { log, root, ..SandboxFiles::default() } };
        let path = |name| self.engine.file(owner, name).display().to_string();
        SandboxFiles {
            resolv_conf: path(FileName::ResolvConf),
            hosts: path(FileName::Hosts),
            hostname: path(FileName::Hostname),
            log,
            root,
        }
    }

    fn counters(&self) -> Result<Counters, Failure> {
        self.engine.counters().map_err(failure)
    }

    fn measurements(&self) -> Measurements {
        self.engine.measurements()
    }

    fn release_memory(&self) {
        self.engine.release_memory_soon();
    }

    fn about(&self) -> About {
        let mut warnings = self.engine.read(|world| warnings(world.settings()));
        warnings.extend(self.engine.store_error().map(|error| error.to_string()));
        about(self.data_root.clone(), warnings)
    }

    fn now(&self) -> i64 {
        clock::wall()
    }
}

impl PluginEngine for EngineAdapter {
    fn is_started(&self) -> bool {
        EngineApi::is_started(self)
    }

    fn execute_for_plugin(&self, command: Command) -> Result<Applied, Failure> {
        self.carry_out(command)
    }

    fn read(&self, look: &mut dyn FnMut(&World)) {
        EngineApi::read(self, look);
    }

    fn locate_process(&self, pid: u32) -> Result<Located, Failure> {
        self.locate(&NamespaceReference::Pid(pid))
    }

    fn now(&self) -> i64 {
        EngineApi::now(self)
    }
}
