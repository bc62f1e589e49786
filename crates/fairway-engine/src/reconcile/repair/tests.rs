use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use fairway_core::object::{Object, SetName};

use super::*;

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn sysctl(name: &str) -> Key {
    Key::Sysctl(name.to_owned())
}

/// A host on which objects are planned, missing, and cannot be made.
#[derive(Default)]
struct Fake {
    planned: BTreeSet<Key>,
    missing: RefCell<BTreeSet<Key>>,
    /// Objects that fail together, and how often still.
    bad: RefCell<Vec<(Vec<Key>, u32)>>,
    firewall_refuses: Cell<bool>,
    unobservable: Cell<bool>,
    /// What was applied, reported as repaired, slowed down and failed.
    applied: RefCell<Vec<Vec<Key>>>,
    repaired: RefCell<Vec<Vec<Key>>>,
    slowed: RefCell<Vec<(Key, u64)>>,
    failed: RefCell<Vec<(String, u64)>>,
}

impl Fake {
    fn planning(keys: &[Key]) -> Self {
        Self { planned: keys.iter().cloned().collect(), ..Self::default() }
    }

    fn lose(&self, keys: &[Key]) {
        self.missing.borrow_mut().extend(keys.iter().cloned());
    }

    fn spoil(&self, keys: &[Key], times: u32) {
        self.bad.borrow_mut().push((keys.to_vec(), times));
    }

    fn applied(&self) -> Vec<Vec<Key>> {
        self.applied.take()
    }
}

impl Host for Fake {
    fn drift(&self, _: bool, incomplete: &BTreeSet<Key>) -> Result<Drift, EngineError> {
        if self.unobservable.get() {
            return Err(EngineError::Observe("no buffer space".into()));
        }
        let mut drift = Drift::default();
        let missing = self.missing.borrow();
        for key in missing.union(incomplete).filter(|key| self.planned.contains(key)) {
            drift.difference.added.insert(key.clone(), Object::Sysctl("1".to_owned()));
        }
        Ok(drift)
    }

    fn apply(&self, difference: &Difference) -> Result<Vec<Failure>, EngineError> {
        if self.firewall_refuses.get() {
            return Err(EngineError::Observe("the firewall cannot be applied".into()));
        }
        let keys: BTreeSet<Key> = difference.keys().cloned().collect();
        self.applied.borrow_mut().push(keys.iter().cloned().collect());
        let mut failures = Vec::new();
        for (bad, times) in self.bad.borrow_mut().iter_mut().filter(|(_, times)| *times > 0) {
            if bad.iter().any(|key| keys.contains(key)) {
                *times -= 1;
                failures.push(Failure { keys: bad.clone(), error: format!("cannot make {bad:?}") });
            }
        }
        let failed: BTreeSet<Key> = failures.iter().flat_map(|failure| failure.keys.clone()).collect();
        self.missing.borrow_mut().retain(|key| !keys.contains(key) || failed.contains(key));
        Ok(failures)
    }

    fn repaired(&self, drift: &Drift, slowed: &[(Key, Duration)]) {
        self.repaired.borrow_mut().push(drift.difference.keys().cloned().collect());
        let slowed = slowed.iter().map(|(key, delay)| (key.clone(), delay.as_secs()));
        self.slowed.borrow_mut().extend(slowed);
    }

    fn failed(&self, failure: &Failure, delay: Duration) {
        self.failed.borrow_mut().push((failure.error.clone(), delay.as_secs()));
    }
}

#[test]
fn drift_is_repaired_and_reported_once() {
    let (a, b) = (sysctl("a"), sysctl("b"));
    let host = Fake::planning(&[a.clone(), b.clone()]);
    let mut pace = Pace::default();
    host.lose(std::slice::from_ref(&a));
    assert_eq!(pace.repair(&host, false, ms(0)).unwrap(), None);
    assert_eq!(pace.repair(&host, false, ms(100)).unwrap(), None);
    assert_eq!((host.applied(), host.repaired.take()), (vec![vec![a.clone()]], vec![vec![a]]));
    assert!(host.failed.take().is_empty() && host.slowed.take().is_empty());
}

#[test]
fn what_cannot_be_repaired_is_tried_ever_later_and_never_reported_as_repaired() {
    let (bad, good) = (sysctl("bad"), sysctl("good"));
    let host = Fake::planning(&[bad.clone(), good.clone()]);
    let mut pace = Pace::default();
    host.spoil(std::slice::from_ref(&bad), 4);
    host.lose(&[bad.clone(), good.clone()]);
    let mut runs = Vec::new();
    let mut next = Some(ms(0));
    while let Some(now) = next {
        runs.push(now.as_secs());
        next = pace.repair(&host, false, now).unwrap();
    }
    assert_eq!(runs, [0, 1, 3, 7, 15]);
    let delays: Vec<u64> = host.failed.take().into_iter().map(|(_, delay)| delay).collect();
    assert_eq!(delays, [1, 2, 4, 8]);
    assert_eq!(host.repaired.take(), [vec![good], vec![bad.clone()]]);
    // It starts anew after the success.
    host.spoil(std::slice::from_ref(&bad), 1);
    host.lose(&[bad]);
    assert_eq!(pace.repair(&host, false, seconds(20)).unwrap(), Some(seconds(21)));
}

#[test]
fn a_bad_object_waits_and_delays_no_other() {
    let (bad, good) = (sysctl("bad"), sysctl("good"));
    let host = Fake::planning(&[bad.clone(), good.clone()]);
    let mut pace = Pace::default();
    host.spoil(std::slice::from_ref(&bad), u32::MAX);
    host.lose(std::slice::from_ref(&bad));
    for now in [0, 1, 3, 7] {
        pace.repair(&host, false, seconds(now)).unwrap();
    }
    host.applied();
    // Other drift is repaired at once, and the waiting object is left alone.
    host.lose(std::slice::from_ref(&good));
    assert_eq!(pace.repair(&host, false, seconds(8)).unwrap(), Some(seconds(15)));
    assert_eq!(host.applied(), [vec![good]]);
    // No run before its time touches it.
    for now in 9..15 {
        assert_eq!(pace.repair(&host, true, seconds(now)).unwrap(), Some(seconds(15)));
    }
    assert!(host.applied().is_empty());
    assert_eq!(pace.repair(&host, false, seconds(15)).unwrap(), Some(seconds(31)));
    assert_eq!(host.applied(), [vec![bad]]);
}

#[test]
fn objects_of_one_namespace_wait_together_and_are_one_failure() {
    let keys = [sysctl("link"), sysctl("routes")];
    let host = Fake::planning(&keys);
    let mut pace = Pace::default();
    host.spoil(&keys, 2);
    host.lose(&keys);
    assert_eq!(pace.repair(&host, false, ms(0)).unwrap(), Some(seconds(1)));
    assert_eq!(pace.repair(&host, false, seconds(1)).unwrap(), Some(seconds(3)));
    assert_eq!(host.failed.borrow().len(), 2);
    assert_eq!(host.applied(), [keys.to_vec(), keys.to_vec()]);
}

#[test]
fn a_cause_that_may_be_gone_ends_the_wait() {
    let bad = sysctl("bad");
    let host = Fake::planning(std::slice::from_ref(&bad));
    let mut pace = Pace::default();
    host.spoil(std::slice::from_ref(&bad), 6);
    host.lose(std::slice::from_ref(&bad));
    for now in [0, 1, 3, 7, 15, 31] {
        pace.repair(&host, false, seconds(now)).unwrap();
    }
    pace.retry_failed(seconds(32));
    assert_eq!(pace.next_retry(), Some(seconds(32)));
    assert_eq!(pace.repair(&host, true, seconds(32)).unwrap(), None);
    assert_eq!(host.repaired.take(), [vec![bad]]);
}

#[test]
fn a_failed_object_is_applied_again_even_if_the_host_shows_it() {
    let netns = sysctl("inside");
    let host = Fake::planning(std::slice::from_ref(&netns));
    let mut pace = Pace::default();
    // A command failed half way: the host cannot see what is missing inside.
    let failure = Failure { keys: vec![netns.clone()], error: "cannot add an address".to_owned() };
    pace.note_failure(&host, &failure, ms(0));
    assert_eq!(host.failed.take(), [("cannot add an address".to_owned(), 1)]);
    assert_eq!(pace.repair(&host, false, ms(500)).unwrap(), Some(seconds(1)));
    assert!(host.applied().is_empty());
    assert_eq!(pace.repair(&host, false, seconds(1)).unwrap(), None);
    assert_eq!(host.applied(), [vec![netns]]);
}

#[test]
fn a_failed_object_that_is_planned_no_more_is_forgotten() {
    let gone = sysctl("gone");
    let host = Fake::default();
    let mut pace = Pace::default();
    let failure = Failure { keys: vec![gone], error: "cannot delete a route".to_owned() };
    pace.note_failure(&host, &failure, ms(0));
    assert_eq!(pace.repair(&host, false, seconds(1)).unwrap(), None);
    assert_eq!(pace.next_retry(), None);
    assert!(host.applied().is_empty());
}

/// How often an object is repaired within a time while another program changes it after each repair, and when last.
fn fight(key: &Key, host: &Fake, pace: &mut Pace, from: u64, until: u64) -> Vec<u64> {
    let mut repairs = Vec::new();
    for now in (from..until).step_by(20) {
        host.lose(std::slice::from_ref(key));
        pace.repair(host, false, ms(now)).unwrap();
        if !host.applied().is_empty() {
            repairs.push(now / 1000);
        }
    }
    repairs
}

#[test]
fn a_fight_over_an_object_does_not_get_hot() {
    let (contested, other) = (sysctl("contested"), sysctl("other"));
    let host = Fake::planning(&[contested.clone(), other.clone()]);
    let mut pace = Pace::default();
    let repairs = fight(&contested, &host, &mut pace, 0, 600_000);
    assert_eq!(repairs[..11], [0; 11], "the first are repaired at once");
    assert_eq!(repairs[11..18], [1, 3, 7, 15, 31, 63, 123]);
    assert!(repairs.len() < 30, "{repairs:?}");
    // Each repair is reported once, and each wait.
    assert_eq!(host.repaired.take().len(), repairs.len());
    let delays: Vec<u64> = host.slowed.take().into_iter().map(|(_, delay)| delay).collect();
    assert_eq!(delays[..7], [1, 2, 4, 8, 16, 32, 60]);
    // Others are repaired at once.
    host.lose(&[other.clone(), contested.clone()]);
    let next = pace.repair(&host, false, seconds(600)).unwrap().unwrap();
    assert_eq!(host.applied(), [vec![other]]);
    assert!(next > seconds(600) && next <= seconds(660), "the held repair is made at {next:?}");
    pace.repair(&host, false, next).unwrap();
    assert_eq!(host.applied(), [vec![contested.clone()]]);
    // After a calm time it is repaired at once again.
    let calm = next + LONGEST_DELAY + CALM;
    host.lose(std::slice::from_ref(&contested));
    assert_eq!(pace.repair(&host, false, calm).unwrap(), None);
    assert_eq!(host.applied(), [vec![contested]]);
}

#[test]
fn drift_now_and_then_is_repaired_at_once_for_ever() {
    let key = sysctl("a");
    let host = Fake::planning(std::slice::from_ref(&key));
    let mut pace = Pace::default();
    for minute in 0..1000 {
        host.lose(std::slice::from_ref(&key));
        assert_eq!(pace.repair(&host, false, seconds(minute * 61)).unwrap(), None);
    }
    assert_eq!(host.repaired.take().len(), 1000);
}

#[test]
fn the_firewall_is_repaired_as_one_and_waits_a_second_at_most() {
    let elements = [1, 2].map(|number| Key::Element(SetName::Bridges, vec![number]));
    let host = Fake::planning(&elements);
    let mut pace = Pace::default();
    for now in (0..30_000).step_by(20) {
        host.lose(&elements);
        pace.repair(&host, false, ms(now)).unwrap();
    }
    let applied = host.applied();
    assert!(applied.iter().all(|keys| *keys == elements), "never a part of it");
    assert_eq!(applied.len(), 11 + 29, "ten without delay, then one a second");
}

#[test]
fn a_host_that_cannot_be_observed_changes_no_wait() {
    let bad = sysctl("bad");
    let host = Fake::planning(std::slice::from_ref(&bad));
    let mut pace = Pace::default();
    host.spoil(std::slice::from_ref(&bad), 1);
    host.lose(std::slice::from_ref(&bad));
    pace.repair(&host, false, ms(0)).unwrap();
    host.unobservable.set(true);
    assert!(pace.repair(&host, false, seconds(5)).is_err());
    assert_eq!(pace.next_retry(), Some(seconds(1)));
    host.unobservable.set(false);
    assert_eq!(pace.repair(&host, false, seconds(6)).unwrap(), None);
    assert_eq!(host.repaired.take(), [vec![bad]]);
}

#[test]
fn without_the_firewall_nothing_is_reported_as_repaired() {
    let key = sysctl("a");
    let host = Fake::planning(std::slice::from_ref(&key));
    let mut pace = Pace::default();
    host.lose(std::slice::from_ref(&key));
    host.firewall_refuses.set(true);
    assert!(pace.repair(&host, false, ms(0)).is_err());
    assert!(host.repaired.borrow().is_empty());
    host.firewall_refuses.set(false);
    pace.repair(&host, false, seconds(1)).unwrap();
    assert_eq!(host.repaired.take(), [vec![key]]);
}

#[test]
fn many_objects_wait_each_for_itself() {
    let keys: Vec<Key> = (0..100).map(|number| sysctl(&number.to_string())).collect();
    let host = Fake::planning(&keys);
    let mut pace = Pace::default();
    // Number n fails n times, so it succeeds at its run number n + 1.
    let mut expected = BTreeMap::new();
    for (number, key) in keys.iter().enumerate().take(6) {
        host.spoil(std::slice::from_ref(key), u32::try_from(number).unwrap());
        expected.insert(key.clone(), (1 << number) - 1);
    }
    host.lose(&keys);
    let mut repaired = BTreeMap::new();
    let mut next = Some(ms(0));
    while let Some(now) = next {
        next = pace.repair(&host, false, now).unwrap();
        for key in host.repaired.take().into_iter().flatten() {
            repaired.insert(key, now.as_secs());
        }
    }
    assert_eq!(repaired.len(), keys.len());
    repaired.retain(|key, _| expected.contains_key(key));
    assert_eq!(repaired, expected);
}
