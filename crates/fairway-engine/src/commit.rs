//! Commits commands: decides them on the World, makes the change durable, and has it applied.

mod address_probe;
pub(crate) mod events;
pub(crate) mod exit_waiters;
pub(crate) mod host;
pub(crate) mod leases;
pub(crate) mod ordering;
mod reconfigure;
pub(crate) mod records;
pub(crate) mod stop;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use fairway_core::object::{Difference, Key, Object};
use fairway_core::plan::Plan;
use fairway_core::world::{
    Change, Command, Context, CreateNetwork, Draft, Event, EventRecorder, PARENT_OPTION, World,
};
use fairway_kernel::route::Links;
use fairway_model::{
    Lease, NetworkId, Owner, PortRange, Protocol, Publication, PublishRequest, Rng, SandboxId, SandboxKind,
    SandboxState, UnpublishRequest,
};
use fairway_relay::table::Record;
use fairway_store::Store;

use crate::apply::{Applier, Desired, etc_netns, relay_record};
use crate::failpoint::failpoint;
use crate::port_sockets::{BindError, BindReason, sockets};
use crate::signals::Signals;
use crate::{ApplyError, EngineError};
use events::Events;
use exit_waiters::ExitWaiters;
use leases::Leases;
use ordering::{Ordering, Turn};
use records::encode;

/// The World, its Plan, and the order of the changes in progress.
pub(crate) struct State {
    pub world: World,
    pub plan: Plan,
    pub rng: Rng,
    pub ordering: Ordering,
    /// The size of the ordering at which finished changes are dropped from it.
    pub tidy_at: usize,
}

/// Decides commands, makes them durable and has them applied, each object's changes in the order of the decisions.
pub(crate) struct Committer {
    pub state: Mutex<State>,
    /// Commands share the lock; a reconcile run, which compares everything, excludes them.
    pub reconcile_lock: RwLock<()>,
    pub store: Store,
    pub applier: Arc<Applier>,
    pub signals: Arc<Signals>,
    pub exit_waiters: ExitWaiters,
    pub events: Events,
    /// The routes of the host that were reported to overlap a network: network and route.
    pub overlapping_routes: Mutex<BTreeSet<(String, String)>>,
}

/// Nanoseconds since 1970, by the clock of the host.
#[expect(clippy::disallowed_methods, reason = "the wall clock of the engine")]
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

impl Desired for Committer {
    fn relay_records(&self) -> Vec<Record> {
        let state = self.state();
        let objects = state.plan.objects();
        objects.filter_map(|(key, object)| relay_record(key, object)).collect()
    }
}

/// From so many objects on, memory is returned to the system after a change: about ten megabytes.
const LARGE: usize = 10_000;
/// How often a command is retried with other random ports.
const PORT_ATTEMPTS: usize = 64;

/// A command that the World has accepted and that is not applied yet.
pub(crate) struct Decision {
    pub change: Change,
    pub difference: Difference,
    turn: Turn,
    /// The command that rolls it back.
    undo: Option<Undo>,
    /// The exit code of the sandbox that the command stops or removes.
    exit_code: Option<i32>,
    /// The events to emit after it is applied.
    events: Vec<Event>,
}

/// How to roll a command back, once its sandbox is known.
enum Undo {
    Command(Command),
    /// Reverts a start.
    CancelStart,
    /// Stops a sandbox that was created and started at once.
    Detach,
    /// Unpublishes ports of a running sandbox.
    Unpublish,
}

/// The objects that the new ones depend on: the bridge of a veth pair, the parent of a macvlan.
fn relied_upon(difference: &Difference) -> Vec<Key> {
    let mut bridges: Vec<Key> = difference
        .wanted()
        .filter_map(|(_, object)| match object {
            Object::Veth(link) => Some(Key::Bridge(link.bridge.clone())),
            Object::Macvlan(macvlan) => Some(Key::DummyParent(macvlan.parent.clone())),
            _ => None,
        })
        .collect();
    bridges.dedup();
    bridges
}

impl Committer {
    /// Reads the World.
    pub fn read<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(&self.state().world)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panicked left a World that is whole: commands are checked before they
        // change it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nanoseconds since 1970.
    pub fn now(&self) -> i64 {
        now()
    }

    /// Forgets the files of sandboxes that are no longer in the World.
    pub fn tidy_files(&self) {
        let gone: Vec<_> = {
            let state = self.state();
            self.applier
                .files
                .sandboxes()
                .into_iter()
                .filter(|id| state.world.sandbox(*id).is_none())
                .collect()
        };
        gone.into_iter().for_each(|id| self.applier.files.forget(id));
        etc_netns::tidy();
    }

    /// Completes a request with the state of the interface that it names.
    fn with_parent(&self, mut request: CreateNetwork) -> Result<CreateNetwork, ApplyError> {
        let Some(parent) = request.options.get(PARENT_OPTION) else { return Ok(request) };
        match request.driver.as_str() {
            "lan" => request.uplink = self.applier.links(|links| links.uplink(parent))?.map(Box::new),
            "macvlan" => request.parent = self.applier.links(|links| links.macvlan_parent(parent))?,
            _ => {}
        }
        Ok(request)
    }

    pub fn execute(&self, command: Command) -> Result<Change, EngineError> {
        if matches!(command, Command::CreateNetwork(_)) {
            // Its subnet must not meet a route that the host has had for a moment only.
            self.follow_host();
        }
        let command = match command {
            Command::CreateNetwork(request) => Command::CreateNetwork(self.with_parent(request)?),
            other => other,
        };
        let mut leases = Leases::default();
        loop {
            match self.execute_with(&command, leases.had()) {
                Err(failure) if self.lease_after(&failure, &mut leases)? => {}
                outcome => return outcome,
            }
        }
    }

    /// Runs a command with the leases that it is known to need. No lock is held while leases are requested.
    fn execute_with(&self, command: &Command, leases: &[(NetworkId, Lease)]) -> Result<Change, EngineError> {
        let _shared = self.reconcile_lock.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        match command {
            Command::StartSandbox { .. }
            | Command::Attach { .. }
            | Command::Publish { .. }
            | Command::Connect { .. } => self.with_free_ports(command, leases),
            command => self.carry_out(self.decide(command.clone())?),
        }
    }

    /// Runs a command that publishes ports or joins networks; retries with other random ports while they are in use by
    /// other programs, and with other addresses while other hosts of a LAN have them.
    fn with_free_ports(
        &self,
        command: &Command,
        leases: &[(NetworkId, Lease)],
    ) -> Result<Change, EngineError> {
        let mut taken = Vec::new();
        loop {
            let decision = self.decide_with(command.clone(), leases, &taken)?;
            let requests = self.publish_requests(decision.change.sandbox);
            match self.carry_out(decision) {
                Err(EngineError::Bind(BindError { address, protocol, reason: BindReason::InUse }))
                    if taken.len() < PORT_ATTEMPTS && is_random(&requests, protocol, address.port()) =>
                {
                    taken.push(address.port());
                }
                Err(EngineError::Bind(error)) => return Err(EngineError::Bind(self.named(error))),
                Err(EngineError::AddressInUse { network, address, mac, asked: false }) => {
                    tracing::info!(network, %address, %mac, "address conflict on the LAN of network {network}: {address} held by {mac}; allocating another address");
                    self.carry_out(self.decide(Command::AddressInUse { network, address, mac })?)?;
                }
                outcome => return outcome,
            }
        }
    }

    /// Names the program that has a port which cannot be bound.
    fn named(&self, error: BindError) -> BindError {
        let error = error.named();
        if self.applier.relay.answers() {
            error
        } else {
            error.with_late_relay(self.applier.relay.hello().pid)
        }
    }

    fn publish_requests(&self, sandbox: Option<SandboxId>) -> Vec<PublishRequest> {
        self.read(|world| {
            let sandbox = sandbox.and_then(|id| world.sandbox(id));
            sandbox.map(|sandbox| sandbox.options.publish.clone()).unwrap_or_default()
        })
    }

    /// Decides a command on the World and computes the difference of the Plan.
    pub(crate) fn decide(&self, command: Command) -> Result<Decision, EngineError> {
        self.decide_with(command, &[], &[])
    }

    fn decide_with(
        &self,
        command: Command,
        leases: &[(NetworkId, Lease)],
        avoided_ports: &[u16],
    ) -> Result<Decision, EngineError> {
        let undo = undo_of(&command);
        let exit_code = match &command {
            Command::StopSandbox { code, .. } => Some(*code),
            // Also one that never ran may be waited for.
            Command::RemoveSandbox { .. } => Some(0),
            _ => None,
        };
        let mut guard = self.state();
        let state = &mut *guard;
        let before = EventRecorder::before(&state.world, &command);
        let mut context = Context { now: self.now(), rng: &mut state.rng, leases, avoided_ports };
        let Draft { world, change } = state.world.decide(command, &mut context)?;
        state.world = world;
        let events = before.events(&state.world, &change);
        let difference = state.follow(&change.owners);
        let relied_upon = relied_upon(&difference);
        let turn = state.ordering.turn(difference.keys(), &relied_upon);
        if state.ordering.len() > state.tidy_at {
            state.ordering.tidy();
            state.tidy_at = 1024 + 2 * state.ordering.len();
        }
        Ok(Decision { change, difference, turn, undo, exit_code, events })
    }

    /// Applies a decision: binds ports, makes the change durable, applies the difference. Rolls back on failure.
    pub(crate) fn carry_out(&self, mut decision: Decision) -> Result<Change, EngineError> {
        decision.turn.wait();
        let done = self.enact(&decision);
        if decision.difference.keys().nth(LARGE).is_some() {
            self.signals.request_memory_release();
        }
        let Decision { change, turn, undo, exit_code, events, .. } = decision;
        drop(turn);
        match (done, undo.and_then(|undo| undo.command(&change))) {
            (Ok(()), _) => {
                self.events.emit(events, self.now());
                self.watch_sandbox(&change);
                self.notify_exit(&change, exit_code);
                Ok(change)
            }
            (Err(error), Some(undo)) => {
                self.roll_back(undo, &error);
                Err(error)
            }
            // A change that is not durable must not be acknowledged. The next daemon starts from the store.
            (Err(error @ EngineError::Store(_)), None) => Err(error),
            (Err(error), None) => {
                tracing::error!(%error, "failed to apply a change: {error}; retrying");
                self.signals.request_netns_heal();
                self.events.emit(events, self.now());
                self.watch_sandbox(&change);
                self.notify_exit(&change, exit_code);
                Ok(change)
            }
        }
    }

    fn enact(&self, decision: &Decision) -> Result<(), EngineError> {
        self.applier.ports.bind_all(sockets(&decision.difference))?;
        bridges_can_be_named(&decision.difference)?;
        self.probe(&decision.difference)?;
        failpoint("bound");
        self.make_durable(&decision.change)?;
        failpoint("durable");
        Ok(self.applier.apply(&decision.difference, self)?)
    }

    /// Commits the reverse command and applies it.
    fn roll_back(&self, undo: Command, reason: &EngineError) {
        tracing::debug!(%reason, ?undo, "rolling a change back: {reason}");
        let undone = self.decide(undo).and_then(|mut decision| {
            decision.turn.wait();
            self.make_durable(&decision.change)?;
            self.applier.apply(&decision.difference, self).map_err(EngineError::from)
        });
        if let Err(error) = undone {
            tracing::error!(%error, "failed to roll a change back: {error}; retrying");
            self.signals.request_netns_heal();
        }
    }

    fn make_durable(&self, change: &Change) -> Result<(), EngineError> {
        let ticket = {
            // The records are those of this moment, submitted in order: an older record never overwrites a newer one.
            let state = self.state();
            let mut stored = fairway_store::Change::default();
            for key in &change.records {
                match state.world.record(*key) {
                    Some(record) => stored.put.push((key.text(), encode(*key, &record)?)),
                    None => stored.delete.push(key.text()),
                }
            }
            self.store.submit(stored)
        };
        Ok(ticket.wait()?)
    }

    /// Sends the exit code to the waiters of the sandbox.
    fn notify_exit(&self, change: &Change, code: Option<i32>) {
        if let (Some(sandbox), Some(code)) = (change.sandbox, code) {
            self.exit_waiters.notify(sandbox, code);
        }
    }

    /// Watches the sandbox of a change while it runs.
    fn watch_sandbox(&self, change: &Change) {
        let Some(id) = change.sandbox else { return };
        // No other thread may change the watch between the read of the state and the watch.
        let _exclusive = self.signals.exclusive();
        let running = self.read(|world| {
            world.sandbox(id).and_then(|sandbox| match &sandbox.state {
                SandboxState::Running { process, namespace, .. } => {
                    let named = (sandbox.kind == SandboxKind::Created).then(|| sandbox.name.clone());
                    Some((*process, namespace.clone(), named))
                }
                _ => None,
            })
        });
        match running {
            Some((process, namespace, named)) => {
                self.signals.watch(id, process, namespace.as_ref());
                let published = named.map(|name| etc_netns::publish(&name, id, &self.applier.files));
                if let Some(Err(error)) = published {
                    tracing::warn!(%error, "failed to link /etc/netns files: {error}; `ip netns exec` shows the host's own");
                }
            }
            None => {
                self.signals.forget(id);
                if self.read(|world| world.sandbox(id).is_none()) {
                    self.applier.files.forget(id);
                    etc_netns::tidy();
                }
            }
        }
    }
}

impl State {
    /// Refreshes the fragments of `owners` and returns the difference.
    pub(crate) fn follow(&mut self, owners: &BTreeSet<Owner>) -> Difference {
        let before = self.plan.clone();
        self.plan.refresh(&self.world, owners.iter().copied());
        before.difference(owners, &self.plan)
    }
}

/// Checks that no foreign link has the name of a new bridge.
fn bridges_can_be_named(difference: &Difference) -> Result<(), ApplyError> {
    for object in difference.added.values() {
        match object {
            Object::Bridge(bridge) if bridge.adopted => {
                Links::open()?.user_bridge(&bridge.name)?;
            }
            Object::Bridge(bridge) => Links::open()?.check_name(&bridge.name)?,
            _ => {}
        }
    }
    Ok(())
}

/// The reverse of a command, as far as it is known before. Commands that only remove objects have none: they are
/// finished later.
fn undo_of(command: &Command) -> Option<Undo> {
    match command {
        Command::StartSandbox { .. } => Some(Undo::CancelStart),
        Command::Attach { .. } => Some(Undo::Detach),
        Command::Publish { .. } => Some(Undo::Unpublish),
        Command::Connect { network, sandbox, .. } => {
            Some(Undo::Command(Command::Disconnect { network: network.clone(), sandbox: sandbox.clone() }))
        }
        Command::CreateNetwork(request) => {
            Some(Undo::Command(Command::RemoveNetwork { network: request.name.clone() }))
        }
        _ => None,
    }
}

impl Undo {
    fn command(self, change: &Change) -> Option<Command> {
        let sandbox = change.sandbox.map(|id| id.to_string());
        match self {
            Self::Command(command) => Some(command),
            Self::CancelStart => sandbox.map(|sandbox| Command::CancelStart { sandbox }),
            // An attached sandbox is removed when it stops.
            Self::Detach => sandbox.map(|sandbox| Command::StopSandbox { sandbox, code: 0 }),
            Self::Unpublish => sandbox.map(|sandbox| Command::Unpublish {
                sandbox,
                requests: change.published.iter().flat_map(unpublish_exactly).collect(),
            }),
        }
    }
}

/// The requests that unpublish unpublish_exactly one publication, port by port: single ports are looked up, ranges are compared.
fn unpublish_exactly(publication: &Publication) -> impl Iterator<Item = UnpublishRequest> {
    let Publication { host_address, host_ports, protocol, .. } = *publication;
    host_ports.iter().map(move |port| UnpublishRequest {
        host_address: Some(host_address),
        host_ports: Some(PortRange::single(port)),
        container_ports: None,
        protocol,
    })
}

/// Whether this port was chosen at random.
fn is_random(requests: &[PublishRequest], protocol: Protocol, port: u16) -> bool {
    let exact = |range: &PortRange, request: &PublishRequest| {
        range.len() == request.container_ports.len() && range.contains(port)
    };
    !requests.iter().any(|request| {
        request.protocol == protocol && request.host_ports.as_ref().is_some_and(|range| exact(range, request))
    })
}
