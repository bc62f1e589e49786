//! Repairs drift at a pace: an object that cannot be repaired, or that drifts again and again, waits longer each time and
//! delays no other.

use std::collections::BTreeSet;
use std::time::Duration;

use fairway_core::object::{Difference, Key, Phase};

use crate::EngineError;
use crate::reconcile::backoff::{Backoff, FIRST_DELAY, LONGEST_DELAY};
use crate::reconcile::drift::Drift;

/// So often an object is repaired without delay.
const FREE_REPAIRS: u32 = 10;
/// After so long without drift, an object is repaired without delay again.
const CALM: Duration = Duration::from_secs(60);

/// Objects that could not be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub keys: Vec<Key>,
    /// What failed, and why.
    pub error: String,
}

/// The neighbors of a repair.
pub(crate) trait Host {
    /// Observes and compares with the Plan, with `netns` also the links without an end on the host. The objects of
    /// `incomplete` are drift as long as they are planned, whatever the host shows of them.
    ///
    /// # Errors
    /// The kernel refuses to list its objects.
    fn drift(&self, netns: bool, incomplete: &BTreeSet<Key>) -> Result<Drift, EngineError>;

    /// Applies a difference as far as possible, and returns what failed of it.
    ///
    /// # Errors
    /// The firewall cannot be programmed: nothing is reachable that should not be, and little works.
    fn apply(&self, difference: &Difference) -> Result<Vec<Failure>, EngineError>;

    /// Reports repaired drift, and the objects in it whose next repair waits.
    fn repaired(&self, drift: &Drift, slowed: &[(Key, Duration)]);

    /// Reports a failure, and after how long it is tried again.
    fn failed(&self, failure: &Failure, delay: Duration);
}

/// Which objects wait, and for how long. Times are on the monotonic clock of the reconcile loop.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The objects that could not be created or deleted.
    failed: Backoff<Key>,
    /// The objects that were repaired.
    repaired: Backoff<Key>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { failed: Backoff::new(0), repaired: Backoff::new(FREE_REPAIRS) }
    }
}

impl Pace {
    /// Observes, and repairs what does not wait. Returns when to run again; none if nothing waits.
    ///
    /// # Errors
    /// The host cannot be observed, or the firewall cannot be applied.
    pub fn repair(
        &mut self,
        host: &dyn Host,
        netns: bool,
        now: Duration,
    ) -> Result<Option<Duration>, EngineError> {
        let retried: BTreeSet<Key> = self.failed.all_due(now).cloned().collect();
        self.repaired.forget_idle(now, CALM);
        let mut drift = host.drift(netns, &retried)?;
        let mut held = None;
        drift.retain(|key| {
            let dues = [self.failed.due(key), self.repaired.due(&paced(key))];
            let due = dues.into_iter().flatten().filter(|due| *due > now).max();
            held = [held, due].into_iter().flatten().min();
            due.is_none()
        });
        if !drift.difference.is_empty() {
            let failures = host.apply(&drift.difference)?;
            self.report(host, drift, &failures, now);
        }
        for key in &retried {
            // Those that failed again wait now: the others are as planned, or gone.
            if !self.failed.is_waiting(key, now) {
                self.failed.forget(key);
            }
        }
        Ok([held, self.failed.next_due()].into_iter().flatten().min())
    }

    fn report(&mut self, host: &dyn Host, mut drift: Drift, failures: &[Failure], now: Duration) {
        failures.iter().for_each(|failure| self.note_failure(host, failure, now));
        let failed: BTreeSet<&Key> = failures.iter().flat_map(|failure| &failure.keys).collect();
        drift.retain(|key| !failed.contains(key));
        if drift.difference.is_empty() {
            return;
        }
        let keys: BTreeSet<Key> = drift.difference.keys().map(paced).collect();
        let delays = keys.into_iter().map(|key| {
            let longest = if key == Key::Ruleset { FIRST_DELAY } else { LONGEST_DELAY };
            let delay = self.repaired.attempt(key.clone(), now, longest);
            (key, delay)
        });
        let slowed: Vec<_> = delays.filter(|(_, delay)| !delay.is_zero()).collect();
        host.repaired(&drift, &slowed);
    }

    /// Notes objects that could not be created or deleted.
    pub fn note_failure(&mut self, host: &dyn Host, failure: &Failure, now: Duration) {
        let keys = failure.keys.iter().cloned();
        let delays = keys.map(|key| self.failed.attempt(key, now, LONGEST_DELAY));
        // The objects of one namespace fail together.
        let delay = delays.max().unwrap_or(FIRST_DELAY);
        host.failed(failure, delay);
    }

    /// When the first of the failed objects is to be tried again.
    pub fn next_retry(&self) -> Option<Duration> {
        self.failed.next_due()
    }

    /// Has failed objects tried again at once: their cause may be gone.
    pub fn retry_failed(&mut self, now: Duration) {
        self.failed.release(now);
    }
}

/// The key by which repairs of an object are counted. The firewall is repaired as one: its rules have an order. It waits for
/// the shortest delay only, since without its rules it lets too much through.
fn paced(key: &Key) -> Key {
    match Phase::of_wanted(key) {
        Phase::Firewall => Key::Ruleset,
        _ => key.clone(),
    }
}

#[cfg(test)]
mod tests;
