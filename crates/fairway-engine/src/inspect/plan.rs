//! The Plan as users see it, and what the daemon would do to make the kernel equal to it.

use fairway_core::plan::{ObjectChange, Plan, PlannedFragment, list};
use fairway_core::world::World;

use super::Inspector;
use crate::EngineError;

impl Inspector {
    /// All objects of the Plan, by owner.
    pub fn plan(&self) -> Vec<PlannedFragment> {
        let (world, plan) = self.desired();
        list(&plan, &world)
    }

    /// What a reconcile run would do now. Changes nothing.
    ///
    /// # Errors
    /// The kernel refuses to list objects.
    pub fn plan_difference(&self) -> Result<Vec<ObjectChange>, EngineError> {
        let drift = self.reconciler.find_drift()?;
        let (world, plan) = self.desired();
        Ok(drift.changes(&plan, &world))
    }

    fn desired(&self) -> (World, Plan) {
        let state = self.committer.state();
        (state.world.clone(), state.plan.clone())
    }
}
