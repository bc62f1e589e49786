//! Repairs drift: observes the kernel, the relay and the files, and applies the difference to the Plan.

mod address_defense;
pub(crate) mod deviations;
pub(crate) mod drift;
pub(crate) mod foreign_firewall;
pub(crate) mod lease_keeper;
pub(crate) mod liveness;
pub(crate) mod netns_audit;
pub(crate) mod netns_diff;
pub(crate) mod observe;
mod orphans;
pub(crate) mod watcher;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use fairway_core::object::{Difference, Fragment, Key, Object};
use fairway_core::world::{Change, Command};
use fairway_relay::table::Record;

use crate::apply::Applier;
use crate::commit::Committer;
use crate::failpoint::failpoint;
use crate::reconcile::drift::Drift;
use crate::reconcile::observe::Depth;
use crate::signals::Signals;
use crate::{ApplyError, EngineError};
use foreign_firewall::ForeignFirewalls;

/// How many repairs are kept.
const REMEMBERED: usize = 64;

/// The last repairs of the daemon, with their times.
#[derive(Debug, Default)]
pub(crate) struct Repairs(Mutex<VecDeque<(i64, String)>>);

impl Repairs {
    /// Adds a repair at a time, in nanoseconds since 1970.
    pub fn remember(&self, at: i64, what: String) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if times.len() == REMEMBERED {
            times.pop_front();
        }
        times.push_back((at, what));
    }

    /// All kept repairs, oldest first; times are in nanoseconds since 1970.
    pub fn all(&self) -> Vec<(i64, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
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
    /// Runs a command: decides it, makes the change durable, applies it. Blocks until all of it is in force.
    ///
    /// # Errors
    /// The refusal of the World, or the failure that stopped the change; the change is rolled back then.
    pub fn execute(&self, command: Command) -> Result<Change, EngineError> {
        let changes_bridges = matches!(
            command,
            Command::CreateNetwork(_) | Command::RemoveNetwork { .. } | Command::Configure { .. }
        );
        let integrates = || self.committer.read(|world| world.settings().firewall_integration);
        let before = changes_bridges && integrates();
        let outcome = self.committer.execute(command);
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
        self.committer.state().plan.objects().map(|(key, object)| (key.clone(), object.clone())).collect()
    }

    /// Applies the Plan after a start, whatever the last daemon left.
    pub(crate) fn reconcile_at_start(&self, known: Vec<Record>) -> Result<(), EngineError> {
        let wanted = self.wanted();
        self.report_orphaned_sandboxes(&known);
        let (found, _) = self.observe(&wanted, &Depth::All(&known))?;
        let difference = Difference::between(found, wanted.clone());
        self.apply(&difference)?;
        self.applier.firewall.sweep(&wanted);
        failpoint("swept");
        for (id, process, namespace) in self.running() {
            self.signals.watch(id, process, namespace.as_ref());
        }
        self.committer.tidy_files();
        Ok(())
    }

    /// Observes, and repairs drift. Returns the first lines of what was repaired; none if nothing was.
    pub(crate) fn heal(&self) -> Result<Option<String>, EngineError> {
        let _exclusive = self.committer.reconcile_lock.write().unwrap_or_else(PoisonError::into_inner);
        let depth = if self.signals.take_netns_check() { Depth::HostAndNetnsLinks } else { Depth::Host };
        let drift = self.compute_drift(&depth)?;
        if drift.difference.is_empty() {
            return Ok(None);
        }
        let drifted = self.committer.read(|world| drift.report(world));
        self.apply(&drift.difference)?;
        self.committer.emit_daemon_event("repair", &[("drift", drifted.clone())]);
        Ok(Some(drifted))
    }

    /// Deletes rules that another daemon left in a place which this one does not use.
    pub(crate) fn sweep_firewall(&self) {
        let _exclusive = self.committer.reconcile_lock.write().unwrap_or_else(PoisonError::into_inner);
        self.applier.firewall.sweep(&self.wanted());
    }

    /// Finds drift without repairing it.
    pub(crate) fn find_drift(&self) -> Result<Drift, ApplyError> {
        let _exclusive = self.committer.reconcile_lock.write().unwrap_or_else(PoisonError::into_inner);
        self.compute_drift(&Depth::HostAndNetnsLinks)
    }

    /// Observes and compares with the Plan. The caller holds the reconcile lock.
    fn compute_drift(&self, depth: &Depth<'_>) -> Result<Drift, ApplyError> {
        let wanted = self.wanted();
        let (found, mut deviations) = self.observe(&wanted, depth)?;
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

    /// Applies a difference as far as possible. Failures are logged, and retried later.
    ///
    /// # Errors
    /// The firewall cannot be programmed: nothing is reachable that should not be, and little works.
    pub(crate) fn apply(&self, difference: &Difference) -> Result<(), EngineError> {
        let Err(errors) = self.applier.apply(difference, &*self.committer) else { return Ok(()) };
        if errors.has_firewall() {
            return Err(errors.into());
        }
        for unapplied in &errors.0 {
            tracing::error!(object = %unapplied.subject, "failed to apply {unapplied}; retrying in 5 s");
        }
        self.signals.request_retry();
        Ok(())
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
