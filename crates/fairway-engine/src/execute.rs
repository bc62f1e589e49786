//! From a command to a World that is durable and a kernel that follows it.

use std::net::SocketAddr;

use fairway_core::model::{Protocol, SandboxState};
use fairway_core::plan::{Difference, Fragment, Key, Object, Owner, SocketUse, refresh};
use fairway_core::world::{Change, Command};

use crate::ordering::Turn;
use crate::port_sockets::{BindError, BindReason};
use crate::{Engine, EngineError};

/// How often a start is tried with other random ports before it is given up.
const PORT_ATTEMPTS: usize = 64;

/// A command that the World has accepted and that is not carried out yet.
pub(crate) struct Decision {
    pub change: Change,
    pub difference: Difference,
    turn: Turn,
    /// What takes it back.
    undo: Option<Command>,
}

/// The objects that others rely upon: a veth pair needs its bridge.
fn relied_upon(difference: &Difference) -> Vec<Key> {
    let mut bridges: Vec<Key> = difference
        .wanted()
        .filter_map(|(_, object)| match object {
            Object::Veth(link) => Some(Key::Bridge(link.bridge.clone())),
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

impl Engine {
    /// Carries out a command: the World is asked, the change is made durable, and the kernel is
    /// made to follow. Blocks until all of it is in force.
    ///
    /// # Errors
    /// The World's refusal, or what stood in the way; nothing is left of the attempt.
    pub fn execute(&self, command: Command) -> Result<Change, EngineError> {
        let _calm = self.calm.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        match command {
            Command::StartSandbox { sandbox, process, namespace, avoid } => {
                self.start(avoid, |avoid| Command::StartSandbox {
                    sandbox: sandbox.clone(),
                    process,
                    namespace: namespace.clone(),
                    avoid,
                })
            }
            command => {
                let decision = self.decide(command)?;
                self.carry_out(decision)
            }
        }
    }

    /// Starts a sandbox, with other random ports for as long as other programs have them.
    fn start(
        &self,
        mut avoid: Vec<u16>,
        command: impl Fn(Vec<u16>) -> Command,
    ) -> Result<Change, EngineError> {
        loop {
            let decision = self.decide(command(avoid.clone()))?;
            let sandbox = decision.change.sandbox;
            match self.carry_out(decision) {
                Err(EngineError::Bind(BindError { address, protocol, reason: BindReason::InUse }))
                    if avoid.len() < PORT_ATTEMPTS
                        && self.is_random_port(sandbox, protocol, address.port()) =>
                {
                    avoid.push(address.port());
                }
                outcome => return outcome,
            }
        }
    }

    /// Whether a sandbox left it to us to choose this port.
    fn is_random_port(
        &self,
        sandbox: Option<fairway_core::model::SandboxId>,
        protocol: Protocol,
        port: u16,
    ) -> bool {
        self.read(|world| {
            let sandbox = sandbox.and_then(|id| world.sandbox(id));
            sandbox.is_some_and(|sandbox| {
                !sandbox.options.publish.iter().any(|request| {
                    let exact = |range: &fairway_core::model::PortRange| {
                        range.len() == request.container_ports.len() && range.contains(port)
                    };
                    request.protocol == protocol && request.host_ports.as_ref().is_some_and(exact)
                })
            })
        })
    }

    /// Asks the World, and finds what has to be done.
    pub(crate) fn decide(&self, command: Command) -> Result<Decision, EngineError> {
        let undo = undo_of(&command);
        let mut guard = self.state();
        let state = &mut *guard;
        let change = state.world.apply(command, self.now(), &mut state.draw)?;
        let difference = state.follow(&change.owners);
        let relied_upon = relied_upon(&difference);
        let turn = state.ordering.turn(difference.keys(), &relied_upon);
        if state.ordering.len() > state.tidy_at {
            state.ordering.tidy();
            state.tidy_at = 1024 + 2 * state.ordering.len();
        }
        Ok(Decision { change, difference, turn, undo })
    }

    /// Does what was decided: binds ports, makes the change durable, makes the kernel follow.
    pub(crate) fn carry_out(&self, mut decision: Decision) -> Result<Change, EngineError> {
        decision.turn.wait();
        let done = self
            .ports
            .bind_all(sockets(&decision.difference))
            .map_err(EngineError::from)
            .and_then(|()| self.make_durable(&decision.change))
            .and_then(|()| self.apply(&decision.difference).map_err(EngineError::from));
        let Decision { change, turn, undo, .. } = decision;
        drop(turn);
        match (done, undo) {
            (Ok(()), _) => {
                self.watch_sandbox(&change);
                Ok(change)
            }
            (Err(error), Some(undo)) => {
                self.take_back(undo, &error);
                Err(error)
            }
            (Err(error), None) => {
                tracing::error!(%error, "a change could not be carried out as planned; it is tried again");
                self.heal_soon();
                self.watch_sandbox(&change);
                Ok(change)
            }
        }
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
            self.heal_soon();
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

    /// Starts or stops watching for the end of the sandbox that a change was about.
    fn watch_sandbox(&self, change: &Change) {
        let Some(id) = change.sandbox else { return };
        let running = self.read(|world| {
            world.sandbox(id).and_then(|sandbox| match &sandbox.state {
                SandboxState::Running { process, namespace, .. } => Some((*process, namespace.clone())),
                _ => None,
            })
        });
        match running {
            Some((process, namespace)) => self.ends.watch(id, process, namespace.as_ref()),
            None => {
                self.ends.forget(id);
                if self.read(|world| world.sandbox(id).is_none()) {
                    self.files.forget(id);
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

pub(crate) fn encode(record: &fairway_core::world::Record) -> Vec<u8> {
    // Records are plain structures with string keys: there is nothing that JSON cannot say.
    serde_json::to_vec(record).unwrap_or_default()
}

/// What takes a command back, where that can be said before it is carried out. What only makes
/// things fewer is not taken back: it is finished later.
fn undo_of(command: &Command) -> Option<Command> {
    match command {
        Command::StartSandbox { sandbox, .. } => Some(Command::AbandonStart { sandbox: sandbox.clone() }),
        Command::Connect { network, sandbox, .. } => {
            Some(Command::Disconnect { network: network.clone(), sandbox: sandbox.clone() })
        }
        Command::CreateNetwork(request) => Some(Command::RemoveNetwork { network: request.name.clone() }),
        _ => None,
    }
}
