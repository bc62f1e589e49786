//! The one way that a command takes: decided, prepared, durable, visible, applied; or tried again, or taken back.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use fairway_core::object::{Key, Object};
use fairway_core::world::{Change, Command, Event, Undecided, World};
use fairway_model::{LeaseRequest, MacAddress, PortRange, PublishRequest, SandboxId};
use fairway_relay::table::Record;

use super::effects::Effects;
use super::state::{Decision, Deferred, Findings, NotSubmitted, Snapshot, State};
use super::store::{Receipt, RecordStore};
use super::undo::undo;
use crate::EngineError;
use crate::apply::{Desired, relay_record};
use crate::failpoint::failpoint;
use crate::port_sockets::{BindError, BindReason};

/// How often a command is retried with other random ports.
const PORT_ATTEMPTS: usize = 64;
/// How often another lease is requested when another host has the leased address.
const DECLINES: usize = 3;

/// Carries commands out, each object's and each record's changes in the order of the decisions.
pub(crate) struct Pipeline {
    pub state: Mutex<State>,
    /// Commands share the lock; a reconcile run, which compares everything, excludes them.
    pub reconcile_lock: RwLock<()>,
    pub store: Arc<dyn RecordStore>,
    pub effects: Arc<dyn Effects>,
}

/// A command that is durable, and applied as far as possible.
#[derive(Debug)]
pub(crate) struct Committed {
    pub change: Change,
    /// The events to emit.
    pub events: Vec<Event>,
}

/// Why an attempt at a command ended.
enum Failure {
    /// The command is tried again.
    Retry(Retry),
    /// The command has failed.
    Final(EngineError),
}

/// What has to be done before a command is tried again.
enum Retry {
    /// A random port is in use by another program: leave it out.
    PortTaken(BindError),
    /// Another host on a LAN has an address: decline the lease, or allocate another one.
    AddressInUse { network: String, address: IpAddr, mac: MacAddress, asked: bool },
    /// An endpoint needs a lease: get one.
    LeaseNeeded(Box<LeaseRequest>),
    /// The command was taken back, since the store failed: nothing.
    TakenBack,
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::AddressInUse { network, address, mac, asked } => {
                Self::Retry(Retry::AddressInUse { network, address, mac, asked })
            }
            error => Self::Final(error),
        }
    }
}

impl From<Undecided> for Failure {
    fn from(undecided: Undecided) -> Self {
        match undecided {
            Undecided::Refused(refusal) => Self::Final(refusal.into()),
            Undecided::LeaseNeeded(request) => Self::Retry(Retry::LeaseNeeded(request)),
        }
    }
}

/// What is known of a command from earlier attempts.
#[derive(Default)]
struct Experience {
    findings: Findings,
    /// The interface on which each network's DHCP server is.
    parents: BTreeMap<String, String>,
    declined: usize,
}

/// A place among the commands in progress. It is given up when this is dropped, also by a panic: else those behind
/// would wait for ever.
struct Place<'a> {
    pipeline: &'a Pipeline,
    waiting: Option<u64>,
    decided: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.pipeline.state();
        state.leave(&mut self.waiting);
        if let Some(number) = self.decided {
            state.take_back(number);
        }
    }
}

impl Desired for Pipeline {
    fn relay_records(&self) -> Vec<Record> {
        let plan = self.state().plan().clone();
        plan.objects().filter_map(|(key, object): (&Key, &Object)| relay_record(key, object)).collect()
    }
}

impl Pipeline {
    pub fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panicked left the state whole: everything is computed before anything is assigned.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is durable.
    pub fn durable(&self) -> Snapshot {
        self.state().durable().clone()
    }

    /// Runs a command until it is applied, or has failed for good. No lock is held while leases are requested.
    pub fn run(&self, command: &Command) -> Result<Committed, EngineError> {
        let mut experience = Experience::default();
        loop {
            let attempt = {
                let _shared = self.reconcile_lock.read().unwrap_or_else(PoisonError::into_inner);
                self.attempt(command, &experience.findings)
            };
            let learned = match attempt {
                Ok(committed) => return Ok(committed),
                Err(Failure::Retry(retry)) => self.learn(retry, &mut experience),
                Err(Failure::Final(EngineError::Bind(error))) => Err(self.effects.name_holder(error).into()),
                Err(Failure::Final(error)) => Err(error),
            };
            if let Err(error) = learned {
                self.release_leases(&mut experience);
                return Err(error);
            }
        }
    }

    fn attempt(&self, command: &Command, findings: &Findings) -> Result<Committed, Failure> {
        let (place, decision) = self.decide(command, findings)?;
        self.carry_out(command, place, decision)
    }

    /// Decides a command, behind those that it conflicts with.
    fn decide(&self, command: &Command, findings: &Findings) -> Result<(Place<'_>, Decision), Failure> {
        let mut place = Place { pipeline: self, waiting: None, decided: None };
        loop {
            let now = self.effects.now();
            let decided = self.state().decide(command, findings, now, &mut place.waiting, &*self.store);
            match decided {
                Ok(decision) => {
                    place.decided = Some(decision.number);
                    return Ok((place, decision));
                }
                Err(Deferred::Behind(others)) => others.iter().for_each(|other| other.wait()),
                Err(Deferred::Undecided(undecided)) => return Err(undecided.into()),
                Err(Deferred::Failed(error)) => return Err(error.into()),
            }
        }
    }

    fn carry_out(
        &self,
        command: &Command,
        place: Place<'_>,
        mut decision: Decision,
    ) -> Result<Committed, Failure> {
        decision.turn.wait();
        self.make_durable(&decision)?;
        failpoint("durable");
        let applied = self.effects.apply(&decision.difference, self);
        let Decision { change, events, turn, .. } = decision;
        drop((turn, place));
        match (applied, undo(command, &change)) {
            (Ok(()), _) => {}
            (Err(error), Some(undo)) => {
                let error = EngineError::from(error);
                self.roll_back(&undo, &error);
                return Err(error.into());
            }
            (Err(error), None) => {
                tracing::error!(%error, "failed to apply a change: {error}; retrying");
                self.effects.reconcile_soon();
            }
        }
        Ok(Committed { change, events })
    }

    /// Makes a decided command durable and visible, or takes it back.
    fn make_durable(&self, decision: &Decision) -> Result<(), Failure> {
        let durable = self.submit(decision).and_then(|receipt| {
            failpoint("bound");
            let outcome = receipt.wait();
            let mut state = self.state();
            match outcome {
                Ok(()) => state.make_visible(decision.number),
                Err(error) => {
                    state.store_failed(decision.number, &*self.store);
                    // What others left for this one to do is not done.
                    self.effects.reconcile_soon();
                    return Err(EngineError::from(error).into());
                }
            }
            Ok(())
        });
        durable.inspect_err(|_| self.take_back(decision))
    }

    /// Prepares a decided command and submits its records, unless they were submitted as it was decided.
    fn submit(&self, decision: &Decision) -> Result<Arc<dyn Receipt>, Failure> {
        if let Some(receipt) = &decision.receipt {
            return Ok(Arc::clone(receipt));
        }
        let prepared = self.effects.prepare(&decision.difference, &decision.world);
        prepared.map_err(|error| unprepared(error, decision))?;
        self.state().submit(decision.number, &*self.store).map_err(|reason| match reason {
            NotSubmitted::TakenBack => Failure::Retry(Retry::TakenBack),
            NotSubmitted::Failed(error) => error.into(),
        })
    }

    /// Takes a decided command back that was not applied, and does what others left for it to do, still at its turn.
    fn take_back(&self, decision: &Decision) {
        let (difference, unwanted) = {
            let mut state = self.state();
            (state.take_back(decision.number), state.unwanted(decision))
        };
        self.effects.give_back(&unwanted);
        if let Err(error) = self.effects.apply(&Arc::new(difference), self) {
            tracing::error!(%error, "failed to apply a change: {error}; retrying");
            self.effects.reconcile_soon();
        }
    }

    /// Commits the reverse of a command that is durable, and whose objects could not be made.
    fn roll_back(&self, undo: &Command, reason: &EngineError) {
        tracing::debug!(%reason, ?undo, "rolling a change back: {reason}");
        let undone = loop {
            match self.attempt(undo, &Findings::default()) {
                Err(Failure::Retry(Retry::TakenBack)) => {}
                undone => break undone,
            }
        };
        if let Err(Failure::Final(error)) = undone {
            tracing::error!(%error, "failed to roll a change back: {error}; retrying");
            self.effects.reconcile_soon();
        }
    }

    /// Does what a command needs before it is tried again.
    fn learn(&self, retry: Retry, known: &mut Experience) -> Result<(), EngineError> {
        match retry {
            Retry::TakenBack => Ok(()),
            Retry::PortTaken(error) if known.findings.taken_ports.len() < PORT_ATTEMPTS => {
                known.findings.taken_ports.push(error.address.port());
                Ok(())
            }
            Retry::PortTaken(error) => Err(self.effects.name_holder(error).into()),
            Retry::LeaseNeeded(request) => {
                let lease = self.effects.lease(&request)?;
                known.parents.insert(request.network.clone(), request.parent);
                known.findings.leases.push((request.network, lease));
                Ok(())
            }
            Retry::AddressInUse { network, address, mac, asked } => {
                let leases = &mut known.findings.leases;
                let lent = leases.iter().position(|(_, lease)| IpAddr::V4(lease.address) == address);
                match lent.filter(|_| known.declined < DECLINES).map(|at| leases.remove(at)) {
                    Some((of, lease)) => {
                        known.declined += 1;
                        tracing::warn!(%address, %mac, server = %lease.server, "declined lease of {address}: {mac} on the LAN has the address");
                        known.parents.get(&of).into_iter().for_each(|at| self.effects.decline(at, &lease));
                        Ok(())
                    }
                    None if asked => Err(EngineError::AddressInUse { network, address, mac, asked }),
                    None if self.durable().world.find_network(&network).is_err() => {
                        known.findings.addresses_in_use.push((network, address, mac));
                        Ok(())
                    }
                    None => self.avoid_address(network, address, mac),
                }
            }
        }
    }

    /// Commits that another host has an address, so that the next attempt allocates another one.
    fn avoid_address(&self, network: String, address: IpAddr, mac: MacAddress) -> Result<(), EngineError> {
        tracing::info!(network, %address, %mac, "address conflict on the LAN of network {network}: {address} held by {mac}; allocating another address");
        self.run(&Command::AddressInUse { network, address, mac }).map(drop)
    }

    fn release_leases(&self, known: &mut Experience) {
        for (network, lease) in std::mem::take(&mut known.findings.leases) {
            if let Some(parent) = known.parents.get(&network) {
                self.effects.release(parent, &lease);
            }
        }
    }
}

/// Why a command could not be prepared: a random port that is taken is left out of the next attempt.
fn unprepared(error: EngineError, decision: &Decision) -> Failure {
    match error {
        EngineError::Bind(error) if is_random(&error, decision.change.sandbox, &decision.world) => {
            Failure::Retry(Retry::PortTaken(error))
        }
        error => error.into(),
    }
}

/// Whether the port that another program has was chosen at random.
fn is_random(error: &BindError, sandbox: Option<SandboxId>, world: &World) -> bool {
    let BindError { address, protocol, reason: BindReason::InUse } = error else { return false };
    let exact = |range: &PortRange, request: &PublishRequest| {
        range.len() == request.container_ports.len() && range.contains(address.port())
    };
    let requests = sandbox.and_then(|id| world.sandbox(id)).into_iter().flat_map(|it| &it.options.publish);
    let mut of_protocol = requests.filter(|request| request.protocol == *protocol);
    !of_protocol.any(|request| request.host_ports.as_ref().is_some_and(|range| exact(range, request)))
}

#[cfg(test)]
mod tests;
