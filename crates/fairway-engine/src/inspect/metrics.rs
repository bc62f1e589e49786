//! What the engine measured, for Prometheus.

use std::sync::PoisonError;

use fairway_inspect::metrics::{Measurements, StoreMeasurements};
use fairway_kernel::sysctl;
use fairway_store::Statistics;

use super::Inspector;

/// How many connections the kernel tracks.
const CONNTRACK_COUNT: &str = "net/netfilter/nf_conntrack_count";
/// How many it may track.
const CONNTRACK_MAX: &str = "net/netfilter/nf_conntrack_max";

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
            conntrack: number(CONNTRACK_COUNT).zip(number(CONNTRACK_MAX)),
            traffic,
            ..Measurements::default()
        }
    }
}

/// Reads a sysctl that is a number; none if the kernel does not have it.
fn number(path: &str) -> Option<u64> {
    sysctl::read(path).ok()?.trim().parse().ok()
}
