//! From a command to a World that is durable and a kernel that follows it.

pub(crate) mod events;
pub(crate) mod exit_waiters;
pub(crate) mod ordering;
mod reconfigure;
pub(crate) mod stop;

use std::net::SocketAddr;

use fairway_core::object::{Difference, Fragment, Key, Object, SocketUse};
use fairway_core::plan::refresh;
use fairway_core::world::{Change, Command, Event, EventRecorder};
use fairway_kernel::route::Links;
use fairway_model::Owner;
use fairway_model::{
    Lease, NetworkId, PortRange, Protocol, Publication, PublishRequest, SandboxId, SandboxKind, SandboxState,
    UnpublishRequest,
};

use crate::commit::ordering::Turn;
use crate::failpoint::failpoint;
use crate::port_sockets::{BindError, BindReason};
use crate::reconcile::leases::Leases;
use crate::{ApplyError, Engine, EngineError};

/// How often a start is tried with other random ports before it is given up.
const PORT_ATTEMPTS: usize = 64;

/// A command that the World has accepted and that is not carried out yet.
pub(crate) struct Decision {
    pub change: Change,
    pub difference: Difference,
    turn: Turn,
    /// What takes it back.
    undo: Option<Undo>,
    /// The exit code of the sandbox that it stops or removes.
    exit_code: Option<i32>,
    /// What is told once it is done.
    events: Vec<Event>,
}

/// What takes a command back, as soon as the sandbox that it was about is known.
enum Undo {
    Command(Command),
    /// A start that could not be carried out.
    CancelStart,
    /// A sandbox that was made and started at once.
    Detach,
    /// Ports that were published of one that runs.
    Unpublish,
}

/// The objects that others rely upon: a veth pair needs its bridge, a macvlan its parent.
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

/// The ports that have to be bound for a difference.
pub(crate) fn sockets(difference: &Difference) -> impl Iterator<Item = (Protocol, SocketAddr, &SocketUse)> {
    difference.wanted().filter_map(|(key, object)| match (key, object) {
        (Key::Socket(protocol, address), Object::Socket(socket)) => {
            Some((*protocol, *address, &socket.purpose))
        }
        _ => None,
    })
}

/// The ports that a command does without, if it is one that may choose ports.
fn avoided(command: &mut Command) -> Option<&mut Vec<u16>> {
    match command {
        Command::StartSandbox { avoid, .. }
        | Command::Attach { avoid, .. }
        | Command::Publish { avoid, .. } => Some(avoid),
        _ => None,
    }
}

impl Engine {
    /// Carries out a command: the World is asked, the change is made durable, and the kernel is
    /// made to follow. Blocks until all of it is in force.
    ///
    /// # Errors
    /// The World's refusal, or what stood in the way; nothing is left of the attempt.
    pub fn execute(&self, command: Command) -> Result<Change, EngineError> {
        let changes_bridges = matches!(
            command,
            Command::CreateNetwork(_) | Command::RemoveNetwork { .. } | Command::Configure { .. }
        );
        let integrates = || self.read(|world| world.settings().firewall_integration);
        let before = changes_bridges && integrates();
        let outcome = self.execute_alone(command);
        for warning in outcome.iter().filter(|_| changes_bridges).flat_map(|change| &change.warnings) {
            tracing::warn!("{warning}");
        }
        if changes_bridges && outcome.is_ok() && (before || integrates()) {
            // What was placed in tables of others is for the bridges that there are.
            self.scan_foreign_firewalls();
        }
        outcome
    }

    fn execute_alone(&self, command: Command) -> Result<Change, EngineError> {
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

    /// Carries out a command with the leases that it is known to need. Nobody is kept waiting while those are asked
    /// for.
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

    /// Carries out a command that publishes or joins networks, with other random ports for as long as other programs
    /// have them, and other addresses for as long as somebody on a LAN has them.
    fn with_free_ports(
        &self,
        command: &Command,
        leases: &[(NetworkId, Lease)],
    ) -> Result<Change, EngineError> {
        let mut taken = Vec::new();
        loop {
            let mut attempt = command.clone();
            if let Some(avoid) = avoided(&mut attempt) {
                avoid.extend(&taken);
            }
            let decision = self.decide_with(attempt, leases)?;
            let requests = self.publish_requests(decision.change.sandbox);
            match self.carry_out(decision) {
                Err(EngineError::Bind(BindError { address, protocol, reason: BindReason::InUse }))
                    if taken.len() < PORT_ATTEMPTS && is_random(&requests, protocol, address.port()) =>
                {
                    taken.push(address.port());
                }
                Err(EngineError::Bind(error)) => return Err(EngineError::Bind(self.named(error))),
                Err(EngineError::AddressInUse { network, address, mac, asked: false }) => {
                    tracing::info!(network, %address, %mac, "somebody on the LAN has it; another one is taken");
                    self.carry_out(self.decide(Command::AddressInUse { network, address, mac })?)?;
                }
                outcome => return outcome,
            }
        }
    }

    /// Says who has a port that cannot be bound.
    fn named(&self, error: BindError) -> BindError {
        let error = error.named();
        if self.relay.answers() { error } else { error.with_late_relay(self.relay.hello().pid) }
    }

    fn publish_requests(&self, sandbox: Option<SandboxId>) -> Vec<PublishRequest> {
        self.read(|world| {
            let sandbox = sandbox.and_then(|id| world.sandbox(id));
            sandbox.map(|sandbox| sandbox.options.publish.clone()).unwrap_or_default()
        })
    }

    /// Asks the World, and finds what has to be done.
    pub(crate) fn decide(&self, command: Command) -> Result<Decision, EngineError> {
        self.decide_with(command, &[])
    }

    fn decide_with(&self, command: Command, leases: &[(NetworkId, Lease)]) -> Result<Decision, EngineError> {
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
        let change = state.world.apply_with(command, leases, self.now(), &mut state.rng)?;
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

    /// Does what was decided: binds ports, makes the change durable, makes the kernel follow.
    pub(crate) fn carry_out(&self, mut decision: Decision) -> Result<Change, EngineError> {
        decision.turn.wait();
        let done = self.follow_through(&decision);
        self.release_memory_of(&decision.difference);
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
                self.take_back(undo, &error);
                Err(error)
            }
            // What is not durable must not be called done. The next daemon starts from what is.
            (Err(error @ EngineError::Store(_)), None) => Err(error),
            (Err(error), None) => {
                tracing::error!(%error, "a change could not be carried out as planned; it is tried again");
                self.request_netns_heal();
                self.events.emit(events, self.now());
                self.watch_sandbox(&change);
                self.notify_exit(&change, exit_code);
                Ok(change)
            }
        }
    }

    fn follow_through(&self, decision: &Decision) -> Result<(), EngineError> {
        self.ports.bind_all(sockets(&decision.difference))?;
        bridges_can_be_named(&decision.difference)?;
        self.probe(&decision.difference)?;
        failpoint("bound");
        self.make_durable(&decision.change)?;
        failpoint("durable");
        Ok(self.apply(&decision.difference)?)
    }

    /// Commits a smaller World and reconciles to it.
    fn take_back(&self, undo: Command, reason: &EngineError) {
        tracing::debug!(%reason, ?undo, "taking a change back");
        let undone = self.decide(undo).and_then(|mut decision| {
            decision.turn.wait();
            self.make_durable(&decision.change)?;
            self.apply(&decision.difference).map_err(EngineError::from)
        });
        if let Err(error) = undone {
            tracing::error!(%error, "a change could not be taken back as planned; it is tried again");
            self.request_netns_heal();
        }
    }

    fn make_durable(&self, change: &Change) -> Result<(), EngineError> {
        let ticket = {
            // The records are those of this moment, in the order of the store: a later one is never
            // overwritten by an earlier one.
            let state = self.state();
            let mut stored = fairway_store::Change::default();
            for key in &change.records {
                match state.world.record(*key) {
                    Some(record) => stored.put.push((key.text(), encode(&record))),
                    None => stored.delete.push(key.text()),
                }
            }
            self.store.submit(stored)
        };
        Ok(ticket.wait()?)
    }

    /// Tells whoever waits for the end of a sandbox.
    fn notify_exit(&self, change: &Change, code: Option<i32>) {
        if let (Some(sandbox), Some(code)) = (change.sandbox, code) {
            self.exit_waiters.notify(sandbox, code);
        }
    }

    /// Starts or stops watching for the end of the sandbox that a change was about.
    fn watch_sandbox(&self, change: &Change) {
        let Some(id) = change.sandbox else { return };
        // Between looking and doing nobody else may do what follows from a later look.
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
                let published = named.map(|name| crate::apply::etc_netns::publish(&name, id, &self.files));
                if let Some(Err(error)) = published {
                    tracing::warn!(%error, "`ip netns exec` will show the host's own files");
                }
            }
            None => {
                self.signals.forget(id);
                if self.read(|world| world.sandbox(id).is_none()) {
                    self.files.forget(id);
                    crate::apply::etc_netns::tidy();
                }
            }
        }
    }
}

impl crate::State {
    /// Makes the fragments of `owners` anew and says what became other.
    pub(crate) fn follow(&mut self, owners: &std::collections::BTreeSet<Owner>) -> Difference {
        let mut before = Fragment::new();
        for owner in owners {
            if let Some(fragment) = self.plan.remove(owner) {
                before.extend(fragment);
            }
        }
        refresh(&mut self.plan, &self.world, owners.iter().copied());
        let mut after = Fragment::new();
        for owner in owners {
            if let Some(fragment) = self.plan.get(owner) {
                after.extend(fragment.iter().map(|(key, object)| (key.clone(), object.clone())));
            }
        }
        Difference::between(before, after)
    }
}

/// Only the kernel knows whether a link of somebody else has the name of a new bridge.
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

pub(crate) fn encode(record: &fairway_core::world::Record) -> Vec<u8> {
    // Records are plain structures with string keys: there is nothing that JSON cannot say.
    serde_json::to_vec(record).unwrap_or_default()
}

/// What takes a command back, where that can be said before it is carried out. What only makes
/// things fewer is not taken back: it is finished later.
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
            // One that is attached is forgotten when it stops.
            Self::Detach => sandbox.map(|sandbox| Command::StopSandbox { sandbox, code: 0 }),
            Self::Unpublish => sandbox.map(|sandbox| Command::Unpublish {
                sandbox,
                requests: change.published.iter().flat_map(exactly).collect(),
            }),
        }
    }
}

/// What takes one publication back and no other, port by port: those are looked up, ranges are compared.
fn exactly(publication: &Publication) -> impl Iterator<Item = UnpublishRequest> {
    let Publication { host_address, host_ports, protocol, .. } = *publication;
    host_ports.iter().map(move |port| UnpublishRequest {
        host_address: Some(host_address),
        host_ports: Some(PortRange::single(port)),
        container_ports: None,
        protocol,
    })
}

/// Whether it was left to us to choose this port.
fn is_random(requests: &[PublishRequest], protocol: Protocol, port: u16) -> bool {
    let exact = |range: &PortRange, request: &PublishRequest| {
        range.len() == request.container_ports.len() && range.contains(port)
    };
    !requests.iter().any(|request| {
        request.protocol == protocol && request.host_ports.as_ref().is_some_and(|range| exact(range, request))
    })
}
