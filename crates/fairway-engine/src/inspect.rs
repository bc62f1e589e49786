//! Answers questions about the running host: `explain`, `doctor`, `graph`, `plan`, `trace`, the traffic counters and metrics.

pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod graph;
mod metrics;
mod plan;
pub(crate) mod trace;
mod traffic;

use std::sync::Arc;

use crate::apply::Applier;
use crate::commit::Committer;
use crate::commit::records::Orphan;
use crate::reconcile::Reconciler;

/// Answers questions about the running host. Holds nothing durable.
pub(crate) struct Inspector {
    pub committer: Arc<Committer>,
    pub applier: Arc<Applier>,
    pub reconciler: Arc<Reconciler>,
    /// The records that were no part of the World at the start.
    pub orphans: Vec<Orphan>,
}
