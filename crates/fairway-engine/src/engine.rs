//! The engine: a facade over Committer, Applier, Reconciler and Inspector, and how they start.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering as Order};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use fairway_core::object::FileName;
use fairway_core::plan::{ObjectChange, PlannedFragment, plan};
use fairway_core::traffic::Counters;
use fairway_core::world::{Change, Command, Draft, Exit, Requester, UNKNOWN_EXIT_CODE, World};
use fairway_inspect::conflict::FirewallConflict;
use fairway_inspect::graph::Picture;
use fairway_inspect::metrics::Measurements;
use fairway_inspect::trace::TraceRequest;
use fairway_kernel::clock;
use fairway_kernel::iptables::Flavour;
use fairway_kernel::namespace::Workers;
use fairway_kernel::route::Links;
use fairway_model::{NetworkId, ProcessIdentity, Rng, SandboxId, Settings};
use fairway_relay::table::{Hello, Record};
use fairway_store::Store;
use rustix::process::Signal;

use crate::apply::Applier;
use crate::apply::adopt::{Adopted, Namespaces, adopt_relay_sockets};
use crate::apply::announcements::Announcements;
use crate::apply::files::SandboxFiles;
use crate::apply::firewall::Firewall;
use crate::apply::flows::Flows;
use crate::apply::former_relays::FormerRelays;
use crate::apply::relay_link::{RelayLink, StartRelay};
use crate::apply::resolvers::Resolvers;
use crate::apply::sweeper::Sweeper;
use crate::commit::effects::HostEffects;
use crate::commit::events::{EventListener, Events};
use crate::commit::exit_waiters::{ExitListener, ExitWaiters};
use crate::commit::host::{
    adopted, find_switched_forwarding, observe_host, release_bridges, restore_forwarding,
};
use crate::commit::pipeline::Pipeline;
use crate::commit::records::{Orphan, STORE, STORE_PATIENCE, load, save_all};
use crate::commit::state::State;
use crate::commit::stop::Stopping;
use crate::commit::store::RecordStore;
use crate::commit::{Committer, seed};
use crate::failpoint::{failpoint, started};
use crate::inspect::Inspector;
use crate::inspect::doctor::Diagnosis;
use crate::inspect::explain::{ExplainError, Explanation};
use crate::inspect::graph::GraphError;
use crate::inspect::trace::{TraceError, TraceSink};
use crate::port_sockets::PortSockets;
use crate::reconcile::foreign_firewall::ForeignFirewalls;
use crate::reconcile::liveness::ended;
use crate::reconcile::notifications::Monitors;
use crate::reconcile::{Reconciler, Repairs, watcher};
use crate::signals::Signals;
use crate::{ApplyError, EngineError};

/// How many idle threads for work in network namespaces are kept.
const NAMESPACE_THREADS: usize = 8;
/// The control socket of the relay, below the exec root.
pub(crate) const RELAY_SOCKET: &str = "relay.sock";

/// The options with which an engine is opened.
pub struct Options {
    /// The directory of durable state: the store and the logs.
    pub data_root: PathBuf,
    /// The directory of state that ends with the boot: sockets and the files of sandboxes.
    pub exec_root: PathBuf,
    /// The settings in force.
    pub settings: Settings,
    /// The flavor of iptables for the iptables backend; none means the one that `iptables` has.
    pub iptables: Option<Flavour>,
    /// Runs a relay on a listening socket.
    pub start_relay: StartRelay,
    /// Reads the exit of a process that ended while no daemon ran.
    pub exit_record: ExitRecord,
}

/// Reads the exit that a supervisor recorded for a process, next to the log at the path.
pub type ExitRecord = Box<dyn Fn(&Path, ProcessIdentity) -> Option<Exit> + Send + Sync>;

/// Keeps the networks, sandboxes and published ports of one host.
pub struct Engine {
    pub(crate) committer: Arc<Committer>,
    pub(crate) applier: Arc<Applier>,
    pub(crate) reconciler: Arc<Reconciler>,
    inspector: Arc<Inspector>,
    signals: Arc<Signals>,
    started: AtomicBool,
}

fn create_directory(path: &Path) -> Result<(), EngineError> {
    std::fs::create_dir_all(path).map_err(|source| EngineError::Directory { path: path.to_owned(), source })
}

/// The settings of the firewall alone: the others are the defaults.
fn reduced(settings: &Settings) -> Settings {
    let Settings { backend, iptables, ip6tables, relay_user, .. } = *settings;
    Settings { backend, iptables, ip6tables, relay_user, ..Settings::default() }
}

/// Deletes links that a daemon which was killed had just created.
fn delete_incomplete_links() -> Result<(), ApplyError> {
    for name in Links::open()?.delete_incomplete()? {
        tracing::info!(interface = name, "deleted interface {name}: its creation was interrupted");
    }
    Ok(())
}

impl Engine {
    /// Opens the engine: reads the World, adopts or starts the relay, and applies the Plan. Sandboxes whose process
    /// ended meanwhile are stopped when this returns.
    ///
    /// `readable` is called as soon as the World can be read. Commands that arrive from then on wait until this returns.
    ///
    /// # Errors
    /// Settings that do not fit the running sandboxes, a store that cannot be read, a kernel that lacks a needed
    /// feature. Running sandboxes are left as they are then.
    pub fn open(options: Options, readable: impl FnOnce(&Arc<Self>)) -> Result<Arc<Self>, EngineError> {
        let (engine, monitors, known) = Self::assemble(options, false)?;
        let exclusive =
            engine.committer.pipeline.reconcile_lock.write().unwrap_or_else(PoisonError::into_inner);
        readable(&engine);
        let failures =
            engine.reconciler.reconcile_at_start(known).inspect_err(|_| engine.applier.relay.end_new())?;
        engine.applier.relay.keep();
        drop(exclusive);
        fairway_trace::sweep();
        engine.reconciler.scan_foreign_firewalls();
        watcher::start(&engine.reconciler, monitors, &failures)?;
        started();
        engine.started.store(true, Order::Release);
        Ok(engine)
    }

    /// Reads the World and adopts or starts the relay, without applying the Plan. Returns monitors that miss no event
    /// from now on, and the records that the relay has.
    ///
    /// With settings that the World refuses there is none, unless `for_removal` does with those that it cannot refuse.
    pub(crate) fn assemble(
        options: Options,
        for_removal: bool,
    ) -> Result<(Arc<Self>, Monitors, Vec<Record>), EngineError> {
        crate::requirements::check(&options.settings, options.iptables)?;
        create_directory(&options.data_root)?;
        create_directory(&options.exec_root)?;
        let path = options.data_root.join(STORE);
        let store = Arc::new(Store::open(&path, STORE_PATIENCE)?);
        let (mut world, orphans) = load(&store, &path)?;
        for Orphan { key, reason } in &orphans {
            tracing::error!(%key, %reason, "failed to use record {key} of the store: {reason}; the record is kept");
        }
        let mut rng = Rng::new(seed());
        let host = observe_host()?;
        find_switched_forwarding(&mut world, &host)?;
        let before = world.host_state().clone();
        let adopted = adopted(&world);
        let files = SandboxFiles::under(&options.exec_root, &options.data_root);
        let fallback = for_removal.then(|| reduced(&options.settings));
        let configure =
            |settings| Command::Configure { settings: Box::new(settings), host: Box::new(host.clone()) };
        let configured = match (world.apply(configure(options.settings), clock::wall(), &mut rng), fallback) {
            (Err(refusal), Some(settings)) => {
                tracing::warn!("{}: removing by other settings", EngineError::from(refusal));
                world.apply(configure(settings), clock::wall(), &mut rng)
            }
            (configured, _) => configured,
        };
        configured?.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        for sandbox in ended(&world) {
            let name = world.sandbox(sandbox).map(|sandbox| sandbox.name.clone()).unwrap_or_default();
            tracing::info!(sandbox = name, id = %sandbox.short(), "stopping sandbox {name}: ended while no daemon ran");
            let process = world.sandbox(sandbox).and_then(|sandbox| sandbox.process());
            let recorded = process.and_then(|process| (options.exit_record)(&files.log(sandbox), process));
            let exit = recorded.unwrap_or(UNKNOWN_EXIT_CODE.into());
            let stop = Command::StopSandbox { sandbox: sandbox.to_string(), exit, process: None };
            world.apply(stop, clock::wall(), &mut rng)?;
        }
        restore_forwarding(&before, world.host_state())?;
        release_bridges(&adopted, &world);
        failpoint("host released");
        save_all(&store, &world, &orphans)?;
        failpoint("durable");
        delete_incomplete_links()?;

        let firewall = Firewall::open(options.iptables)?;
        let monitors = Monitors::open(&firewall)?;
        let (relay, held) = RelayLink::find_or_start(
            options.exec_root.join(RELAY_SOCKET),
            &FormerRelays::under(&options.exec_root),
            options.start_relay,
        )?;
        failpoint("relay");
        let (ports, resolvers) = (PortSockets::default(), Resolvers::default());
        let plan = plan(&world);
        let Adopted { known, dropped } =
            adopt_relay_sockets(held, &Namespaces::of(&plan)?, &ports, &resolvers);
        if !dropped.is_empty() {
            relay.apply(dropped).map_err(ApplyError::from)?;
        }
        let signals = Arc::new(Signals::new()?);
        let applier = Arc::new(Applier {
            firewall,
            workers: Workers::new(NAMESPACE_THREADS).map_err(ApplyError::from)?,
            ports,
            resolvers,
            relay,
            sweeper: Sweeper::start(Rng::new(seed()))?,
            announcements: Announcements::start()?,
            flows: Flows::start()?,
            files,
            background: Arc::default(),
            idle_links: Mutex::default(),
        });
        let committer = Arc::new(Committer {
            pipeline: Pipeline {
                state: Mutex::new(State::new(world, plan, rng)),
                reconcile_lock: RwLock::new(()),
                store: Arc::clone(&store) as Arc<dyn RecordStore>,
                effects: Arc::new(HostEffects {
                    applier: Arc::clone(&applier),
                    signals: Arc::clone(&signals),
                }),
            },
            store,
            applier: Arc::clone(&applier),
            signals: Arc::clone(&signals),
            exit_waiters: ExitWaiters::default(),
            events: Events::default(),
            overlapping_routes: Mutex::new(BTreeSet::new()),
            measured: Mutex::default(),
        });
        let reconciler = Arc::new(Reconciler {
            committer: Arc::clone(&committer),
            applier: Arc::clone(&applier),
            signals: Arc::clone(&signals),
            repairs: Repairs::default(),
            foreign: ForeignFirewalls::default(),
        });
        let inspector = Arc::new(Inspector {
            committer: Arc::clone(&committer),
            applier: Arc::clone(&applier),
            reconciler: Arc::clone(&reconciler),
            orphans,
        });
        let started = AtomicBool::new(false);
        let engine = Arc::new(Self { committer, applier, reconciler, inspector, signals, started });
        Ok((engine, monitors, known))
    }

    /// Whether the Plan has been applied since the start.
    pub fn is_started(&self) -> bool {
        self.started.load(Order::Acquire)
    }

    /// Why the store cannot be written; none if it can. If the last change failed, tries again first.
    pub fn store_error(&self) -> Option<EngineError> {
        self.committer.store.health().map(|outage| outage.error.into())
    }

    /// Reads the World.
    pub fn read<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        self.committer.read(look)
    }

    /// Runs a command: decides it, makes the change durable and applies it. Events and the log name the process that
    /// requested it, if it was one. Blocks until all of it is in force; what a sandbox that leaves had may be let go of later.
    ///
    /// # Errors
    /// The refusal of the World, or the failure that stopped the change; the change is taken back then.
    pub fn execute(&self, requester: Option<Requester>, command: Command) -> Result<Change, EngineError> {
        self.reconciler.execute(requester, command)
    }

    /// Decides a command on a World without carrying it out. No DHCP server is asked: endpoints get no address where one
    /// would lease it.
    ///
    /// # Errors
    /// The refusal of the World.
    pub fn decide(&self, world: &World, command: Command) -> Result<Draft, EngineError> {
        self.committer.decide(world, command)
    }

    /// Changes the settings, as a start with them would. Sandboxes run on.
    ///
    /// # Errors
    /// Settings that do not fit the running sandboxes, or need a feature that the kernel lacks: nothing is changed then.
    pub fn reconfigure(&self, requester: Option<Requester>, settings: Settings) -> Result<(), EngineError> {
        self.committer.reconfigure(requester, settings)?;
        self.reconciler.scan_foreign_firewalls();
        Ok(())
    }

    /// Sends the last 256 events to a listener, and then each new one until the listener returns false.
    pub fn watch(&self, listener: EventListener) {
        self.committer.events.watch(listener);
    }

    /// Calls `listener`, if it still exists, with the exit code when the sandbox stops next.
    pub fn on_exit(&self, sandbox: SandboxId, listener: Weak<ExitListener>) {
        self.committer.exit_waiters.listen(sandbox, listener);
    }

    /// Begins to stop a running sandbox: its process gets `signal`. A process that Fairway did not start gets none:
    /// such a sandbox only loses its endpoints, and has stopped when this returns none.
    ///
    /// # Errors
    /// The sandbox does not exist or does not run, or the kernel refuses the signal.
    pub fn begin_stop(
        &self,
        requester: Option<Requester>,
        sandbox: &str,
        signal: Signal,
    ) -> Result<Option<Stopping>, EngineError> {
        self.committer.begin_stop(requester, sandbox, signal)
    }

    /// Stops the sandbox of a process that has ended, if no one did yet. Returns when the sandbox has stopped.
    ///
    /// # Errors
    /// Those of [`Engine::execute`].
    pub fn finish_stop(&self, stopping: &Stopping) -> Result<(), EngineError> {
        self.committer.finish_stop(stopping)
    }

    /// Sends a signal to the process of a running sandbox.
    ///
    /// # Errors
    /// The sandbox does not exist, has no process, or the kernel refuses the signal.
    pub fn kill(
        &self,
        requester: Option<Requester>,
        sandbox: &str,
        signal: Signal,
    ) -> Result<(), EngineError> {
        self.committer.kill(requester, sandbox, signal)
    }

    /// Emits an event of what a client does with a sandbox, such as a command that it executes there.
    pub fn emit(
        &self,
        requester: Option<Requester>,
        sandbox: &str,
        action: String,
        attributes: &[(&str, String)],
    ) {
        self.committer.emit(requester, sandbox, action, attributes);
    }

    /// The path of the log of a sandbox.
    pub fn log(&self, sandbox: SandboxId) -> PathBuf {
        self.applier.files.log(sandbox)
    }

    /// The path of a file that a sandbox mounts.
    pub fn file(&self, sandbox: SandboxId, name: FileName) -> PathBuf {
        self.applier.files.path(sandbox, name)
    }

    /// The state of the relay: its version, process and confinement.
    pub fn relay(&self) -> Hello {
        self.applier.relay.hello()
    }

    /// The rules of other firewalls that drop packets of a network.
    pub fn firewall_conflicts(&self, network: NetworkId) -> Vec<FirewallConflict> {
        self.reconciler.firewall_conflicts(network)
    }

    /// The rules of other firewalls that drop packets of a sandbox's networks.
    pub fn firewall_conflicts_of(&self, sandbox: SandboxId) -> BTreeSet<FirewallConflict> {
        self.reconciler.firewall_conflicts_of(sandbox)
    }

    /// Reads the counters of all networks and published ports.
    ///
    /// # Errors
    /// The kernel refuses to list them.
    pub fn counters(&self) -> Result<Counters, EngineError> {
        self.inspector.counters()
    }

    /// What the engine measured since it was opened. Writes nothing and waits for no command.
    pub fn measurements(&self) -> Measurements {
        self.inspector.measurements()
    }

    /// Walks a packet through the running host or, with `by_plan`, through the host as planned.
    ///
    /// # Errors
    /// See [`ExplainError`].
    pub fn explain(&self, from: &str, to: &str, by_plan: bool) -> Result<Explanation, ExplainError> {
        self.inspector.explain(from, to, by_plan)
    }

    /// Draws the networks of those names, or all, and the path of a packet as [`Engine::explain`] finds it.
    ///
    /// # Errors
    /// See [`GraphError`].
    pub fn graph(&self, networks: &[&str], path: Option<(&str, &str)>) -> Result<Picture, GraphError> {
        self.inspector.graph(networks, path)
    }

    /// All objects of the Plan, by owner.
    pub fn plan(&self) -> Vec<PlannedFragment> {
        self.inspector.plan()
    }

    /// What the daemon would do now to make the kernel equal to the Plan. Changes nothing.
    ///
    /// # Errors
    /// The kernel refuses to list objects.
    pub fn plan_difference(&self) -> Result<Vec<ObjectChange>, EngineError> {
        self.inspector.plan_difference()
    }

    /// Diagnoses the host and Fairway's objects. Changes nothing.
    pub fn doctor(&self) -> Diagnosis {
        self.inspector.doctor()
    }

    /// Applies the automatic fixes of the findings, and diagnoses again.
    pub fn doctor_fix(&self) -> Diagnosis {
        self.inspector.doctor_fix()
    }

    /// Traces packets on a thread of its own until the sink returns false or the request is satisfied.
    ///
    /// # Errors
    /// See [`TraceError`].
    pub fn trace(&self, request: TraceRequest, sink: TraceSink) -> Result<(), TraceError> {
        self.inspector.trace(request, sink)
    }

    /// Waits for the work that commands left to the background when they were answered.
    pub fn finish_background_work(&self) {
        self.applier.background.wait_for_all();
    }

    /// Returns free memory to the system within a few seconds.
    pub fn release_memory_soon(&self) {
        self.signals.request_memory_release();
    }
}
