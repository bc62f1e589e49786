//! Noticing: sandboxes that end, links and tables that others change, settings that nobody tells of.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use fairway_core::object::{Key, Object};
use fairway_core::policy::is_trace_table;
use fairway_core::world::{Command, UNKNOWN_EXIT_CODE};
use fairway_kernel::host_facts;
use fairway_kernel::monitor::{Event, Monitor};
use fairway_kernel::nftables::{self, Notifications};
use fairway_kernel::route::{Link, Mark};
use fairway_kernel::watch::{self, Watch};
use fairway_model::Owner;
use fairway_model::{Namespace, ProcessIdentity, SandboxId, SandboxKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::apply::firewall::Firewall;
use crate::apply::relay_link::Health;
use crate::reconcile::address_conflict::Guardian;
use crate::reconcile::netns_audit::NetnsAudit;
use crate::{ApplyError, Engine, EngineError};

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How often settings are looked at that the kernel does not tell of (DESIGN: no notification for
/// most sysctls), and whether the relay answers.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How long whoever started a process may take to tell how it ended, before it counts as ended with
/// a code that nobody knows. Endpoints have to be gone within two seconds.
const EXIT_REPORT_GRACE: Duration = Duration::from_millis(600);
/// How often what could not be made is retried again: a port that another program has, for example.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// How many sandboxes that have ended are taken away at the same time.
const MAX_PARALLEL_STOPS: usize = 8;
/// Somebody who changes one thing often changes the next right after it.
const SETTLE_DELAY: Duration = Duration::from_millis(20);

/// Watches for the end of sandboxes.
pub(crate) struct Signals {
    watch: Watch<SandboxId>,
    /// Set when something is to be mended.
    heal: AtomicBool,
    /// Set when the links that no end on the host tells of are to be looked at, too.
    check_netns: AtomicBool,
    /// Parents of macvlans that are gone.
    missing_parents: Mutex<BTreeSet<String>>,
    /// Set when something could not be made.
    retry: AtomicBool,
    /// Set when links, addresses or routes of others on the host may have changed.
    host: AtomicBool,
    /// Set when tables of others may have changed.
    scan_foreign: AtomicBool,
    exclusive: Mutex<()>,
}

impl Signals {
    pub fn new() -> Result<Self, EngineError> {
        let watch = Watch::new().map_err(|error| EngineError::Observe(Box::new(error)))?;
        Ok(Self {
            watch,
            heal: AtomicBool::new(false),
            check_netns: AtomicBool::new(false),
            missing_parents: Mutex::default(),
            retry: AtomicBool::new(false),
            host: AtomicBool::new(false),
            scan_foreign: AtomicBool::new(false),
            exclusive: Mutex::default(),
        })
    }

    /// Watches a sandbox until it ends. One that has ended already is noticed at once.
    pub fn watch(&self, id: SandboxId, process: Option<ProcessIdentity>, namespace: Option<&Namespace>) {
        self.watch.forget(&id);
        let watched = match (process, namespace) {
            (Some(process), _) => self.watch.process(id, process),
            (None, Some(namespace)) => self.watch.namespace(id, namespace),
            (None, None) => Ok(()),
        };
        if let Err(reason) = watched {
            tracing::debug!(%reason, sandbox = %id.short(), "it has ended already");
            self.heal.store(true, Ordering::Release);
            self.watch.waker().wake();
        }
    }

    /// Keeps others from beginning or ending to watch while one finds out which of the two it is to be.
    pub fn exclusive(&self) -> MutexGuard<'_, ()> {
        self.exclusive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the links that no end on the host tells of are to be looked at, this once.
    pub fn take_netns_check(&self) -> bool {
        self.check_netns.swap(false, Ordering::AcqRel)
    }

    /// Remembers that a parent of macvlans is gone; whether that is news.
    pub fn add_missing_parent(&self, name: &str) -> bool {
        self.missing_parents.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned())
    }

    /// Whether a parent of macvlans is gone.
    pub fn is_missing_parent(&self, name: &str) -> bool {
        self.missing_parents.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    /// A link is there; whether it was a parent that was gone.
    pub fn remove_missing_parent(&self, name: &str) -> bool {
        self.missing_parents.lock().unwrap_or_else(PoisonError::into_inner).remove(name)
    }

    /// Has what could not be made retried again later.
    pub fn request_retry(&self) {
        self.retry.store(true, Ordering::Release);
    }

    /// Watches a sandbox no longer.
    pub fn forget(&self, id: SandboxId) {
        self.watch.forget(&id);
    }
}

/// What tells of changes, from the moment that it is opened.
pub(crate) struct Monitors {
    links: Monitor,
    tables: nftables::Monitor,
}

impl Monitors {
    /// Opens them in the namespace of the calling thread.
    pub fn open(firewall: &Firewall) -> Result<Self, EngineError> {
        let links = Monitor::open().map_err(|error| EngineError::Apply(ApplyError::Route(error.into())))?;
        let tables = nftables::Monitor::open(Some(firewall.port())).map_err(ApplyError::from)?;
        Ok(Self { links, tables })
    }
}

/// Starts the threads that notice. They end when the engine does.
pub(crate) fn start(engine: &Arc<Engine>, monitors: Monitors) -> Result<(), EngineError> {
    if let Err(error) = engine.signals.watch.file(Path::new(RESOLV_CONF)) {
        tracing::warn!(%error, "changes of the host's name servers are not followed");
    }
    let weak = Arc::downgrade(engine);
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    thread("monitor")
        .spawn(move || listen(&weak, &monitors.links, &monitors.tables))
        .map_err(EngineError::Thread)?;
    let weak = Arc::downgrade(engine);
    thread("watcher").spawn(move || run(&weak)).map_err(EngineError::Thread)?;
    Ok(())
}

impl Engine {
    /// Has everything looked at as soon as possible.
    pub(crate) fn request_heal(&self) {
        self.signals.heal.store(true, Ordering::Release);
        self.signals.watch.waker().wake();
    }

    /// Has the tables of others looked at as soon as possible.
    pub(crate) fn request_foreign_scan(&self) {
        self.signals.scan_foreign.store(true, Ordering::Release);
        self.signals.watch.waker().wake();
    }

    /// As [`Self::request_heal`], and inside sandboxes too.
    pub(crate) fn request_netns_heal(&self) {
        self.signals.check_netns.store(true, Ordering::Release);
        self.request_heal();
    }

    /// Whether an event tells of something of ours that somebody else changed. Our own changes are
    /// decided before they are made, so that they never look so.
    fn is_drift(&self, event: &Event) -> bool {
        let planned = |link: &Link| {
            let (owner, key) = match link.mark() {
                Some(Mark::Network(id)) => (Owner::Network(id), Key::Bridge(link.name.clone())),
                Some(Mark::Endpoint(id)) => (Owner::Endpoint(id), Key::Veth(link.name.clone())),
                None => return false,
            };
            let dummy_parent = Key::DummyParent(link.name.clone());
            let planned =
                |key| self.state().plan.get(&owner).is_some_and(|fragment| fragment.contains_key(key));
            planned(&key) || planned(&dummy_parent)
        };
        match event {
            Event::Link(link) if link.mark().is_none() && self.is_uplink_loose(link) => true,
            Event::PortLeft(link) if link.mark().is_none() => {
                self.is_uplink_loose(&Link { master: None, ..link.clone() })
            }
            Event::Address(address) => self.is_at_uplink(address),
            // Routes that go with their interface are not told of, by IPv4.
            Event::Link(link) | Event::LinkGone(link) if link.mark().is_none() => {
                self.read(|world| world.networks().any(|network| !network.peers.is_empty()))
            }
            Event::LinkGone(link) | Event::PortLeft(link) => planned(link),
            Event::Link(link) => self.is_changed(link),
            Event::AddressGone(gone) => self.read(|world| {
                let mut subnets = world.networks().flat_map(|network| &network.subnets);
                subnets.any(|subnet| subnet.gateway == gone.address.addr())
            }),
            Event::RouteGone(route) if route.is_ours() => self.read(|world| {
                let mut peers = world.networks().flat_map(|network| &network.peers);
                peers.any(|peer| peer.subnet == route.destination)
            }),
            Event::Lost => true,
            _ => false,
        }
    }

    /// Whether a link of ours is other than planned, as far as the event tells.
    fn is_changed(&self, link: &Link) -> bool {
        let state = self.state();
        let object = |owner, key| state.plan.get(&owner).and_then(|fragment| fragment.get(&key));
        match link.mark() {
            Some(Mark::Network(id)) => match object(Owner::Network(id), Key::Bridge(link.name.clone())) {
                Some(Object::Bridge(bridge)) if bridge.parent.is_some() => {
                    !link.up || link.mac != Some(bridge.mac)
                }
                Some(Object::Bridge(bridge)) => {
                    !link.up || link.mtu != bridge.mtu || link.mac != Some(bridge.mac)
                }
                _ => match object(Owner::Network(id), Key::DummyParent(link.name.clone())) {
                    Some(Object::DummyParent(_)) => !link.up,
                    _ => false,
                },
            },
            Some(Mark::Endpoint(id)) => match object(Owner::Endpoint(id), Key::Veth(link.name.clone())) {
                Some(Object::Veth(veth)) => {
                    !link.up || link.mtu != veth.mtu || link.hairpin != Some(veth.hairpin)
                }
                _ => false,
            },
            None => false,
        }
    }

    /// Looks at what the kernel does not tell of.
    fn poll_settings(&self) {
        self.look_at_relay();
        if self.sysctls_changed() || self.firewall.differs() {
            self.request_heal();
        }
        if self.legacy_tables_changed() {
            self.scan_foreign_firewalls();
        }
        if self.signals.host.swap(false, Ordering::AcqRel) || self.host_settings_changed() {
            self.follow_host();
        }
    }

    /// Looks whether the relay answers, and starts another one in place of one that has ended.
    fn look_at_relay(&self) {
        let pid = self.relay.hello().pid;
        let made = match self.relay.look() {
            Health::Answers | Health::Awaited => return,
            Health::Late => {
                return tracing::warn!(pid, "the relay (process {pid}) does not answer");
            }
            Health::Back => {
                tracing::info!(pid, "the relay (process {pid}) answers again; it is given what has changed");
                self.relay_is_back()
            }
            Health::Gone => {
                tracing::warn!(pid, "the relay (process {pid}) has ended; starting another one");
                self.restart_relay()
            }
        };
        if let Err(error) = made {
            tracing::error!(%error, "the relay does not carry what it should; it is retried again");
        }
    }

    /// Whether the host is other than known in what the kernel does not tell of. To list its links
    /// and routes each time would hold up everybody on a host with many.
    fn host_settings_changed(&self) -> bool {
        let known = self.read(|world| world.host().clone());
        let mut observed = known.clone();
        // That it cannot be observed is said by who follows.
        let seen = host_facts::observe_settings(&mut observed, Path::new(RESOLV_CONF));
        seen.is_err() || observed != known
    }

    fn sysctls_changed(&self) -> bool {
        let wanted: Vec<(String, String)> = {
            let state = self.state();
            let mut wanted = Vec::new();
            // In the order of owners, the host and the networks come before all others.
            let watched = |owner: &Owner| matches!(owner, Owner::Host | Owner::Network(_));
            let fragments = state.plan.iter().take_while(|(owner, _)| watched(owner));
            for (key, object) in fragments.flat_map(|(_, fragment)| fragment) {
                match (key, object) {
                    (Key::Sysctl(path), Object::Sysctl(value)) => wanted.push((path.clone(), value.clone())),
                    (_, Object::Bridge(bridge)) if bridge.parent.is_none() => {
                        let path = format!("net/ipv4/conf/{}/route_localnet", bridge.name);
                        wanted.push((path, u8::from(bridge.route_localnet).to_string()));
                        if bridge.ipv6 || !bridge.adopted {
                            let path = format!("net/ipv6/conf/{}/disable_ipv6", bridge.name);
                            wanted.push((path, u8::from(!bridge.ipv6).to_string()));
                        }
                    }
                    _ => {}
                }
            }
            wanted
        };
        wanted
            .iter()
            .any(|(path, value)| fairway_kernel::sysctl::read(path).is_ok_and(|found| found != *value))
    }

    /// Takes over what changed on the host: its name servers, its MTU, what meets the bridges.
    pub(crate) fn follow_host(&self) {
        let mut observed = match crate::engine::observe_host() {
            Ok(observed) => observed,
            Err(error) => return tracing::warn!(%error, "the host cannot be observed"),
        };
        let (settings, known) = self.read(|world| (world.settings().clone(), world.host().clone()));
        let adopted = self.read(crate::engine::adopted);
        adopted.iter().for_each(|name| observed.keep_bridge(&known, name));
        if known == observed {
            return;
        }
        for what in crate::reconcile::drift::of_host(&known, &observed) {
            tracing::info!("the host has changed: {what}; followed");
        }
        let configure = Command::Configure { settings: Box::new(settings), host: Box::new(observed) };
        if let Err(error) = self.execute(configure) {
            tracing::warn!(%error, "the host has changed, and it cannot be followed");
        }
        self.report_overlapping_routes();
    }

    /// How long a sandbox that has ended is kept for somebody to tell how: of what others started
    /// nobody will.
    fn grace(&self, id: SandboxId) -> Duration {
        let ours = self.read(|world| world.sandbox(id).is_some_and(|it| it.kind == SandboxKind::Run));
        if ours { EXIT_REPORT_GRACE } else { Duration::ZERO }
    }

    /// Takes sandboxes away that have ended; many of them side by side, as clients would.
    fn end_all(&self, due: &[SandboxId]) {
        std::thread::scope(|scope| {
            for few in due.chunks(due.len().div_ceil(MAX_PARALLEL_STOPS).max(1)) {
                scope.spawn(|| few.iter().for_each(|id| self.end(*id)));
            }
        });
    }

    /// Takes a sandbox away that has ended, unless somebody else did; it may even run again.
    fn end(&self, id: SandboxId) {
        if !self.has_ended(id) {
            return;
        }
        let stop = Command::StopSandbox { sandbox: id.to_string(), code: UNKNOWN_EXIT_CODE };
        match self.execute(stop) {
            Ok(_) => tracing::info!(sandbox = %id.short(), "ended"),
            // Whoever waited for it was faster.
            Err(EngineError::Refused(reason)) => tracing::debug!(%reason, "stopped already"),
            Err(error) => tracing::error!(%error, sandbox = %id.short(), "cannot be stopped"),
        }
    }
}

/// Hears of links, addresses and tables that change.
fn listen(engine: &Weak<Engine>, links: &Monitor, tables: &nftables::Monitor) {
    let patience = Timespec { tv_sec: 1, tv_nsec: 0 };
    loop {
        let mut descriptors = [PollFd::new(links, PollFlags::IN), PollFd::new(tables, PollFlags::IN)];
        // An interrupted wait finds nothing ready, which is what the next look finds too.
        let _ = poll(&mut descriptors, Some(&patience));
        let Some(engine) = engine.upgrade() else { return };
        let drifted = match links.events() {
            Ok(events) => {
                if events.iter().any(host_facts::concerns) {
                    engine.signals.host.store(true, Ordering::Release);
                }
                for _ in events.iter().filter(|event| engine.bears_on_insides(event)) {
                    engine.request_netns_heal();
                }
                events.iter().any(|event| engine.is_drift(event))
            }
            Err(error) => {
                tracing::warn!(%error, "changes of links may go unnoticed");
                engine.signals.host.store(true, Ordering::Release);
                true
            }
        };
        let is_ours = |change: &nftables::Change| {
            change.table == fairway_core::policy::TABLE || is_trace_table(&change.table)
        };
        let (others, beside) = match tables.drain() {
            Ok(Notifications::Changes(changes)) => {
                let ours = |change: &&nftables::Change| engine.firewall.is_disturbed_by(change);
                (changes.iter().any(|it| ours(&it)), changes.iter().any(|change| !is_ours(change)))
            }
            Ok(Notifications::Overflow) => (true, true),
            Err(error) => {
                tracing::warn!(%error, "changes of tables may go unnoticed");
                (true, true)
            }
        };
        if beside {
            engine.request_foreign_scan();
        }
        if drifted || others {
            engine.request_heal();
        }
    }
}

/// Attends to what is noticed, one thing after the other.
fn run(engine: &Weak<Engine>) {
    let (mut polled, mut retried) = (Instant::now(), Instant::now());
    let mut audit = NetnsAudit::default();
    let mut guardian = Guardian::default();
    let mut ending: HashMap<SandboxId, Instant> = HashMap::new();
    loop {
        let Some(strong) = engine.upgrade() else { return };
        let now = Instant::now();
        let due: Vec<SandboxId> = ending.extract_if(|_, due| *due <= now).map(|(id, _)| id).collect();
        strong.end_all(&due);
        let poll_settings = POLL_INTERVAL.saturating_sub(polled.elapsed());
        let grace = ending.values().min().map_or(POLL_INTERVAL, |due| due.saturating_duration_since(now));
        let rest = poll_settings.min(grace);
        let events = strong.signals.watch.wait(Some(rest)).unwrap_or_else(|error| {
            tracing::warn!(%error, "the end of sandboxes may be noticed late");
            std::thread::sleep(POLL_INTERVAL);
            Vec::new()
        });
        for event in events {
            match event {
                watch::Event::ProcessEnded(id) | watch::Event::NamespaceGone(id) => {
                    ending.insert(id, Instant::now() + strong.grace(id));
                }
                watch::Event::FileChanged(_) => strong.follow_host(),
                watch::Event::Woken => {}
            }
        }
        if strong.signals.scan_foreign.swap(false, Ordering::AcqRel) {
            std::thread::sleep(SETTLE_DELAY);
            strong.scan_foreign_firewalls();
        }
        if strong.signals.heal.swap(false, Ordering::AcqRel) {
            std::thread::sleep(SETTLE_DELAY);
            for id in strong.ended() {
                ending.entry(id).or_insert_with(|| Instant::now() + strong.grace(id));
            }
            match strong.heal() {
                Ok(Some(drifted)) => strong.repairs.remember(strong.now(), drifted),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, "not everything could be mended; it is retried again");
                    strong.signals.request_retry();
                }
            }
        }
        if polled.elapsed() >= POLL_INTERVAL {
            strong.poll_settings();
            audit.step(&strong);
            guardian.step(&strong);
            polled = Instant::now();
        }
        if retried.elapsed() >= RETRY_INTERVAL {
            strong.release_memory();
            if strong.signals.retry.swap(false, Ordering::AcqRel) {
                strong.signals.heal.store(true, Ordering::Release);
            }
            retried = Instant::now();
        }
    }
}
