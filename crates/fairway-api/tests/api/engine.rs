//! A fake engine: it applies commands to a World, without a kernel.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::thread::JoinHandle;

use fairway_api::types::{Diagnosis, Explained, PlanDifference, Planned, Reloaded};
use fairway_api::{
    About, Applied, Client, Clients, EngineApi, ExitListener, Failure, FailureKind, Limits, Located,
    NamespaceReference, SandboxFiles, Stopping, Usage, runtime, serve,
};
use fairway_core::traffic::Counters;
use fairway_core::world::{Command, Context, Draft, Event, Requester, TimedEvent, Undecided, World};
use fairway_inspect::conflict::FirewallConflict;
use fairway_inspect::graph::Picture;
use fairway_inspect::metrics::Measurements;
use fairway_inspect::trace::{TraceMessage, TraceRequest};
use fairway_model::RefusalKind;
use fairway_model::Rng;
use fairway_model::{HostFacts, Namespace, NetworkId, ProcessIdentity, ResourceLimits, SandboxId, Settings};
use tokio::sync::oneshot;

use crate::small_world::NOW;

type Listener = Weak<ExitListener>;
type EventWatcher = Box<dyn Fn(&TimedEvent) -> bool + Send>;

pub struct FakeEngine {
    world: RwLock<World>,
    rng: Mutex<Rng>,
    /// That of commands that are not carried out.
    other_rng: Mutex<Rng>,
    /// Registered and never called.
    event_watchers: Mutex<Vec<EventWatcher>>,
    watchers: Mutex<BTreeMap<SandboxId, Vec<Listener>>>,
    /// Signals sent, with the sandbox's name.
    pub signals: Arc<Mutex<Vec<String>>>,
    /// What [`EngineApi::program`] does.
    pub script: Mutex<&'static str>,
    /// The processes of connections.
    pub requesters: Mutex<Vec<Requester>>,
}

/// A process that never ends.
struct Stubborn(Arc<Mutex<Vec<String>>>);

impl Stopping for Stubborn {
    fn kill(&self) -> Result<(), Failure> {
        self.0.lock().unwrap().push("kill stubborn".to_owned());
        Ok(())
    }

    fn finish(&self) -> Result<(), Failure> {
        Ok(())
    }
}

impl FakeEngine {
    pub fn new() -> Self {
        let engine = Self {
            world: RwLock::default(),
            rng: Mutex::new(Rng::new(1)),
            other_rng: Mutex::new(Rng::new(2)),
            event_watchers: Mutex::default(),
            watchers: Mutex::default(),
            signals: Arc::default(),
            script: Mutex::new("case $* in *--announce) echo; esac; echo \"$*\"; echo no >&2"),
            requesters: Mutex::default(),
        };
        let host = HostFacts { ephemeral_ports: Some((32768, 60999)), ..HostFacts::default() };
        engine
            .execute(Command::Configure { settings: Box::new(Settings::default()), host: Box::new(host) })
            .unwrap();
        engine
    }

    fn name(&self, sandbox: &str) -> Result<String, Failure> {
        Ok(self.world.read().unwrap().find_sandbox(sandbox)?.name.clone())
    }
}

fn no_kernel() -> Failure {
    Failure::invalid("the fake engine has no kernel")
}

impl EngineApi for FakeEngine {
    fn usage(&self, _process: u32) -> Result<Usage, Failure> {
        Err(no_kernel())
    }

    /// Unless a test wants another, a program that prints its arguments; for logs after an empty line.
    #[allow(clippy::disallowed_methods, reason = "tests run programs")]
    fn program(&self) -> std::process::Command {
        let mut program = std::process::Command::new("sh");
        program.args(["-c", *self.script.lock().unwrap(), "fairway"]);
        program
    }

    fn requested_by(self: Arc<Self>, requester: Requester) -> Arc<dyn EngineApi> {
        self.requesters.lock().unwrap().push(requester);
        self
    }

    fn execute(&self, command: Command) -> Result<Applied, Failure> {
        let stopped = match &command {
            Command::StopSandbox { sandbox, exit, .. } => {
                Some((self.world.read().unwrap().find_sandbox(sandbox)?.id, exit.code))
            }
            Command::RemoveSandbox { sandbox } => {
                Some((self.world.read().unwrap().find_sandbox(sandbox)?.id, 0))
            }
            _ => None,
        };
        let applied = self.world.write().unwrap().apply(command, NOW, &mut self.rng.lock().unwrap());
        let change = applied.map_err(|undecided| match undecided {
            Undecided::Refused(refusal) => refusal.into(),
            Undecided::LeaseNeeded(_) => Failure::invalid("the fake engine has no DHCP server"),
        })?;
        if let Some((id, code)) = stopped {
            let listeners = self.watchers.lock().unwrap().remove(&id);
            listeners.into_iter().flatten().filter_map(|it| it.upgrade()).for_each(|listener| listener(code));
        }
        Ok(Applied {
            network: change.network,
            sandbox: change.sandbox,
            warnings: change.warnings,
            allocated: change.allocated,
        })
    }

    fn decide(&self, world: &World, command: Command) -> Result<Draft, Failure> {
        let mut rng = self.other_rng.lock().unwrap();
        let mut context = Context { leases_unknown: true, ..Context::new(NOW, &mut rng) };
        world.decide(command, &mut context).map_err(|undecided| match undecided {
            Undecided::Refused(refusal) => refusal.into(),
            Undecided::LeaseNeeded(_) => panic!("leases are unknown"),
        })
    }

    fn read(&self, look: &mut dyn FnMut(&World)) {
        look(&self.world.read().unwrap());
    }

    fn locate(&self, reference: &NamespaceReference) -> Result<Located, Failure> {
        let namespace = |path: String, inode| Some(Namespace { path, device: 4, inode });
        match reference {
            // Process 1 is in the host's namespace.
            NamespaceReference::Pid(1) => Ok(Located { process: None, namespace: None }),
            NamespaceReference::Pid(pid) => Ok(Located {
                process: Some(ProcessIdentity { pid: *pid, start_time: 1 }),
                namespace: namespace(format!("/proc/{pid}/ns/net"), (*pid).into()),
            }),
            NamespaceReference::Path(path) if path.contains("nosuch") => {
                Err(Failure::new(RefusalKind::NotFound, format!("no namespace at {path}")))
            }
            NamespaceReference::Path(path) => {
                Ok(Located { process: None, namespace: namespace(path.clone(), 99) })
            }
        }
    }

    fn begin_stop(&self, sandbox: &str, signal: Option<&str>) -> Result<Option<Box<dyn Stopping>>, Failure> {
        let name = self.name(sandbox)?;
        self.signals.lock().unwrap().push(format!("stop {name} {signal:?}"));
        if name.starts_with("stubborn") {
            return Ok(Some(Box::new(Stubborn(Arc::clone(&self.signals)))));
        }
        self.execute(Command::StopSandbox { sandbox: name, exit: 143.into(), process: None })?;
        Ok(None)
    }

    fn kill(&self, sandbox: &str, signal: &str) -> Result<(), Failure> {
        let name = self.name(sandbox)?;
        if signal == "PANIC" {
            panic!("requested by the test");
        }
        self.signals.lock().unwrap().push(format!("kill {name} {signal}"));
        Ok(())
    }

    fn images(&self) -> Vec<String> {
        vec!["host".to_owned()]
    }

    fn attach(&self, _: SandboxId, _: bool) -> Result<Option<UnixStream>, Failure> {
        Ok(None)
    }

    fn resize(&self, _: SandboxId, _: u16, _: u16) -> Result<(), Failure> {
        Ok(())
    }

    fn limit(&self, _: SandboxId, _: ResourceLimits) -> Result<(), Failure> {
        Ok(())
    }

    fn on_exit(&self, sandbox: SandboxId, listener: Listener) {
        self.watchers.lock().unwrap().entry(sandbox).or_default().push(listener);
    }

    fn emit(&self, sandbox: &str, action: String, attributes: &[(&str, String)]) {
        let event =
            Event::of_sandbox(self.world.read().unwrap().find_sandbox(sandbox).unwrap(), action, attributes);
        let happened = TimedEvent { event, at: self.now() };
        self.event_watchers.lock().unwrap().retain(|watcher| watcher(&happened));
    }

    fn watch(&self, watcher: EventWatcher) {
        self.event_watchers.lock().unwrap().push(watcher);
    }

    fn files(&self, sandbox: SandboxId) -> SandboxFiles {
        SandboxFiles { hosts: format!("/files/{}/hosts", sandbox.short()), ..SandboxFiles::default() }
    }

    fn is_started(&self) -> bool {
        true
    }

    fn check_peer(&self, _: BorrowedFd<'_>) -> Result<(), Failure> {
        Ok(())
    }

    fn firewall_conflicts(&self, _: NetworkId) -> Vec<FirewallConflict> {
        Vec::new()
    }

    fn explain(&self, _: &str, _: &str, _: bool) -> Result<Explained, Failure> {
        Err(no_kernel())
    }

    fn plan(&self) -> Planned {
        Planned::default()
    }

    fn plan_difference(&self) -> Result<PlanDifference, Failure> {
        Err(no_kernel())
    }

    fn doctor(&self, _: bool) -> Result<Diagnosis, Failure> {
        Ok(Diagnosis::default())
    }

    fn reload(&self) -> Result<Reloaded, Failure> {
        Ok(Reloaded::default())
    }

    fn end(&self) -> Result<(), Failure> {
        Err(Failure::new(FailureKind::Unsupported, "this daemon was not started on demand"))
    }

    fn graph(&self, _: &[&str], _: Option<(&str, &str)>) -> Result<Picture, Failure> {
        Err(no_kernel())
    }

    fn trace(&self, _: TraceRequest, _: Box<dyn FnMut(TraceMessage) -> bool + Send>) -> Result<(), Failure> {
        Err(no_kernel())
    }

    fn counters(&self) -> Result<Counters, Failure> {
        Ok(Counters::default())
    }

    fn measurements(&self) -> Measurements {
        Measurements::default()
    }

    fn release_memory(&self) {}

    fn about(&self) -> About {
        About {
            version: "0.1.0".into(),
            kernel: "6.18".into(),
            architecture: "x86_64".into(),
            processors: 2,
            memory: 64 << 20,
            controllers: vec!["memory".into(), "cpu".into()],
            ..About::default()
        }
    }

    fn now(&self) -> i64 {
        NOW
    }
}

/// A server that is stopped, and must end, with the value.
pub struct RunningServer {
    pub engine: Arc<FakeEngine>,
    pub clients: Clients,
    pub address: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    _directory: tempfile::TempDir,
}

impl RunningServer {
    pub fn start() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fairway.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let engine = Arc::new(FakeEngine::new());
        let (stop, stopped) = oneshot::channel();
        let api: Arc<dyn EngineApi> = engine.clone();
        let clients = Clients::new(limits);
        let served = clients.clone();
        let thread = std::thread::spawn(move || {
            let (runtime, clients) = (runtime().unwrap(), served);
            let served = serve(&runtime, &[listener], api, &clients, async {
                stopped.await.ok();
            });
            runtime.shutdown_background();
            served
        });
        Self {
            engine,
            clients,
            address: format!("unix://{}", path.display()),
            stop: Some(stop),
            thread: Some(thread),
            _directory: directory,
        }
    }

    pub fn client(&self) -> Client {
        Client::new(&self.address).unwrap()
    }

    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.stop();
    }
}
