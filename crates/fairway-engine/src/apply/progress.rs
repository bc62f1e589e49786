//! Which objects of a difference are tried, and what is reported: after a failure everything goes on that does not rest
//! on what failed.

use std::collections::{HashMap, HashSet};

use fairway_core::object::{Difference, Key, Object, Phase};

use crate::error::{ApplyError, ApplyErrors, FailureReason, Subject, Unapplied};

/// Runs all phases of a difference in order: `run` applies the objects that are ready in the phase, and notes failures.
///
/// # Errors
/// The objects that are not as desired now, each with the reason.
pub(crate) fn apply_phases(
    difference: &Difference,
    mut run: impl FnMut(Phase, &mut Progress<'_>),
) -> Result<(), ApplyErrors> {
    let mut progress = Progress::of(difference);
    for phase in Phase::ALL {
        run(phase, &mut progress);
    }
    progress.finish()
}

/// What became of a difference so far.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    difference: &'a Difference,
    /// In the order in which they were noted.
    unapplied: Vec<Unapplied>,
    /// Their subjects.
    failed: HashSet<Subject>,
    /// The network namespaces that are not to be configured, by device and inode, with the cause.
    namespaces: HashMap<(u64, u64), Subject>,
}

impl<'a> Progress<'a> {
    fn of(difference: &'a Difference) -> Self {
        Self { difference, unapplied: Vec::new(), failed: HashSet::new(), namespaces: HashMap::new() }
    }

    /// Whether nothing has failed or was skipped.
    pub fn is_whole(&self) -> bool {
        self.unapplied.is_empty()
    }

    /// The difference that is applied.
    pub fn difference(&self) -> &'a Difference {
        self.difference
    }

    /// Whether an object, or a part that is applied as a whole, failed or was skipped.
    pub fn has_failed(&self, subject: &Subject) -> bool {
        self.failed.contains(subject)
    }

    fn has_failed_object(&self, key: &Key) -> bool {
        !self.failed.is_empty() && self.failed.contains(&Subject::Object(key.clone()))
    }

    /// The objects that are to be made or changed in these phases and rest on nothing that failed. The others are noted
    /// as skipped.
    pub fn ready(&mut self, phases: &[Phase]) -> Vec<(&'a Key, &'a Object)> {
        let wanted = self.difference.wanted().filter(|(key, _)| phases.contains(&Phase::of_wanted(key)));
        let mut ready: Vec<_> = wanted.filter(|(key, _)| !self.has_failed_object(key)).collect();
        if self.is_whole() {
            return ready;
        }
        // A link that is skipped keeps others of its namespace from being configured.
        loop {
            let before = ready.len();
            ready.retain(|(key, object)| match self.obstacle(key, object) {
                Some(because) => {
                    self.skip(key, because);
                    false
                }
                None => true,
            });
            if ready.len() == before {
                return ready;
            }
        }
    }

    /// Applies each object that is ready in a phase.
    pub fn each(&mut self, phase: Phase, apply: impl Fn(&Key, &Object) -> Result<(), ApplyError>) {
        for (key, object) in self.ready(&[phase]) {
            if let Err(error) = apply(key, object) {
                self.fail(Subject::Object(key.clone()), error);
            }
        }
    }

    /// Notes that an object, or a part that is applied as a whole, could not be applied.
    pub fn fail(&mut self, subject: Subject, error: ApplyError) {
        self.note(subject, FailureReason::Error(error));
    }

    /// Notes that an object is not tried because of another one.
    pub fn skip(&mut self, key: &Key, because: Subject) {
        if !self.has_failed_object(key) {
            self.note(Subject::Object(key.clone()), FailureReason::Skipped(because));
        }
    }

    fn note(&mut self, subject: Subject, reason: FailureReason) {
        if let Subject::Object(key) = &subject {
            let Difference { added, changed, .. } = self.difference;
            let object = added.get(key).or_else(|| changed.get(key).map(|(_, new)| new));
            if let Some(object) = object.filter(|object| object.is_sandbox_link()) {
                for place in object.namespaces() {
                    self.namespaces.entry(place.identity()).or_insert_with(|| subject.clone());
                }
            }
        }
        self.failed.insert(subject.clone());
        self.unapplied.push(Unapplied { subject, reason });
    }

    /// The failed or skipped part that an object rests on.
    fn obstacle(&self, key: &Key, object: &Object) -> Option<Subject> {
        if !key.is_safe_unfiltered() && self.has_failed(&Subject::Firewall) {
            return Some(Subject::Firewall);
        }
        let base = object.rests_on().filter(|base| self.has_failed_object(base)).map(Subject::Object);
        base.or_else(|| {
            object.namespaces().into_iter().find_map(|it| self.namespaces.get(&it.identity()).cloned())
        })
    }

    fn finish(self) -> Result<(), ApplyErrors> {
        if self.is_whole() { Ok(()) } else { Err(ApplyErrors(self.unapplied)) }
    }
}

#[cfg(test)]
mod tests;
