//! Watches for ended sandboxes, for changes by other programs, and for settings that the kernel does not notify of.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use fairway_core::object::{Key, Object};
use fairway_core::policy::is_trace_table;
use fairway_core::world::{Command, UNKNOWN_EXIT_CODE};
use fairway_kernel::host_facts;
use fairway_kernel::monitor::{Event, Monitor};
use fairway_kernel::nftables::{self, Notifications};
use fairway_kernel::route::{Link, Mark};
use fairway_kernel::watch::{self};
use fairway_model::Owner;
use fairway_model::{SandboxId, SandboxKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::apply::firewall::Firewall;
use crate::apply::relay_link::Health;
use crate::reconcile::Reconciler;
use crate::reconcile::address_defense::Guardian;
use crate::reconcile::netns_audit::NetnsAudit;
use crate::{ApplyError, EngineError};

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How often settings are polled for which the kernel sends no notification (most sysctls), and whether the relay
/// answers.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How long the supervisor of an ended process may take to report its exit code, before the sandbox is stopped without
/// one. Endpoints have to be gone within two seconds.
const EXIT_REPORT_GRACE: Duration = Duration::from_millis(600);
/// How often a failed change is retried: a port that another program has, for example.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// How many ended sandboxes are stopped in parallel.
const MAX_PARALLEL_STOPS: usize = 8;
/// How long to wait for further changes: one change is often followed by the next.
const SETTLE_DELAY: Duration = Duration::from_millis(20);

/// The monitors of links and nf_tables: they miss no change after they are opened.
pub(crate) struct Monitors {
    links: Monitor,
    tables: nftables::Monitor,
}

impl Monitors {
    /// Opens the monitors in the namespace of the calling thread.
    pub fn open(firewall: &Firewall) -> Result<Self, EngineError> {
        let links = Monitor::open().map_err(|error| EngineError::Apply(ApplyError::Route(error.into())))?;
        let tables = nftables::Monitor::open(Some(firewall.port())).map_err(ApplyError::from)?;
        Ok(Self { links, tables })
    }
}

/// Starts the threads. They end with the Reconciler.
pub(crate) fn start(reconciler: &Arc<Reconciler>, monitors: Monitors) -> Result<(), EngineError> {
    if let Err(error) = reconciler.signals.watch_file(Path::new(RESOLV_CONF)) {
        tracing::warn!(%error, "failed to watch {RESOLV_CONF}: {error}; changed name servers go unnoticed");
    }
    let weak = Arc::downgrade(reconciler);
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    thread("monitor")
        .spawn(move || listen(&weak, &monitors.links, &monitors.tables))
        .map_err(EngineError::Thread)?;
    let weak = Arc::downgrade(reconciler);
    thread("watcher").spawn(move || run(&weak)).map_err(EngineError::Thread)?;
    Ok(())
}

impl Reconciler {
    /// Whether an event shows a change by another program. Fairway's own changes are in the Plan before they are
    /// applied, so they never look so.
    fn is_drift(&self, event: &Event) -> bool {
        let planned = |link: &Link| {
            let (owner, key) = match link.mark() {
                Some(Mark::Network(id)) => (Owner::Network(id), Key::Bridge(link.name.clone())),
                Some(Mark::Endpoint(id)) => (Owner::Endpoint(id), Key::Veth(link.name.clone())),
                None => return false,
            };
            let dummy_parent = Key::DummyParent(link.name.clone());
            let planned = |key| {
                self.committer.state().plan.fragment(owner).is_some_and(|fragment| fragment.contains_key(key))
            };
            planned(&key) || planned(&dummy_parent)
        };
        match event {
            Event::Link(link) if link.mark().is_none() && self.is_uplink_loose(link) => true,
            Event::PortLeft(link) if link.mark().is_none() => {
                self.is_uplink_loose(&Link { master: None, ..link.clone() })
            }
            Event::Address(address) => self.is_at_uplink(address),
            // The kernel does not notify of IPv4 routes that go with their interface.
            Event::Link(link) | Event::LinkGone(link) if link.mark().is_none() => {
                self.committer.read(|world| world.networks().any(|network| !network.peers.is_empty()))
            }
            Event::LinkGone(link) | Event::PortLeft(link) => planned(link),
            Event::Link(link) => self.is_changed(link),
            Event::AddressGone(gone) => self.committer.read(|world| {
                let mut subnets = world.networks().flat_map(|network| &network.subnets);
                subnets.any(|subnet| subnet.gateway == gone.address.addr())
            }),
            Event::RouteGone(route) if route.is_ours() => self.committer.read(|world| {
                let mut peers = world.networks().flat_map(|network| &network.peers);
                peers.any(|peer| peer.subnet == route.destination)
            }),
            Event::Lost => true,
            _ => false,
        }
    }

    /// Whether a link differs from the planned one, as far as the event shows.
    fn is_changed(&self, link: &Link) -> bool {
        let state = self.committer.state();
        let object = |owner, key| state.plan.fragment(owner).and_then(|fragment| fragment.get(&key));
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

    /// Polls what the kernel does not notify of.
    fn poll_settings(&self) {
        self.check_relay();
        if self.sysctls_changed() || self.applier.firewall.differs() {
            self.signals.request_heal();
        }
        if self.legacy_tables_changed() {
            self.scan_foreign_firewalls();
        }
        if self.signals.take_host_changed() || self.host_settings_changed() {
            self.committer.follow_host();
        }
    }

    /// Checks whether the relay answers, and restarts one that has ended.
    fn check_relay(&self) {
        let pid = self.applier.relay.hello().pid;
        let made = match self.applier.relay.look() {
            Health::Answers | Health::Awaited => return,
            Health::Late => {
                return tracing::warn!(pid, "the relay (process {pid}) does not answer");
            }
            Health::Back => {
                tracing::info!(pid, "the relay (process {pid}) answers again; sending it the changes");
                self.applier.catch_up_relay(&*self.committer)
            }
            Health::Gone => {
                tracing::warn!(pid, "restarting the relay: process {pid} has ended");
                self.applier.restart_relay(&*self.committer)
            }
        };
        if let Err(error) = made {
            tracing::error!(%error, "failed to update the relay: {error}; retrying");
        }
    }

    /// Whether settings of the host changed for which the kernel sends no notification. Listing links and routes each
    /// time would take too long on a host with many.
    fn host_settings_changed(&self) -> bool {
        let known = self.committer.read(|world| world.host().clone());
        let mut observed = known.clone();
        // A failure is logged where the change is committed.
        let seen = host_facts::observe_settings(&mut observed, Path::new(RESOLV_CONF));
        seen.is_err() || observed != known
    }

    fn sysctls_changed(&self) -> bool {
        let wanted: Vec<(String, String)> = {
            let state = self.committer.state();
            let mut wanted = Vec::new();
            // The host and the networks sort before all other owners.
            let watched = |owner: &Owner| matches!(owner, Owner::Host | Owner::Network(_));
            let fragments = state.plan.fragments().take_while(|(owner, _)| watched(owner));
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

    /// How long an ended sandbox waits for its exit code. Only sandboxes of `fairway run` have a supervisor that
    /// reports one.
    fn grace(&self, id: SandboxId) -> Duration {
        let ours =
            self.committer.read(|world| world.sandbox(id).is_some_and(|it| it.kind == SandboxKind::Run));
        if ours { EXIT_REPORT_GRACE } else { Duration::ZERO }
    }

    /// Stops ended sandboxes, several in parallel, as clients would.
    fn stop_ended(&self, due: &[SandboxId]) {
        std::thread::scope(|scope| {
            for few in due.chunks(due.len().div_ceil(MAX_PARALLEL_STOPS).max(1)) {
                scope.spawn(|| few.iter().for_each(|id| self.stop(*id)));
            }
        });
    }

    /// Stops an ended sandbox, unless it was stopped or restarted already.
    fn stop(&self, id: SandboxId) {
        if !self.has_ended(id) {
            return;
        }
        let stop = Command::StopSandbox { sandbox: id.to_string(), code: UNKNOWN_EXIT_CODE };
        match self.committer.execute(stop) {
            Ok(_) => {
                tracing::info!(sandbox = %id.short(), "stopped sandbox {}: its process or namespace ended", id.short())
            }
            // Its supervisor was faster.
            Err(EngineError::Refused(reason)) => {
                tracing::debug!(%reason, sandbox = %id.short(), "sandbox {} has stopped already: {reason}", id.short())
            }
            Err(error) => {
                tracing::error!(%error, sandbox = %id.short(), "failed to stop sandbox {}: {error}", id.short())
            }
        }
    }
}

/// Listens to changes of links, addresses and tables.
fn listen(reconciler: &Weak<Reconciler>, links: &Monitor, tables: &nftables::Monitor) {
    let patience = Timespec { tv_sec: 1, tv_nsec: 0 };
    loop {
        let mut descriptors = [PollFd::new(links, PollFlags::IN), PollFd::new(tables, PollFlags::IN)];
        // An interrupted wait finds nothing ready, as the next poll does too.
        let _ = poll(&mut descriptors, Some(&patience));
        let Some(reconciler) = reconciler.upgrade() else { return };
        let drifted = match links.events() {
            Ok(events) => {
                if events.iter().any(host_facts::concerns) {
                    reconciler.signals.host_changed();
                }
                for _ in events.iter().filter(|event| reconciler.concerns_netns_links(event)) {
                    reconciler.signals.request_netns_heal();
                }
                events.iter().any(|event| reconciler.is_drift(event))
            }
            Err(error) => {
                tracing::warn!(%error, "failed to read link notifications: {error}; observing all links");
                reconciler.signals.host_changed();
                true
            }
        };
        let is_ours = |change: &nftables::Change| {
            change.table == fairway_core::policy::TABLE || is_trace_table(&change.table)
        };
        let (ours_changed, foreign_changed) = match tables.drain() {
            Ok(Notifications::Changes(changes)) => {
                let ours = |change: &&nftables::Change| reconciler.applier.firewall.is_disturbed_by(change);
                (changes.iter().any(|it| ours(&it)), changes.iter().any(|change| !is_ours(change)))
            }
            Ok(Notifications::Overflow) => (true, true),
            Err(error) => {
                tracing::warn!(%error, "failed to read nf_tables notifications: {error}; observing all tables");
                (true, true)
            }
        };
        if foreign_changed {
            reconciler.signals.request_foreign_scan();
        }
        if drifted || ours_changed {
            reconciler.signals.request_heal();
        }
    }
}

/// Runs the reconcile loop.
fn run(reconciler: &Weak<Reconciler>) {
    let (mut polled, mut retried) = (Instant::now(), Instant::now());
    let mut audit = NetnsAudit::default();
    let mut guardian = Guardian::default();
    let mut ending: HashMap<SandboxId, Instant> = HashMap::new();
    loop {
        let Some(reconciler) = reconciler.upgrade() else { return };
        let now = Instant::now();
        let due: Vec<SandboxId> = ending.extract_if(|_, due| *due <= now).map(|(id, _)| id).collect();
        reconciler.stop_ended(&due);
        let poll_settings = POLL_INTERVAL.saturating_sub(polled.elapsed());
        let grace = ending.values().min().map_or(POLL_INTERVAL, |due| due.saturating_duration_since(now));
        let rest = poll_settings.min(grace);
        let events = reconciler.signals.wait(rest).unwrap_or_else(|error| {
            tracing::warn!(%error, "failed to wait for ended sandboxes: {error}");
            std::thread::sleep(POLL_INTERVAL);
            Vec::new()
        });
        for event in events {
            match event {
                watch::Event::ProcessEnded(id) | watch::Event::NamespaceGone(id) => {
                    ending.insert(id, Instant::now() + reconciler.grace(id));
                }
                watch::Event::FileChanged(_) => reconciler.committer.follow_host(),
                watch::Event::Woken => {}
            }
        }
        if reconciler.signals.take_foreign_scan() {
            std::thread::sleep(SETTLE_DELAY);
            reconciler.scan_foreign_firewalls();
        }
        if reconciler.signals.take_heal() {
            std::thread::sleep(SETTLE_DELAY);
            for id in reconciler.ended() {
                ending.entry(id).or_insert_with(|| Instant::now() + reconciler.grace(id));
            }
            match reconciler.heal() {
                Ok(Some(drifted)) => reconciler.repairs.remember(reconciler.committer.now(), drifted),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, "failed to repair drift: {error}; retrying in 5 s");
                    reconciler.signals.request_retry();
                }
            }
        }
        if polled.elapsed() >= POLL_INTERVAL {
            reconciler.poll_settings();
            audit.step(&reconciler);
            guardian.step(&reconciler);
            polled = Instant::now();
        }
        if retried.elapsed() >= RETRY_INTERVAL {
            if reconciler.signals.take_memory_release() {
                fairway_kernel::system::release_memory();
            }
            reconciler.signals.start_retry();
            retried = Instant::now();
        }
    }
}
