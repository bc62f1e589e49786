//! Making everything follow again: at the start, and after somebody else changed something.

pub(crate) mod address_conflict;
pub(crate) mod deviations;
pub(crate) mod drift;
pub(crate) mod foreign_firewall;
pub(crate) mod leases;
pub(crate) mod liveness;
pub(crate) mod netns_audit;
pub(crate) mod netns_diff;
pub(crate) mod observe;
mod orphans;
pub(crate) mod watcher;

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use fairway_core::object::{Difference, Fragment, Key, Object};
use fairway_relay::table::Record;

use crate::failpoint::failpoint;
use crate::parallel::in_parallel;
use crate::reconcile::drift::Drift;
use crate::reconcile::observe::Depth;
use crate::{ApplyError, Engine, EngineError};

/// How many ports are bound at once; where one is taken, these are tried one by one.
const BOUND_AT_ONCE: usize = 1024;
/// How many times of mending are remembered.
const REMEMBERED: usize = 64;

/// What the daemon mended last by itself, and when.
#[derive(Debug, Default)]
pub(crate) struct Repairs(Mutex<VecDeque<(i64, String)>>);

impl Repairs {
    /// Remembers what was mended at a time, in nanoseconds since 1970.
    pub fn remember(&self, at: i64, what: String) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if times.len() == REMEMBERED {
            times.pop_front();
        }
        times.push_back((at, what));
    }

    /// All that is remembered, the last last; times are in nanoseconds since 1970.
    pub fn all(&self) -> Vec<(i64, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Engine {
    /// All objects of the Plan.
    pub(crate) fn wanted(&self) -> Fragment {
        self.state().plan.values().flatten().map(|(key, object)| (key.clone(), object.clone())).collect()
    }

    /// Makes everything follow after a start, whatever the last daemon left.
    pub(crate) fn reconcile_at_start(&self, known: Vec<Record>) -> Result<(), EngineError> {
        let wanted = self.wanted();
        self.report_orphaned_sandboxes(&known);
        let (found, _) = self.observe(&wanted, &Depth::All(&known))?;
        let difference = Difference::between(found, wanted.clone());
        self.apply_in_parts(difference)?;
        self.firewall.sweep(&wanted);
        failpoint("swept");
        for (id, process, namespace) in self.running() {
            self.signals.watch(id, process, namespace.as_ref());
        }
        self.tidy_files();
        Ok(())
    }

    /// Looks whether everything is as it should be, and mends what is not, which is told in words.
    pub(crate) fn heal(&self) -> Result<Option<String>, EngineError> {
        let _exclusive = self.reconcile_lock.write().unwrap_or_else(PoisonError::into_inner);
        let depth = if self.signals.take_netns_check() { Depth::Enclosed } else { Depth::Host };
        let drift = self.compute_drift(&depth)?;
        if drift.difference.is_empty() {
            return Ok(None);
        }
        let drifted = drift.report();
        self.apply_in_parts(drift.difference)?;
        self.emit_daemon_event("repair", &[("drift", drifted.clone())]);
        Ok(Some(drifted))
    }

    /// Takes away rules of ours that another daemon left in a place that this one does not use.
    pub(crate) fn sweep_firewall(&self) {
        let _exclusive = self.reconcile_lock.write().unwrap_or_else(PoisonError::into_inner);
        self.firewall.sweep(&self.wanted());
    }

    /// What is other than it should be, without being mended.
    pub(crate) fn find_drift(&self) -> Result<Drift, ApplyError> {
        let _exclusive = self.reconcile_lock.write().unwrap_or_else(PoisonError::into_inner);
        self.compute_drift(&Depth::Enclosed)
    }

    /// The way from what is to what should be; nobody else may change anything meanwhile.
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
            deviations.insert(Key::Ruleset, self.firewall.deviations(&switches));
        }
        Ok(Drift { difference, deviations })
    }

    /// Applies a difference, leaving out whatever cannot be made, so that one bad object does not
    /// keep the others from being right. What was left out is tried again later.
    pub(crate) fn apply_in_parts(&self, mut difference: Difference) -> Result<(), EngineError> {
        self.bind_free_ports(&mut difference);
        let Err(error) = self.apply(&difference) else { return Ok(()) };
        tracing::warn!(%error, "not all could be made at once; going on one by one");
        // The firewall comes first and is all or nothing: without it nothing may be opened.
        self.firewall.apply(&difference)?;
        for group in parts(difference) {
            in_parallel(&group, |part| {
                if let Err(error) = self.apply(part) {
                    tracing::error!(%error, "cannot be made; it is tried again");
                    self.signals.request_retry();
                }
            });
        }
        Ok(())
    }

    /// Binds the ports that are wanted. One that another program took while nobody held it is left
    /// out, and said so.
    fn bind_free_ports(&self, difference: &mut Difference) {
        let wanted: Vec<_> = crate::commit::sockets(difference).collect();
        let mut taken = Vec::new();
        for some in wanted.chunks(BOUND_AT_ONCE) {
            if self.ports.bind_all(some.iter().copied()).is_ok() {
                continue;
            }
            for (protocol, address, purpose) in some {
                if let Err(error) = self.ports.bind_all([(*protocol, *address, *purpose)]) {
                    tracing::error!(%error, "a published port is lost until it is free again");
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
        self.read(|world| {
            world
                .sandboxes()
                .filter(|sandbox| sandbox.running())
                .map(|sandbox| (sandbox.id, sandbox.process(), sandbox.namespace().cloned()))
                .collect()
        })
    }
}

/// A difference in parts that can fail by themselves: one for each namespace, one for each other
/// object. Parts of a group do not depend on one another, but on the groups before. What is the firewall's is left out;
/// it was applied before.
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
