//! Exponential backoff: how long each of many objects waits for its next attempt.

use std::collections::BTreeMap;
use std::time::Duration;

/// The delay after the first attempt that counts. Each further one doubles it.
pub(crate) const FIRST_DELAY: Duration = Duration::from_secs(1);
/// The longest delay.
pub(crate) const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// The attempts at one object. Times are on the monotonic clock of the reconcile loop.
#[derive(Debug, Clone, Copy, Default)]
struct Attempts {
    count: u32,
    last: Duration,
    due: Duration,
}

/// Counts attempts for each key, and says when the next one is due.
#[derive(Debug)]
pub(crate) struct Backoff<K> {
    /// So many attempts in a row cause no delay.
    free: u32,
    attempts: BTreeMap<K, Attempts>,
}

impl<K: Ord + Clone> Backoff<K> {
    /// Starts with no attempts. The first `free` attempts at a key cause no delay.
    pub fn new(free: u32) -> Self {
        Self { free, attempts: BTreeMap::new() }
    }

    /// Counts an attempt at `now`, and returns how long the next one waits: at most `longest`.
    pub fn attempt(&mut self, key: K, now: Duration, longest: Duration) -> Duration {
        let attempts = self.attempts.entry(key).or_default();
        attempts.count = attempts.count.saturating_add(1);
        let delay = delay(attempts.count.saturating_sub(self.free)).min(longest);
        (attempts.last, attempts.due) = (now, now + delay);
        delay
    }

    /// Whether the next attempt at a key is not due yet.
    pub fn is_waiting(&self, key: &K, now: Duration) -> bool {
        self.due(key).is_some_and(|due| due > now)
    }

    /// When the next attempt at a key is due; none without attempts.
    pub fn due(&self, key: &K) -> Option<Duration> {
        self.attempts.get(key).map(|attempts| attempts.due)
    }

    /// When the last attempt at a key was.
    pub fn last(&self, key: &K) -> Option<Duration> {
        self.attempts.get(key).map(|attempts| attempts.last)
    }

    /// The keys with attempts whose next attempt is due.
    pub fn all_due(&self, now: Duration) -> impl Iterator<Item = &K> {
        self.attempts.iter().filter(move |(_, attempts)| attempts.due <= now).map(|(key, _)| key)
    }

    /// When the first of all next attempts is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.attempts.values().map(|attempts| attempts.due).min()
    }

    /// Forgets the attempts at a key: it starts anew.
    pub fn forget(&mut self, key: &K) {
        self.attempts.remove(key);
    }

    /// Forgets the keys whose next attempt has been due for `idle` without being made.
    pub fn forget_idle(&mut self, now: Duration, idle: Duration) {
        self.attempts.retain(|_, attempts| attempts.due + idle > now);
    }

    /// Makes the next attempt at every key due at once. The counts stay.
    pub fn release(&mut self, now: Duration) {
        self.attempts.values_mut().for_each(|attempts| attempts.due = attempts.due.min(now));
    }
}

/// The delay after so many attempts.
fn delay(attempts: u32) -> Duration {
    match attempts {
        0 => Duration::ZERO,
        attempts => FIRST_DELAY.saturating_mul(2u32.saturating_pow(attempts - 1)).min(LONGEST_DELAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn delays(backoff: &mut Backoff<&str>, count: usize) -> Vec<u64> {
        let mut now = at(100);
        let mut delays = Vec::new();
        for _ in 0..count {
            let delay = backoff.attempt("x", now, LONGEST_DELAY);
            delays.push(delay.as_secs());
            now += delay;
        }
        delays
    }

    #[test]
    fn delays_double_up_to_a_minute() {
        assert_eq!(delays(&mut Backoff::new(0), 9), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn free_attempts_cause_no_delay() {
        assert_eq!(delays(&mut Backoff::new(3), 6), [0, 0, 0, 1, 2, 4]);
    }

    #[test]
    fn no_count_of_attempts_overflows() {
        let mut backoff = Backoff::new(0);
        assert_eq!(delays(&mut backoff, 200).last(), Some(&60));
    }

    #[test]
    fn the_callers_bound_is_kept() {
        let mut backoff = Backoff::new(0);
        let all: Vec<_> = (0..4).map(|_| backoff.attempt("x", at(0), at(3)).as_secs()).collect();
        assert_eq!(all, [1, 2, 3, 3]);
    }

    #[test]
    fn a_success_starts_anew() {
        let mut backoff = Backoff::new(0);
        delays(&mut backoff, 5);
        backoff.forget(&"x");
        assert_eq!(delays(&mut backoff, 2), [1, 2]);
    }

    #[test]
    fn keys_wait_for_themselves_alone() {
        let mut backoff = Backoff::new(0);
        for _ in 0..6 {
            backoff.attempt("bad", at(10), LONGEST_DELAY);
        }
        backoff.attempt("new", at(10), LONGEST_DELAY);
        assert!(backoff.is_waiting(&"bad", at(11)) && !backoff.is_waiting(&"new", at(11)));
        assert!(!backoff.is_waiting(&"other", at(0)), "a key without attempts is due");
        assert_eq!(backoff.all_due(at(11)).collect::<Vec<_>>(), [&"new"]);
        assert_eq!(backoff.next_due(), Some(at(11)));
    }

    #[test]
    fn a_release_makes_all_due_and_keeps_the_counts() {
        let mut backoff = Backoff::new(0);
        delays(&mut backoff, 3);
        backoff.release(at(0));
        assert!(!backoff.is_waiting(&"x", at(0)));
        assert_eq!(backoff.attempt("x", at(0), LONGEST_DELAY), at(8));
    }

    #[test]
    fn idle_keys_are_forgotten_and_busy_ones_are_not() {
        let mut backoff = Backoff::new(0);
        backoff.attempt("idle", at(0), LONGEST_DELAY);
        backoff.attempt("busy", at(50), LONGEST_DELAY);
        backoff.forget_idle(at(61), at(60));
        assert_eq!((backoff.due(&"idle"), backoff.due(&"busy")), (None, Some(at(51))));
    }
}
