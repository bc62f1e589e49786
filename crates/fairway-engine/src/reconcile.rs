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
use crate::parallel::in_parallel;
use crate::reconcile::drift::Drift;
use crate::reconcile::observe::Depth;
use crate::signals::Signals;
use crate::{ApplyError, EngineError};
use foreign_firewall::ForeignFirewalls;

/// How many ports are bound at once; where one is in use, these are bound one by one.
const BOUND_AT_ONCE: usize = 1024;
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
        self.apply_in_parts(difference)?;
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
        self.apply_in_parts(drift.difference)?;
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

    /// Applies a difference. When that fails, applies its parts one by one, so that one bad object does not prevent the
    /// others; failed parts are retried later.
    pub(crate) fn apply_in_parts(&self, mut difference: Difference) -> Result<(), EngineError> {
        self.bind_free_ports(&mut difference);
        let Err(error) = self.applier.apply(&difference, &*self.committer) else { return Ok(()) };
        tracing::warn!(%error, "failed to apply all changes at once: {error}; applying them one by one");
        // The firewall comes first and is all or nothing: without it no port may be opened.
        self.applier.firewall.apply(&difference)?;
        for group in parts(difference) {
            in_parallel(&group, |part| {
                if let Err(error) = self.applier.apply(part, &*self.committer) {
                    tracing::error!(%error, "failed to apply a change: {error}; retrying in 5 s");
                    self.signals.request_retry();
                }
            });
        }
        Ok(())
    }

    /// Binds the planned ports. A port that another program has taken is left out, and logged.
    fn bind_free_ports(&self, difference: &mut Difference) {
        let wanted: Vec<_> = crate::port_sockets::sockets(difference).collect();
        let mut taken = Vec::new();
        for some in wanted.chunks(BOUND_AT_ONCE) {
            if self.applier.ports.bind_all(some.iter().copied()).is_ok() {
                continue;
            }
            for (protocol, address, purpose) in some {
                if let Err(error) = self.applier.ports.bind_all([(*protocol, *address, *purpose)]) {
                    tracing::error!(%error, %address, %protocol, "{error}; retrying in 5 s");
                    taken.push(Key::Socket(*protocol, *address));
                    self.signals.request_retry();
                }
            }
        }
        for key in taken {
            difference.added.remove(&key);
            difference.changed.remove(&key);
        }
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

/// Splits a difference into parts that can fail alone: one for each namespace, one for each other object. Parts of a
/// group do not depend on each other, but on the groups before. The firewall is left out: it was applied before.
fn parts(difference: Difference) -> [Vec<Difference>; 4] {
    let mut parts: Vec<Difference> = Vec::new();
    let mut bridges = Vec::new();
    let mut sandboxes = std::collections::BTreeMap::<u64, Difference>::new();
    let whose = |object: &Object| match object {
        Object::Veth(link) => Some(link.namespace.inode),
        Object::Macvlan(macvlan) => Some(macvlan.link.namespace.inode),
        Object::Netns(namespace, _) => Some(namespace.inode),
        Object::DefaultRoutes(routes) => Some(routes.namespace.inode),
        _ => None,
    };
    for (key, object) in difference.added {
        let part = |key, object| Difference { added: [(key, object)].into(), ..Difference::default() };
        match (whose(&object), &object) {
            _ if is_firewall(&object) => {}
            (Some(inode), _) => {
                sandboxes.entry(inode).or_default().added.insert(key, object);
            }
            (None, Object::Bridge(_) | Object::DummyParent(_) | Object::Sysctl(_)) => {
                bridges.push(part(key, object))
            }
            (None, _) => parts.push(part(key, object)),
        }
    }
    for (key, (old, new)) in difference.changed {
        match (whose(&new), &new) {
            _ if is_firewall(&new) => {}
            (Some(inode), _) => {
                sandboxes.entry(inode).or_default().changed.insert(key, (old, new));
            }
            (None, object) => {
                let is_bridge = matches!(object, Object::Bridge(_));
                let part = Difference { changed: [(key, (old, new))].into(), ..Difference::default() };
                if is_bridge { bridges.push(part) } else { parts.push(part) }
            }
        }
    }
    let gone = difference.removed.into_iter().filter(|(_, object)| !is_firewall(object));
    let gone = Difference { removed: gone.collect(), ..Difference::default() };
    [bridges, sandboxes.into_values().collect(), parts, vec![gone]]
}

fn is_firewall(object: &Object) -> bool {
    matches!(object, Object::Element(_) | Object::Ruleset(_) | Object::Chain | Object::Rules(_))
}
