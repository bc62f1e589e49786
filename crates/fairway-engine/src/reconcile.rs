//! Repairs drift: observes the kernel, the relay and the files, and applies the difference to the Plan.

mod address_defense;
mod backoff;
pub(crate) mod deviations;
pub(crate) mod drift;
pub(crate) mod foreign_firewall;
mod lease_keeper;
pub(crate) mod liveness;
pub(crate) mod netns_audit;
pub(crate) mod netns_diff;
pub(crate) mod notifications;
pub(crate) mod observe;
mod orphans;
pub(crate) mod repair;
mod schedule;
mod turn;
pub(crate) mod watcher;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fairway_core::object::{Difference, Fragment, Key, Object, Phase};
use fairway_core::plan::describe;
use fairway_core::world::{Change, Command, Requester};
use fairway_inspect::doctor::Deviation;
use fairway_inspect::metrics::RepairMeasurements;
use fairway_relay::table::Record;

use crate::apply::Applier;
use crate::commit::Committer;
use crate::error::Subject;
use crate::failpoint::failpoint;
use crate::reconcile::drift::Drift;
use crate::reconcile::observe::Depth;
use crate::reconcile::repair::{Failure, Host, Pace};
use crate::signals::Signals;
use crate::{ApplyError, EngineError};
use foreign_firewall::ForeignFirewalls;

/// How many repairs are kept.
const REMEMBERED: usize = 64;

/// The repairs of the daemon: the last ones with their times, and how many there were.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    last: Mutex<VecDeque<(i64, String)>>,
    measured: Mutex<RepairMeasurements>,
}

impl Repairs {
    /// Adds a repair at a time, in nanoseconds since 1970.
    pub fn remember(&self, at: i64, what: String) {
        let mut times = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if times.len() == REMEMBERED {
            times.pop_front();
        }
        times.push_back((at, what));
    }

    /// All kept repairs, oldest first; times are in nanoseconds since 1970.
    pub fn all(&self) -> Vec<(i64, String)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Counts a comparison of the kernel with the Plan, with the repair that it led to.
    fn count_comparison<T>(&self, outcome: &Result<T, EngineError>) {
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        measured.comparisons += 1;
        measured.failed += u64::from(outcome.is_err());
    }

    /// Counts a repair of these objects.
    fn count_repair<'a>(&self, repaired: impl Iterator<Item = &'a Key>) {
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        measured.repairs += 1;
        repaired.for_each(|key| *measured.repaired.entry(key.kind()).or_default() += 1);
    }

    /// Counts an object that could not be repaired, and is tried again.
    fn count_failure(&self) {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner).failed += 1;
    }

    /// How many comparisons and repairs there were.
    pub fn measured(&self) -> RepairMeasurements {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Repairs drift: makes the kernel, the relay and the files as planned again, after a start and when another program
/// changed them.
pub(crate) struct Reconciler {
    pub committer: Arc<Committer>,
    pub applier: Arc<Applier>,
    pub signals: Arc<Signals>,
    pub repairs: Repairs,
    pub foreign: ForeignFirewalls,
}

impl Reconciler {
    /// Runs a command, which a process may have requested: decides it, makes the change durable, applies it. Blocks until all of it is in force; what
    /// a sandbox that leaves had may be let go of later.
    ///
    /// # Errors
    /// The refusal of the World, or the failure that stopped the change; the change is rolled back then.
    pub fn execute(&self, requester: Option<Requester>, command: Command) -> Result<Change, EngineError> {
        let changes_bridges = matches!(
            command,
            Command::CreateNetwork(_) | Command::RemoveNetwork { .. } | Command::Configure { .. }
        );
        let integrates = || self.committer.read(|world| world.settings().firewall_integration);
        let before = changes_bridges && integrates();
        let outcome = self.committer.execute_for(requester, command);
        for warning in outcome.iter().filter(|_| changes_bridges).flat_map(|change| &change.warnings) {
            tracing::warn!("{warning}");
        }
        if changes_bridges && outcome.is_ok() && (before || integrates()) {
            // The jumps in foreign tables depend on the bridges.
            self.scan_foreign_firewalls();
        }
        outcome
    }

    /// All objects of the Plan.
    pub(crate) fn wanted(&self) -> Fragment {
        self.committer.snapshot().plan.objects().map(|(key, object)| (key.clone(), object.clone())).collect()
    }

    /// Applies the Plan after a start, whatever the last daemon left. Returns what failed.
    pub(crate) fn reconcile_at_start(&self, known: Vec<Record>) -> Result<Vec<Failure>, EngineError> {
        let wanted = self.wanted();
        self.report_orphaned_sandboxes(&known);
        let (found, _) = self.observe(&wanted, &Depth::All(&known))?;
        let difference = Difference::between(found, wanted.clone());
        let failures = self.apply(&difference)?;
        self.applier.firewall.sweep(&wanted);
        failpoint("swept");
        for (id, process, namespace) in self.running() {
            self.signals.watch(id, process, namespace.as_ref());
        }
        self.committer.tidy_files();
        Ok(failures)
    }

    /// Observes, and repairs the drift that does not wait, with `netns` also that of links without an end on the host.
    /// Returns when to run again; none if nothing waits.
    pub(crate) fn heal(
        &self,
        pace: &mut Pace,
        netns: bool,
        now: Duration,
    ) -> Result<Option<Duration>, EngineError> {
        let _exclusive =
            self.committer.pipeline.reconcile_lock.write().unwrap_or_else(PoisonError::into_inner);
        let outcome = pace.repair(self, netns, now);
        self.repairs.count_comparison(&outcome);
        outcome
    }

    /// Observes, and repairs all drift at once, also that which waits for its next try.
    pub(crate) fn heal_all(&self) -> Result<(), EngineError> {
        let healed = self.heal(&mut Pace::default(), true, Duration::ZERO);
        // The loop tries again what failed.
        self.signals.retry_failed();
        healed.map(drop)
    }

    /// Deletes rules that another daemon left in a place which this one does not use.
    pub(crate) fn sweep_firewall(&self) {
        let _exclusive =
            self.committer.pipeline.reconcile_lock.write().unwrap_or_else(PoisonError::into_inner);
        self.applier.firewall.sweep(&self.wanted());
    }

    /// Finds drift without repairing it.
    pub(crate) fn find_drift(&self) -> Result<Drift, ApplyError> {
        let _exclusive =
            self.committer.pipeline.reconcile_lock.write().unwrap_or_else(PoisonError::into_inner);
        self.compute_drift(true, &BTreeSet::new())
    }

    /// Observes and compares with the Plan, as [`Host::drift`] does. The caller holds the reconcile lock.
    fn compute_drift(&self, netns: bool, incomplete: &BTreeSet<Key>) -> Result<Drift, ApplyError> {
        let wanted = self.wanted();
        let depth = if netns { Depth::HostAndNetnsLinks } else { Depth::Host };
        let (mut found, mut deviations) = self.observe(&wanted, &depth)?;
        for key in incomplete {
            let is_planned =
                wanted.get(key).is_some_and(|object| !self.rests_on_missing_parent(&wanted, object));
            if is_planned && found.remove(key).is_some() {
                deviations.insert(key.clone(), vec![Deviation::new("state", "incomplete", "complete")]);
            }
        }
        let switches = match wanted.get(&Key::Ruleset) {
            Some(Object::Ruleset(switches)) => Some(*switches),
            _ => None,
        };
        let mut difference = Difference::between(found, wanted);
        if !difference.is_empty() {
            self.leave_out_ended(&mut difference);
        }
        if let Some(switches) = switches.filter(|_| difference.changed.contains_key(&Key::Ruleset)) {
            deviations.insert(Key::Ruleset, self.applier.firewall.deviations(&switches));
        }
        Ok(Drift { difference, deviations })
    }

    pub(crate) fn running(
        &self,
    ) -> Vec<(
        fairway_model::SandboxId,
        Option<fairway_model::ProcessIdentity>,
        Option<fairway_model::Namespace>,
    )> {
        self.committer.read(|world| {
            world
                .sandboxes()
                .filter(|sandbox| sandbox.running())
                .map(|sandbox| (sandbox.id, sandbox.process(), sandbox.namespace().cloned()))
                .collect()
        })
    }
}

impl Host for Reconciler {
    fn drift(&self, netns: bool, incomplete: &BTreeSet<Key>) -> Result<Drift, EngineError> {
        Ok(self.compute_drift(netns, incomplete)?)
    }

    fn apply(&self, difference: &Difference) -> Result<Vec<Failure>, EngineError> {
        let Err(errors) = self.applier.apply(difference, &self.committer.pipeline) else {
            return Ok(Vec::new());
        };
        if errors.has_firewall() {
            return Err(errors.into());
        }
        let failures = errors.0.iter().map(|unapplied| Failure {
            keys: objects_of(&unapplied.subject, difference),
            error: unapplied.to_string(),
        });
        Ok(failures.collect())
    }

    fn repaired(&self, drift: &Drift, slowed: &[(Key, Duration)]) {
        let drifted = self.committer.read(|world| drift.report(world));
        for (key, delay) in slowed {
            let (object, delay) = (self.committer.read(|world| describe(key, world)), delay.as_secs());
            tracing::warn!(
                object,
                delay,
                "{object} drifts again and again: another program changes it; next repair in {delay} s at the earliest"
            );
        }
        self.repairs.remember(self.committer.now(), drifted.clone());
        self.repairs.count_repair(drift.difference.keys());
        self.committer.emit_daemon_event("repair", &[("drift", drifted)]);
    }

    fn failed(&self, failure: &Failure, delay: Duration) {
        self.repairs.count_failure();
        let (error, delay) = (&failure.error, delay.as_secs());
        tracing::error!(error, delay, "failed to apply {error}; retrying in {delay} s");
    }
}

/// The objects of a difference that a part of it stands for.
fn objects_of(subject: &Subject, difference: &Difference) -> Vec<Key> {
    let wanted = |is_part: &dyn Fn(&Key, &Object) -> bool| {
        difference.wanted().filter(|(key, object)| is_part(key, object)).map(|(key, _)| key.clone()).collect()
    };
    match subject {
        Subject::Object(key) => vec![key.clone()],
        Subject::Namespace(path) => {
            wanted(&|_, object| object.namespaces().iter().any(|namespace| namespace.path == *path))
        }
        Subject::Relay => wanted(&|key, _| Phase::of_wanted(key) == Phase::Relay),
        Subject::Firewall => wanted(&|key, _| Phase::of_wanted(key) == Phase::Firewall),
    }
}
