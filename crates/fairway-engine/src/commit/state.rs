//! Which commands are decided, and which of them are durable.
//!
//! A command is decided on the head, which has every decided command. It becomes visible to readers when its records
//! are durable. Until then it may be taken back: because a port cannot be bound, or because the store cannot be
//! written. A command waits for those in progress whose records it writes or rests on; a refusal has to hold for what
//! is durable too. What a command frees may be given to the next one at once: a command that only frees is submitted
//! to the store as it is decided, and the durable changes are a prefix of the submitted ones.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use fairway_core::object::{Difference, Key, Object};
use fairway_core::plan::Plan;
use fairway_core::world::{
    Change, Command, Context, Draft, Event, EventRecorder, Footprint, HostState, Record, RecordKey,
    Undecided, World,
};
use fairway_model::{Lease, MacAddress, Protocol, Rng};

use super::ordering::{Done, Ordering, Turn};
use super::records::encode;
use super::store::{Receipt, RecordStore};
use crate::EngineError;

/// A World and the Plan that follows from it. A clone costs the same for any number of objects.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub world: World,
    pub plan: Plan,
}

/// What was found out by trying a command: it is decided again with this.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// The leases of the command's endpoints, each with the name of its network.
    pub leases: Vec<(String, Lease)>,
    /// Addresses that other hosts on the LAN of a network have which the command makes, each with the network's name.
    pub addresses_in_use: Vec<(String, IpAddr, MacAddress)>,
    /// Ports that other programs have.
    pub taken_ports: Vec<u16>,
}

/// The Worlds of the decided and of the durable commands, and the commands in between.
pub(crate) struct State {
    /// With all decided commands: the next one is decided on it.
    head: Snapshot,
    /// With the durable commands: readers see it.
    durable: Snapshot,
    rng: Rng,
    ordering: Ordering,
    /// The commands in progress, in the order in which they came.
    entries: Vec<Entry>,
    /// The number of the last entry.
    number: u64,
    /// The size of the ordering at which finished changes are dropped from it.
    tidy_at: usize,
}

/// A command in progress.
struct Entry {
    number: u64,
    footprint: Footprint,
    /// Set when the command is durable or taken back.
    done: Arc<Done>,
    /// None while the command waits for others.
    decided: Option<Decided>,
}

/// A command that is in the head.
struct Decided {
    change: Change,
    /// The Plan before the command.
    before: Plan,
    after: Snapshot,
    receipt: Option<Arc<dyn Receipt>>,
}

/// A decided command.
pub(crate) struct Decision {
    pub number: u64,
    pub change: Change,
    pub difference: Arc<Difference>,
    /// The World after the command.
    pub world: World,
    pub turn: Turn,
    /// The events to emit after it is applied.
    pub events: Vec<Event>,
    /// The receipt of the store, if the command is submitted already.
    pub receipt: Option<Arc<dyn Receipt>>,
}

/// Why a command is not decided now.
pub(crate) enum Deferred {
    /// It is refused, or needs a lease.
    Undecided(Undecided),
    /// Its records cannot be written.
    Failed(EngineError),
    /// It has to be decided again when these commands are durable or taken back.
    Behind(Vec<Arc<Done>>),
}

/// Why a decided command is not submitted.
pub(crate) enum NotSubmitted {
    /// It was taken back, since the store failed.
    TakenBack,
    /// A record cannot be encoded.
    Failed(EngineError),
}

/// Whether a command does something before it is durable that may fail: it binds ports, names a bridge, or takes
/// addresses of a LAN.
fn needs_preparation(difference: &Difference) -> bool {
    difference.wanted().any(|(_, object)| matches!(object, Object::Socket(_)))
        || difference.added.values().any(|object| matches!(object, Object::Bridge(_) | Object::Veth(_)))
}

impl State {
    pub fn new(world: World, plan: Plan, rng: Rng) -> Self {
        let head = Snapshot { world, plan };
        let (durable, entries) = (head.clone(), Vec::new());
        Self { head, durable, rng, ordering: Ordering::default(), entries, number: 0, tidy_at: 1024 }
    }

    /// What is durable.
    pub fn durable(&self) -> &Snapshot {
        &self.durable
    }

    /// The Plan of all decided commands: what exists, or is being made.
    pub fn plan(&self) -> &Plan {
        &self.head.plan
    }

    /// Decides a command. One that has to wait leaves its number, and keeps its place with it.
    pub fn decide(
        &mut self,
        command: &Command,
        findings: &Findings,
        now: i64,
        place: &mut Option<u64>,
        store: &dyn RecordStore,
    ) -> Result<Decision, Deferred> {
        let draft = match decide_on(&self.head.world, command, findings, now, &mut self.rng) {
            Ok(draft) => draft,
            Err(undecided) => return Err(self.deferred(command, findings, now, undecided)),
        };
        // A panic from here on changes nothing: everything is computed before anything is assigned.
        let before = EventRecorder::before(&self.head.world, command);
        let events = before.events(&draft.world, &draft.change);
        let mut plan = self.head.plan.clone();
        plan.refresh(&draft.world, draft.change.owners.iter().copied());
        let difference = self.head.plan.difference(&draft.change.owners, &plan);
        let prepares = needs_preparation(&difference);
        let mut footprint = Footprint::of(&draft, &self.head.world);
        if prepares && draft.releases(&self.head.world) {
            // It may be taken back, and what it frees must not be given away before.
            footprint = footprint.alone();
        }
        let behind = self.in_the_way(&footprint, *place);
        if !behind.is_empty() {
            self.keep_place(footprint, place);
            return Err(Deferred::Behind(behind));
        }
        self.leave(place);
        let Draft { world, change } = draft;
        let after = Snapshot { world, plan };
        let before = std::mem::replace(&mut self.head, after.clone()).plan;
        let relied_upon: BTreeSet<Key> =
            difference.wanted().filter_map(|(_, object)| object.rests_on()).collect();
        let turn = self.ordering.turn(difference.keys(), &relied_upon);
        if self.ordering.len() > self.tidy_at {
            self.ordering.tidy();
            self.tidy_at = 1024 + 2 * self.ordering.len();
        }
        self.number += 1;
        let (number, world) = (self.number, after.world.clone());
        let decided = Decided { change: change.clone(), before, after, receipt: None };
        self.entries.push(Entry { number, footprint, done: Arc::default(), decided: Some(decided) });
        let receipt = if prepares {
            None
        } else {
            match self.submit(number, store) {
                Ok(receipt) => Some(receipt),
                Err(NotSubmitted::Failed(error)) => {
                    self.take_back(number);
                    return Err(Deferred::Failed(error));
                }
                Err(NotSubmitted::TakenBack) => None,
            }
        };
        let difference = Arc::new(difference);
        Ok(Decision { number, change, difference, world, turn, events, receipt })
    }

    /// A refusal holds if it holds for what is durable too: else it rests on commands that may be taken back.
    fn deferred(
        &mut self,
        command: &Command,
        findings: &Findings,
        now: i64,
        undecided: Undecided,
    ) -> Deferred {
        let decided: Vec<_> = self.entries.iter().filter(|entry| entry.decided.is_some()).collect();
        let is_refusal = matches!(undecided, Undecided::Refused(_));
        if decided.is_empty() || !is_refusal {
            return Deferred::Undecided(undecided);
        }
        let behind: Vec<_> = decided.iter().map(|entry| Arc::clone(&entry.done)).collect();
        match decide_on(&self.durable.world, command, findings, now, &mut self.rng) {
            Err(same) if same == undecided => Deferred::Undecided(undecided),
            _ => Deferred::Behind(behind),
        }
    }

    /// The commands in progress that conflict with a footprint: the decided ones, and those that wait and came first.
    fn in_the_way(&self, footprint: &Footprint, place: Option<u64>) -> Vec<Arc<Done>> {
        let first = |entry: &Entry| place.is_none_or(|place| entry.number < place);
        let meets = |entry: &&Entry| {
            (entry.decided.is_some() || first(entry)) && entry.footprint.conflicts_with(footprint)
        };
        self.entries.iter().filter(meets).map(|entry| Arc::clone(&entry.done)).collect()
    }

    fn keep_place(&mut self, footprint: Footprint, place: &mut Option<u64>) {
        if place.is_none() {
            self.number += 1;
            *place = Some(self.number);
            let (number, done) = (self.number, Arc::default());
            self.entries.push(Entry { number, footprint, done, decided: None });
        }
    }

    /// Gives up the place of a command that waits no more.
    pub fn leave(&mut self, place: &mut Option<u64>) {
        if let Some(number) = place.take() {
            self.finish(number);
        }
    }

    /// Removes an entry, and lets those go on that wait for it.
    fn finish(&mut self, number: u64) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| entry.number == number)?;
        let entry = self.entries.remove(at);
        entry.done.set();
        Some(entry)
    }

    /// Submits the records of a decided command.
    pub fn submit(&mut self, number: u64, store: &dyn RecordStore) -> Result<Arc<dyn Receipt>, NotSubmitted> {
        let host = self.host_state(number);
        let entry = self.entries.iter_mut().find(|entry| entry.number == number);
        let decided = entry.and_then(|entry| entry.decided.as_mut()).ok_or(NotSubmitted::TakenBack)?;
        let mut stored = fairway_store::Change::default();
        for key in &decided.change.records {
            let record = match key {
                RecordKey::Host => Some(Record::Host(host.clone())),
                key => decided.after.world.record(*key),
            };
            match record {
                Some(record) => {
                    let bytes = encode(*key, &record).map_err(NotSubmitted::Failed)?;
                    stored.put.push((key.text(), bytes));
                }
                None => stored.delete.push(key.text()),
            }
        }
        let receipt = store.submit(stored);
        decided.receipt = Some(Arc::clone(&receipt));
        Ok(receipt)
    }

    /// The record of the host as a command stores it: with the sysctls of the commands that are submitted, and the
    /// highest counter.
    fn host_state(&self, number: u64) -> HostState {
        let submitted = self.entries.iter().filter(|entry| {
            let is_submitted = entry.decided.as_ref().is_some_and(|decided| decided.receipt.is_some());
            (is_submitted || entry.number == number) && entry.footprint.writes().contains(&RecordKey::Host)
        });
        let last = submitted.filter_map(|entry| entry.decided.as_ref()).next_back();
        let world = last.map_or(&self.durable.world, |decided| &decided.after.world);
        HostState { next_order: self.head.world.host_state().next_order, ..world.host_state().clone() }
    }

    /// Makes a durable command visible, and those before it: the durable changes are a prefix of the submitted ones.
    pub fn make_visible(&mut self, number: u64) {
        let is_durable = |entry: &Entry| {
            let receipt = entry.decided.as_ref().and_then(|decided| decided.receipt.as_ref());
            receipt.and_then(|receipt| receipt.outcome()).is_some_and(|outcome| outcome.is_ok())
        };
        if !self.entries.iter().any(|entry| entry.number == number) {
            return;
        }
        let mut durable: Vec<(u64, u64)> = self
            .entries
            .iter()
            .filter(|entry| is_durable(entry))
            .filter_map(|entry| Some((entry.decided.as_ref()?.receipt.as_ref()?.number(), entry.number)))
            .collect();
        durable.sort_unstable();
        for (_, number) in durable {
            self.show(number);
        }
    }

    fn show(&mut self, number: u64) {
        let Some(Entry { footprint, decided: Some(decided), .. }) = self.finish(number) else { return };
        if footprint.is_alone() {
            self.durable = decided.after;
            return;
        }
        let owners = &decided.change.owners;
        let shares = |entry: &Entry| {
            entry.decided.as_ref().is_some_and(|other| !other.change.owners.is_disjoint(owners))
        };
        let shared = self.entries.iter().any(shares);
        self.durable.world.take_records(footprint.writes(), &decided.after.world);
        match shared {
            // The fragments may have what the other command adds.
            true => self.durable.plan.refresh(&self.durable.world, owners.iter().copied()),
            false => self.durable.plan.take_fragments(owners.iter().copied(), &decided.after.plan),
        }
    }

    /// Takes a command back that was decided and not applied. Returns those of its objects that other commands left to
    /// it and need still.
    pub fn take_back(&mut self, number: u64) -> Difference {
        let Some(Entry { footprint, decided: Some(decided), .. }) = self.finish(number) else {
            return Difference::default();
        };
        let owners = &decided.change.owners;
        if footprint.is_alone() {
            self.restart_from_durable();
        } else {
            self.head.world.take_records(footprint.writes(), &self.durable.world);
            self.head.plan.refresh(&self.head.world, owners.iter().copied());
        }
        let made = decided.before.difference(owners, &decided.after.plan);
        let mut left = decided.before.difference(owners, &self.head.plan);
        left.added.retain(|key, _| made.added.contains_key(key));
        left.changed.retain(|key, _| made.changed.contains_key(key));
        Difference { removed: Default::default(), ..left }
    }

    /// The ports that were bound for a decision, and that no sandbox publishes now. One that a sandbox has still was
    /// bound before: what freed it may have been taken back too.
    pub fn unwanted(&self, decision: &Decision) -> Vec<(Protocol, SocketAddr)> {
        let ports = decision.difference.added.keys().filter_map(Key::port);
        ports.filter(|(protocol, at)| self.head.world.publisher(*protocol, *at).is_none()).collect()
    }

    fn restart_from_durable(&mut self) {
        let counted = std::mem::replace(&mut self.head, self.durable.clone());
        self.head.world.take_records(&BTreeSet::new(), &counted.world);
    }

    /// Takes all commands back that are not durable, if that of this number is one of them: the store failed. The others
    /// find it out when they come to be submitted.
    pub fn store_failed(&mut self, number: u64, store: &dyn RecordStore) {
        if !self.entries.iter().any(|entry| entry.number == number) {
            return;
        }
        self.make_visible(number);
        self.restart_from_durable();
        for entry in self.entries.extract_if(.., |entry| entry.decided.is_some()) {
            entry.done.set();
        }
        store.resume();
    }

    /// A turn behind all changes of these objects.
    pub fn turn(&mut self, keys: &[Key]) -> Turn {
        self.ordering.turn([], keys)
    }
}

/// Decides a command on a World.
fn decide_on(
    world: &World,
    command: &Command,
    findings: &Findings,
    now: i64,
    rng: &mut Rng,
) -> Result<Draft, Undecided> {
    let Findings { leases, addresses_in_use, taken_ports: avoided_ports } = findings;
    world.decide(
        command.clone(),
        &mut Context { leases, addresses_in_use, avoided_ports, ..Context::new(now, rng) },
    )
}

#[cfg(test)]
mod tests;
