//! The Plan: the exact set of kernel objects, sockets, files and name records that follow from a World.
//!
//! It is a union of fragments, each with an owner. After a command only the fragments of the owners
//! that it touched are made anew; the result is the same as making all of them.

mod file;
mod fragment;
mod netns_link;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use file::chosen_servers;
pub use fragment::fragment;

use fairway_model::Owner;

use crate::object::Fragment;
use crate::world::World;

/// The fragments of all owners that have one.
pub type Plan = BTreeMap<Owner, Fragment>;

/// The whole Plan of a World.
pub fn plan(world: &World) -> Plan {
    let fragments = world.owners().into_iter().map(|owner| (owner, fragment(world, owner)));
    fragments.filter(|(_, fragment)| !fragment.is_empty()).collect()
}

/// Makes the fragments of `owners` anew in `plan`.
pub fn refresh(plan: &mut Plan, world: &World, owners: impl IntoIterator<Item = Owner>) {
    for owner in owners {
        let fragment = fragment(world, owner);
        if fragment.is_empty() {
            plan.remove(&owner);
        } else {
            plan.insert(owner, fragment);
        }
    }
}
