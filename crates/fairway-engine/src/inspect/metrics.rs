//! What the engine measured, for Prometheus.

use std::sync::PoisonError;

use fairway_inspect::metrics::{Measurements, StoreMeasurements};
use fairway_kernel::limits;
use fairway_store::Statistics;

use super::Inspector;

impl Inspector {
    /// What was measured since the start. What cannot be read is left out.
    pub fn measurements(&self) -> Measurements {
        let Statistics { submitted, writes, writing, fails, bytes } = self.committer.store.statistics();
        let traffic = self.network_traffic().unwrap_or_else(|error| {
            tracing::warn!(%error, "failed to read the traffic of networks: {error}");
            Default::default()
        });
        let counted = self.applier.relay.counters();
        if let Err(error) = &counted {
            tracing::debug!(%error, "failed to read the relay's counters: {error}");
        }
        Measurements {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commands: self.committer.measured.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            repairs: self.reconciler.repairs.measured(),
            store: StoreMeasurements {
                bytes,
                changes: submitted,
                commits: writes,
                committing: writing,
                fails,
            },
            relay_up: counted.is_ok(),
            relay: counted.unwrap_or_default(),
            conntrack: limits::connections(),
            traffic,
            ..Measurements::default()
        }
    }
}
