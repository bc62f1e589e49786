//! The Plan: the exact set of kernel objects, sockets, files and name records that follow from a World.
//!
//! It is a union of fragments, each with an owner. After a command only the fragments of the owners
//! that it touched are made anew; the result is the same as making all of them.

mod changes;
mod file;
mod fragment;
mod listing;
mod netns_link;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use changes::{Action, ObjectChange, SettingChange, changes};
pub use file::chosen_servers;
pub use fragment::fragment;
pub use listing::{PlannedFragment, PlannedObject, describe, element_text, list, owner_name};

use fairway_model::Owner;
use imbl::OrdMap;

use crate::object::{Difference, Fragment, Key, Object};
use crate::world::World;

/// The fragments of all owners that have one. Clones share what neither changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan(OrdMap<Owner, Arc<Fragment>>);

impl Plan {
    /// The fragments with their owners, in the order of the owners.
    pub fn fragments(&self) -> impl Iterator<Item = (&Owner, &Fragment)> {
        self.0.iter().map(|(owner, fragment)| (owner, &**fragment))
    }

    /// All objects.
    pub fn objects(&self) -> impl Iterator<Item = (&Key, &Object)> {
        self.0.values().flat_map(|fragment| fragment.iter())
    }

    /// The fragment of an owner, if it has one.
    pub fn fragment(&self, owner: Owner) -> Option<&Fragment> {
        self.0.get(&owner).map(|fragment| &**fragment)
    }

    /// The object of a key.
    pub fn object(&self, key: &Key) -> Option<&Object> {
        self.0.values().find_map(|fragment| fragment.get(key))
    }

    /// Makes the fragments of `owners` anew.
    pub fn refresh(&mut self, world: &World, owners: impl IntoIterator<Item = Owner>) {
        for owner in owners {
            let fragment = fragment(world, owner);
            if fragment.is_empty() {
                self.0.remove(&owner);
            } else {
                self.0.insert(owner, Arc::new(fragment));
            }
        }
    }

    /// Takes over the fragments of `owners` as they are in another Plan.
    pub fn take_fragments(&mut self, owners: impl IntoIterator<Item = Owner>, from: &Self) {
        for owner in owners {
            match from.0.get(&owner) {
                Some(fragment) => self.0.insert(owner, Arc::clone(fragment)),
                None => self.0.remove(&owner),
            };
        }
    }

    /// What has to be done for the objects of `owners` to be as in `desired`, where they are as in this Plan.
    pub fn difference<'a>(
        &self,
        owners: impl IntoIterator<Item = &'a Owner> + Clone,
        desired: &Self,
    ) -> Difference {
        let before: BTreeMap<_, _> =
            owners.clone().into_iter().flat_map(|owner| self.objects_of(*owner)).collect();
        let after: BTreeMap<_, _> = owners.into_iter().flat_map(|owner| desired.objects_of(*owner)).collect();
        // Most objects of a large fragment are the same in both, and are not copied.
        let differing = |these: &BTreeMap<&Key, &Object>, those: &BTreeMap<&Key, &Object>| -> Fragment {
            let differ = these.iter().filter(|(key, object)| those.get(*key) != Some(object));
            differ.map(|(key, object)| ((*key).clone(), (*object).clone())).collect()
        };
        Difference::between(differing(&before, &after), differing(&after, &before))
    }

    fn objects_of(&self, owner: Owner) -> impl Iterator<Item = (&Key, &Object)> {
        self.fragment(owner).into_iter().flatten()
    }
}

/// The whole Plan of a World.
pub fn plan(world: &World) -> Plan {
    let mut plan = Plan::default();
    plan.refresh(world, world.owners());
    plan
}
