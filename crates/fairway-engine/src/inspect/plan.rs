//! The Plan as users see it, and what the daemon would do to make the kernel equal to it.

use fairway_core::plan::{ObjectChange, PlannedFragment, list};

use super::Inspector;
use crate::EngineError;
use crate::commit::state::Snapshot;

impl Inspector {
    /// All objects of the Plan, by owner.
    pub fn plan(&self) -> Vec<PlannedFragment> {
        let Snapshot { world, plan } = self.committer.snapshot();
        list(&plan, &world)
    }

    /// What a reconcile run would do now. Changes nothing.
    ///
    /// # Errors
    /// The kernel refuses to list objects.
    pub fn plan_difference(&self) -> Result<Vec<ObjectChange>, EngineError> {
        let drift = self.reconciler.find_drift()?;
        let Snapshot { world, plan } = self.committer.snapshot();
        Ok(drift.changes(&plan, &world))
    }
}
