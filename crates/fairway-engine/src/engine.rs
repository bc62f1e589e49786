//! The engine: what it holds, and how it starts.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering as Order};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fairway_core::object::FileName;
use fairway_core::plan::{Plan, plan};
use fairway_core::world::{Command, HostState, Record, UNKNOWN_EXIT_CODE, World};
use fairway_kernel::iptables::Flavour;
use fairway_kernel::namespace::Workers;
use fairway_kernel::route::Links;
use fairway_kernel::{host_facts, sysctl};
use fairway_model::Rng;
use fairway_model::{HostFacts, ProcessIdentity, SandboxId, Settings};
use fairway_store::{Store, StoreError};

use crate::apply::adopt::{Adopted, Namespaces, adopt_relay_sockets};
use crate::apply::announcements::Announcements;
use crate::apply::etc_netns;
use crate::apply::files::SandboxFiles;
use crate::apply::firewall::Firewall;
use crate::apply::flows::Flows;
use crate::apply::relay_link::{RelayLink, StartRelay};
use crate::apply::resolvers::Resolvers;
use crate::apply::sweeper::Sweeper;
use crate::commit::events::Events;
use crate::commit::exit_waiters::ExitWaiters;
use crate::commit::ordering::Ordering;
use crate::failpoint::{failpoint, started};
use crate::memory::Memory;
use crate::port_sockets::PortSockets;
use crate::reconcile::Repairs;
use crate::reconcile::foreign_firewall::ForeignFirewalls;
use crate::reconcile::liveness::ended;
use crate::reconcile::watcher::{Monitors, Signals};
use crate::{ApplyError, EngineError};

/// How long to wait for another process that has the store open.
pub(crate) const STORE_PATIENCE: Duration = Duration::from_secs(5);
/// How many threads for work inside sandboxes are kept.
const NAMESPACE_THREADS: usize = 8;
pub(crate) const STORE_FILE: &str = "world.redb";
pub(crate) const RELAY_SOCKET: &str = "relay.sock";

/// What an engine is opened with.
pub struct Options {
    /// Where what is durable is kept.
    pub data_root: PathBuf,
    /// Where what belongs to this boot is kept.
    pub exec_root: PathBuf,
    /// The settings in force.
    pub settings: Settings,
    /// The flavour of iptables where that is the backend; none means the one that `iptables` has.
    pub iptables: Option<Flavour>,
    /// Runs a relay on a listening socket.
    pub start_relay: StartRelay,
    /// How a process ended while no daemon ran, if whoever started it wrote it down beside the
    /// sandbox's log, whose path it is given.
    pub exit_record: ExitRecord,
}

/// Reads how a process ended; given by the program, for it knows what its supervisors write.
pub type ExitRecord = Box<dyn Fn(&Path, ProcessIdentity) -> Option<i32> + Send + Sync>;

/// What changes with every command.
pub(crate) struct State {
    pub world: World,
    pub plan: Plan,
    pub rng: Rng,
    pub ordering: Ordering,
    /// When the ordering has grown so far it is tidied.
    pub tidy_at: usize,
}

/// Networks, sandboxes and published ports of one host, kept as they were asked for.
pub struct Engine {
    state: Mutex<State>,
    /// Commands share it; healing, which compares all with all, has it alone.
    pub(crate) reconcile_lock: RwLock<()>,
    pub(crate) store: Store,
    pub(crate) firewall: Firewall,
    pub(crate) workers: Workers,
    pub(crate) ports: PortSockets,
    pub(crate) resolvers: Resolvers,
    pub(crate) relay: RelayLink,
    pub(crate) sweeper: Sweeper,
    pub(crate) announcements: Announcements,
    pub(crate) flows: Flows,
    pub(crate) signals: Signals,
    pub(crate) exit_waiters: ExitWaiters,
    pub(crate) events: Events,
    pub(crate) files: SandboxFiles,
    pub(crate) foreign: ForeignFirewalls,
    pub(crate) repairs: Repairs,
    pub(crate) memory: Memory,
    links: Mutex<Vec<Links>>,
    started: AtomicBool,
}

fn create_directory(path: &Path) -> Result<(), EngineError> {
    std::fs::create_dir_all(path).map_err(|source| EngineError::Directory { path: path.to_owned(), source })
}

/// Reads the World back.
pub(crate) fn load(store: &Store, path: &Path) -> Result<World, EngineError> {
    let mut records = Vec::new();
    for (key, bytes) in store.load()? {
        let record: Record = serde_json::from_slice(&bytes).map_err(|source| EngineError::Record {
            key,
            path: path.to_owned(),
            source,
        })?;
        records.push(record);
    }
    Ok(World::from_records(records))
}

/// Observes the host, without what is ours.
pub(crate) fn observe_host() -> Result<HostFacts, EngineError> {
    let links = Links::open().map_err(ApplyError::from)?;
    host_facts::observe(&links, |link| link.mark().is_some() && link.parent().is_none())
        .map_err(|error| EngineError::Observe(Box::new(error)))
}

fn seed() -> u64 {
    // Without randomness from the kernel, identifiers are as good as the clock.
    getrandom::u64().unwrap_or_else(|_| now() as u64)
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

impl Engine {
    /// Opens the engine: reads the World, finds or starts the relay, and makes everything follow.
    /// Sandboxes that ended meanwhile are gone when it returns.
    ///
    /// `readable` is called as soon as the World can be read, so that who asks need not wait for the rest. Commands that
    /// arrive from then on wait until this returns.
    ///
    /// # Errors
    /// Settings that do not fit what runs, a store that cannot be read, a kernel that lacks what is
    /// needed. What runs is left as it is then.
    pub fn open(options: Options, readable: impl FnOnce(&Arc<Self>)) -> Result<Arc<Self>, EngineError> {
        let (engine, monitors, known) = Self::assemble(options)?;
        let alone = engine.reconcile_lock.write().unwrap_or_else(PoisonError::into_inner);
        readable(&engine);
        engine.reconcile_at_start(known)?;
        drop(alone);
        crate::inspect::trace::sweep();
        engine.scan_foreign_firewalls();
        crate::reconcile::watcher::start(&engine, monitors)?;
        crate::reconcile::leases::start(&engine)?;
        started();
        engine.started.store(true, Order::Release);
        Ok(engine)
    }

    /// Reads the World and finds or starts the relay, and makes nothing follow yet. With it come monitors that have
    /// not missed anything since, and what the relay knows.
    pub(crate) fn assemble(
        options: Options,
    ) -> Result<(Arc<Self>, Monitors, Vec<fairway_relay::table::Record>), EngineError> {
        crate::requirements::check(&options.settings, options.iptables)?;
        create_directory(&options.data_root)?;
        create_directory(&options.exec_root)?;
        let path = options.data_root.join(STORE_FILE);
        let store = Store::open(&path, STORE_PATIENCE)?;
        let mut world = load(&store, &path)?;
        let mut rng = Rng::new(seed());
        let host = observe_host()?;
        find_switched_forwarding(&mut world, &host)?;
        let before = world.host_state().clone();
        let adopted = adopted(&world);
        let files = SandboxFiles::under(&options.exec_root, &options.data_root);
        let configure = Command::Configure { settings: Box::new(options.settings), host: Box::new(host) };
        world
            .apply(configure, now(), &mut rng)?
            .warnings
            .iter()
            .for_each(|warning| tracing::warn!("{warning}"));
        for sandbox in ended(&world) {
            tracing::info!(sandbox = %sandbox.short(), "ended while nobody watched");
            let process = world.sandbox(sandbox).and_then(|sandbox| sandbox.process());
            let recorded = process.and_then(|process| (options.exit_record)(&files.log(sandbox), process));
            let code = recorded.unwrap_or(UNKNOWN_EXIT_CODE);
            let stop = Command::StopSandbox { sandbox: sandbox.to_string(), code };
            world.apply(stop, now(), &mut rng)?;
        }
        restore_forwarding(&before, world.host_state())?;
        release_bridges(&adopted, &world);
        failpoint("given back");
        save_all(&store, &world)?;
        failpoint("durable");

        let firewall = Firewall::open(options.iptables)?;
        let monitors = Monitors::open(&firewall)?;
        let (relay, held) =
            RelayLink::find_or_start(options.exec_root.join(RELAY_SOCKET), options.start_relay)?;
        failpoint("relay");
        let (ports, resolvers) = (PortSockets::default(), Resolvers::default());
        let plan = plan(&world);
        let Adopted { known, dropped } =
            adopt_relay_sockets(held, &Namespaces::of(&plan)?, &ports, &resolvers);
        if !dropped.is_empty() {
            relay.apply(dropped).map_err(ApplyError::from)?;
        }
        let engine = Arc::new(Self {
            state: Mutex::new(State { world, plan, rng, ordering: Ordering::default(), tidy_at: 1024 }),
            reconcile_lock: RwLock::new(()),
            store,
            firewall,
            workers: Workers::new(NAMESPACE_THREADS).map_err(ApplyError::from)?,
            ports,
            resolvers,
            relay,
            sweeper: Sweeper::start(Rng::new(seed()))?,
            announcements: Announcements::start()?,
            flows: Flows::start()?,
            signals: Signals::new()?,
            exit_waiters: ExitWaiters::default(),
            events: Events::default(),
            files,
            foreign: ForeignFirewalls::default(),
            repairs: Repairs::default(),
            memory: Memory::default(),
            links: Mutex::default(),
            started: AtomicBool::new(false),
        });
        Ok((engine, monitors, known))
    }

    /// Whether everything has been made to follow since the start.
    pub fn is_started(&self) -> bool {
        self.started.load(Order::Acquire)
    }

    /// Reads the World.
    pub fn read<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(&self.state().world)
    }

    /// Where what a sandbox's process writes is kept.
    pub fn log(&self, sandbox: SandboxId) -> PathBuf {
        self.files.log(sandbox)
    }

    /// Calls `listener`, if it is still there, with the exit code when the sandbox stops next.
    pub fn on_exit(&self, sandbox: SandboxId, listener: Weak<crate::ExitListener>) {
        self.exit_waiters.listen(sandbox, listener);
    }

    /// Where a sandbox finds one of its files.
    pub fn file(&self, sandbox: SandboxId, name: FileName) -> PathBuf {
        self.files.path(sandbox, name)
    }

    /// What is and is not in force of the relay's confinement.
    pub fn relay(&self) -> fairway_relay::table::Hello {
        self.relay.hello()
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panicked left a World that is whole: commands are checked before they
        // change it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> i64 {
        now()
    }

    /// Works with a socket for links in the host's namespace; they are kept for the next one.
    pub(crate) fn links<T>(
        &self,
        work: impl FnOnce(&Links) -> Result<T, fairway_kernel::route::Error>,
    ) -> Result<T, ApplyError> {
        let kept = self.links.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let links = match kept {
            Some(links) => links,
            None => Links::open()?,
        };
        let outcome = work(&links)?;
        self.links.lock().unwrap_or_else(PoisonError::into_inner).push(links);
        Ok(outcome)
    }

    /// Forgets the files of sandboxes that are no longer in the World.
    pub(crate) fn tidy_files(&self) {
        let gone: Vec<_> = {
            let state = self.state();
            self.files.sandboxes().into_iter().filter(|id| state.world.sandbox(*id).is_none()).collect()
        };
        gone.into_iter().for_each(|id| self.files.forget(id));
        etc_netns::tidy();
    }
}

/// Finds out by the rules that are there whether forwarding was switched on by a daemon whose state is lost: it is not
/// the host's own then, and goes on for our networks alone.
fn find_switched_forwarding(world: &mut World, host: &HostFacts) -> Result<(), ApplyError> {
    let host_state = world.host_state();
    let unknown = [
        host.forwarding.0 && !host_state.switched_forwarding_ipv4,
        host.forwarding.1 && !host_state.switched_forwarding_ipv6,
    ];
    if unknown.contains(&true) {
        let (ipv4, ipv6) = crate::apply::firewall::drops_unrelated_forwarding()?;
        world.record_enabled_forwarding(ipv4, ipv6);
    }
    Ok(())
}

/// Gives forwarding back where the last daemon switched it on and this one does not want it. Before
/// that is durable: killed in between, the next one does it again.
pub(crate) fn restore_forwarding(before: &HostState, after: &HostState) -> Result<(), ApplyError> {
    let switched = [
        (before.switched_forwarding_ipv4, after.switched_forwarding_ipv4, "net/ipv4/ip_forward"),
        (before.switched_forwarding_ipv6, after.switched_forwarding_ipv6, "net/ipv6/conf/all/forwarding"),
    ];
    for (_, _, path) in switched.into_iter().filter(|(before, after, _)| *before && !after) {
        sysctl::set(path, "0")?;
        tracing::info!(sysctl = path, value = "0", "given back as it was found");
    }
    for interface in before.router_advertisements.difference(&after.router_advertisements) {
        let path = format!("net/ipv6/conf/{interface}/accept_ra");
        // The interface may have gone, and whoever set another value meanwhile meant it.
        if sysctl::read(&path).is_ok_and(|value| value == "2")
            && let Err(error) = sysctl::set(&path, "1")
        {
            tracing::warn!(%error, "not given back as it was found");
        }
    }
    Ok(())
}

/// The bridges of the user's own that networks are on.
pub(crate) fn adopted(world: &World) -> Vec<String> {
    world.networks().filter(|network| network.adopted.is_some()).map(|it| it.bridge.clone()).collect()
}

/// Takes from bridges of the user's own, which the last daemon used and this one does not, what loopback
/// ports without a proxy need.
pub(crate) fn release_bridges(before: &[String], world: &World) {
    let now = adopted(world);
    for bridge in before.iter().filter(|bridge| !now.contains(bridge)) {
        match sysctl::write(&format!("net/ipv4/conf/{bridge}/route_localnet"), "0") {
            Ok(_) | Err(sysctl::Error::Missing(_)) => {}
            Err(error) => tracing::warn!(%error, "left behind"),
        }
    }
}

/// Makes the whole World durable as it is now; what the store has and the World has not goes.
fn save_all(store: &Store, world: &World) -> Result<(), StoreError> {
    use fairway_core::world::RecordKey;
    let keys = std::iter::once(RecordKey::Host)
        .chain(world.networks().map(|network| RecordKey::Network(network.id)))
        .chain(world.sandboxes().map(|sandbox| RecordKey::Sandbox(sandbox.id)))
        .chain(world.endpoints().map(|endpoint| RecordKey::Endpoint(endpoint.id)));
    let mut change = fairway_store::Change::default();
    for key in keys {
        if let Some(record) = world.record(key) {
            change.put.push((key.text(), crate::commit::encode(&record)));
        }
    }
    let kept: std::collections::BTreeSet<&str> = change.put.iter().map(|(key, _)| key.as_str()).collect();
    let stored = store.load()?;
    let gone = stored.iter().filter(|(key, _)| !kept.contains(key.as_str())).map(|(key, _)| key.clone());
    let gone: Vec<String> = gone.collect();
    let same: std::collections::BTreeSet<(String, Vec<u8>)> = stored.into_iter().collect();
    change.put.retain(|record| !same.contains(record));
    change.delete = gone;
    store.commit(change)
}
