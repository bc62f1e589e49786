//! Whether a sandbox that is said to run has ended.

use fairway_core::object::Difference;
use fairway_core::world::World;
use fairway_kernel::{namespace, process};
use fairway_model::Owner;
use fairway_model::{SandboxId, SandboxState};

use crate::Engine;

/// Whether the process or the namespace of a sandbox that runs, as the World says, is not there any
/// more.
fn has_ended(state: &SandboxState) -> bool {
    match state {
        SandboxState::Running { process, namespace, .. } => {
            process.is_some_and(|process| !process::running(process))
                || namespace.as_ref().is_some_and(|namespace| namespace::open(namespace).is_err())
        }
        _ => false,
    }
}

/// The sandboxes whose process or namespace is not there any more.
pub(crate) fn ended(world: &World) -> Vec<SandboxId> {
    world.sandboxes().filter(|sandbox| has_ended(&sandbox.state)).map(|sandbox| sandbox.id).collect()
}

impl Engine {
    /// Whether a sandbox has ended and the World does not know it yet. One that runs again has not.
    pub(crate) fn has_ended(&self, id: SandboxId) -> bool {
        let state = self.read(|world| world.sandbox(id).map(|sandbox| sandbox.state.clone()));
        state.is_some_and(|state| has_ended(&state))
    }

    /// The sandboxes that have ended, as far as the World does not know it.
    pub(crate) fn ended(&self) -> Vec<SandboxId> {
        let states: Vec<_> = self.read(|world| {
            let running = world.sandboxes().filter(|sandbox| sandbox.running());
            running.map(|sandbox| (sandbox.id, sandbox.state.clone())).collect()
        });
        states.into_iter().filter(|(_, state)| has_ended(state)).map(|(id, _)| id).collect()
    }

    /// Leaves what belongs to sandboxes that have ended out of a difference: their links went with
    /// their namespace, and the rest goes when whoever waits for them has told how they ended.
    pub(crate) fn leave_out_ended(&self, difference: &mut Difference) {
        let ended = self.ended();
        let state = self.state();
        for id in ended {
            let endpoints = state.world.endpoints_of_sandbox(id);
            let owners = endpoints.into_iter().map(|endpoint| Owner::Endpoint(endpoint.id));
            let owners = owners.chain([Owner::Sandbox(id), Owner::Publications(id), Owner::Links(id)]);
            for key in owners.filter_map(|owner| state.plan.get(&owner)).flat_map(|fragment| fragment.keys())
            {
                difference.removed.remove(key);
                difference.added.remove(key);
                difference.changed.remove(key);
            }
        }
    }
}
