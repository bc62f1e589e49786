//! Finds sandboxes whose process or namespace has ended.

use fairway_core::object::Difference;
use fairway_core::world::World;
use fairway_kernel::{namespace, process};
use fairway_model::Owner;
use fairway_model::{Sandbox, SandboxId, SandboxState};

use crate::reconcile::Reconciler;
use crate::reconcile::schedule::Ended;

/// Whether the process or the namespace of a running sandbox is gone.
fn has_ended(state: &SandboxState) -> bool {
    match state {
        SandboxState::Running { process, namespace, .. } => {
            process.is_some_and(process::has_ended) || namespace.as_ref().is_some_and(namespace::is_gone)
        }
        _ => false,
    }
}

/// The sandboxes whose process or namespace is gone.
pub(crate) fn ended(world: &World) -> Vec<SandboxId> {
    world.sandboxes().filter(|sandbox| has_ended(&sandbox.state)).map(|sandbox| sandbox.id).collect()
}

impl Reconciler {
    /// The process of a sandbox that a notification of its end is about. A late one names the next process, which has
    /// not ended then.
    pub(crate) fn notified(&self, sandbox: SandboxId) -> Ended {
        let process = self.committer.read(|world| world.sandbox(sandbox).and_then(Sandbox::process));
        Ended { sandbox, process }
    }

    /// Whether the World calls a sandbox running that has ended. One that was started again is another.
    pub(crate) fn has_ended(&self, ended: Ended) -> bool {
        let state = self.committer.read(|world| {
            let sandbox = world.sandbox(ended.sandbox).filter(|it| it.process() == ended.process);
            sandbox.map(|sandbox| sandbox.state.clone())
        });
        state.is_some_and(|state| has_ended(&state))
    }

    /// The sandboxes that have ended and that the World calls running.
    pub(crate) fn ended(&self) -> Vec<Ended> {
        let states: Vec<_> = self.committer.read(|world| {
            let running = world.sandboxes().filter(|sandbox| sandbox.running());
            let run = |it: &Sandbox| (Ended { sandbox: it.id, process: it.process() }, it.state.clone());
            running.map(run).collect()
        });
        states.into_iter().filter(|(_, state)| has_ended(state)).map(|(ended, _)| ended).collect()
    }

    /// Leaves the objects of ended sandboxes out of a difference: their links went with their namespace, and the rest
    /// goes when their exit code is reported.
    pub(crate) fn leave_out_ended(&self, difference: &mut Difference) {
        let ended = self.ended();
        let state = self.committer.snapshot();
        for Ended { sandbox: id, .. } in ended {
            let endpoints = state.world.endpoints_of_sandbox(id);
            let owners = endpoints.into_iter().map(|endpoint| Owner::Endpoint(endpoint.id));
            let owners = owners.chain([Owner::Sandbox(id), Owner::Publications(id), Owner::Links(id)]);
            for key in
                owners.filter_map(|owner| state.plan.fragment(owner)).flat_map(|fragment| fragment.keys())
            {
                difference.removed.remove(key);
                difference.added.remove(key);
                difference.changed.remove(key);
            }
        }
    }
}
