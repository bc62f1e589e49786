//! The records that a decided command writes, and those that it rests on.

use std::collections::BTreeSet;
use std::sync::Arc;

use fairway_model::{Endpoint, NetworkMode, Sandbox};

use super::link::linked;
use super::{Draft, HostState, RecordKey, World};

/// What a decided command writes, and what it rests on. Two commands may be in progress side by side unless one
/// writes what the other writes or rests on: then the second is decided when the first is durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Footprint {
    writes: BTreeSet<RecordKey>,
    rests_on: BTreeSet<RecordKey>,
    /// Whether no other command may be in progress.
    alone: bool,
}

impl Footprint {
    /// The footprint of a draft that was decided on the World `before`. A change of the settings is alone.
    pub fn of(draft: &Draft, before: &World) -> Self {
        let mut writes = draft.change.records.clone();
        if !draft.world.host_state.differs_in_sysctls(&before.host_state) {
            // The counter of endpoints only grows, and leaves out numbers at will.
            writes.remove(&RecordKey::Host);
        }
        let mut rests_on = BTreeSet::new();
        for key in &writes {
            before.add_references(*key, &mut rests_on);
            draft.world.add_references(*key, &mut rests_on);
        }
        let alone = !Arc::ptr_eq(&before.settings, &draft.world.settings);
        Self { writes, rests_on, alone }
    }

    /// The records that the command writes. The record of the host is none of them if only the counter of endpoints
    /// differs.
    pub fn writes(&self) -> &BTreeSet<RecordKey> {
        &self.writes
    }

    /// Whether no other command may be in progress.
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// The footprint of a command that runs alone: no other may be in progress.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    /// Whether the commands cannot be in progress side by side.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        self.alone
            || other.alone
            || !self.writes.is_disjoint(&other.writes)
            || !self.writes.is_disjoint(&other.rests_on)
            || !self.rests_on.is_disjoint(&other.writes)
    }
}

impl HostState {
    /// Whether more than the counter of endpoints differs.
    fn differs_in_sysctls(&self, other: &Self) -> bool {
        Self { next_order: other.next_order, ..self.clone() } != *other
    }
}

impl Draft {
    /// Whether something that `before` holds is free after the command: an address, a port, a name.
    pub fn releases(&self, before: &World) -> bool {
        self.change.records.iter().any(|key| match key {
            RecordKey::Host => false,
            RecordKey::Network(id) => before.network(*id).is_some() && self.world.network(*id).is_none(),
            RecordKey::Sandbox(id) => {
                let held = |sandbox: &Sandbox| sandbox.publications.clone();
                let (old, new) = (before.sandbox(*id), self.world.sandbox(*id));
                old.is_some_and(|old| {
                    new.is_none_or(|new| {
                        let kept = held(new);
                        old.name != new.name
                            || held(old).iter().any(|publication| !kept.contains(publication))
                    })
                })
            }
            RecordKey::Endpoint(id) => {
                let held = |endpoint: &Endpoint| endpoint.allocation.clone();
                let (old, new) = (before.endpoint(*id), self.world.endpoint(*id));
                old.is_some_and(|old| new.is_none_or(|new| held(old).is_some() && held(old) != held(new)))
            }
            RecordKey::Pool(subnet) => before.pool(*subnet).is_some() && self.world.pool(*subnet).is_none(),
            RecordKey::PoolAddress(pool, address) => {
                let held = |world: &World| world.pool_addresses.contains_key(&(*pool, *address));
                held(before) && !held(&self.world)
            }
        })
    }
}

impl World {
    /// Adds the records to which the record of `key` refers.
    fn add_references(&self, key: RecordKey, references: &mut BTreeSet<RecordKey>) {
        let mut of_endpoint = |endpoint: &Endpoint| {
            references.insert(RecordKey::Network(endpoint.network));
            references.insert(RecordKey::Sandbox(endpoint.sandbox));
            references.extend(linked(endpoint).map(RecordKey::Sandbox));
        };
        match key {
            RecordKey::Host | RecordKey::Pool(_) => {}
            RecordKey::PoolAddress(pool, _) => drop(references.insert(RecordKey::Pool(pool))),
            // Whether a network makes the host forward packets is recorded there.
            RecordKey::Network(_) => drop(references.insert(RecordKey::Host)),
            RecordKey::Endpoint(id) => self.endpoint(id).into_iter().for_each(of_endpoint),
            RecordKey::Sandbox(id) => {
                self.endpoints_of_sandbox(id).into_iter().for_each(&mut of_endpoint);
                if let Some(NetworkMode::Shared(owner)) = self.sandbox(id).map(|sandbox| &sandbox.mode) {
                    references.insert(RecordKey::Sandbox(*owner));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
