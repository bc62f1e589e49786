//! The sandboxes at the resolvers: each has limits, name servers and TCP clients of its own, also where several
//! sandboxes share a resolver.

use std::collections::{HashMap, HashSet};

use fairway_model::SandboxId;

use crate::slab::{Slab, SlabKey};

/// A sandbox at a resolver.
#[derive(Debug)]
pub(super) struct Asker {
    /// The resolver that it queries.
    pub resolver: SlabKey,
    /// The sandbox.
    pub sandbox: SandboxId,
    /// Its TCP clients.
    pub clients: HashSet<SlabKey>,
}

/// The sandboxes at all resolvers.
#[derive(Debug, Default)]
pub(super) struct Askers {
    all: Slab<Asker>,
    of_sandbox: HashMap<SandboxId, Vec<SlabKey>>,
}

impl Askers {
    /// Adds a sandbox at a resolver.
    pub fn insert(&mut self, resolver: SlabKey, sandbox: SandboxId) -> SlabKey {
        let place = self.all.insert(Asker { resolver, sandbox, clients: HashSet::new() });
        self.of_sandbox.entry(sandbox).or_default().push(place);
        place
    }

    /// The asker with this key.
    pub fn get(&self, place: SlabKey) -> Option<&Asker> {
        self.all.get(place)
    }

    /// The asker with this key, mutable.
    pub fn get_mut(&mut self, place: SlabKey) -> Option<&mut Asker> {
        self.all.get_mut(place)
    }

    /// The places of a sandbox, one for each resolver that it queries.
    pub fn of(&self, sandbox: SandboxId) -> &[SlabKey] {
        self.of_sandbox.get(&sandbox).map_or(&[], Vec::as_slice)
    }

    /// Removes a sandbox at a resolver.
    pub fn remove(&mut self, place: SlabKey) -> Option<Asker> {
        let asker = self.all.remove(place)?;
        if let Some(places) = self.of_sandbox.get_mut(&asker.sandbox) {
            places.retain(|other| *other != place);
            if places.is_empty() {
                self.of_sandbox.remove(&asker.sandbox);
            }
        }
        Some(asker)
    }
}
