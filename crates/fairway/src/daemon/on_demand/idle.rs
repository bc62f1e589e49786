//! When an on-demand daemon ends.

use std::time::Duration;

/// How long a daemon waits for its first request.
const FIRST: Duration = Duration::from_secs(10);
/// How long a daemon goes on after its last sandbox and its last request.
const LAST: Duration = Duration::from_secs(5);

/// What a daemon has to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// How many sandboxes there are, running or not.
    pub sandboxes: usize,
    /// How many requests are in progress.
    pub requests: usize,
    /// How many requests have begun since the daemon started.
    pub begun: u64,
}

/// How long a daemon has had nothing to do.
#[derive(Debug, Default)]
pub(super) struct Idle {
    /// Since when it has had nothing to do.
    since: Duration,
    begun: u64,
    was_busy: bool,
}

impl Idle {
    /// Whether the daemon ends, by what it has to do at `now`, a time since its start. One that was `asked` to end does so
    /// without waiting.
    pub fn ends(&mut self, now: Duration, load: Load, asked: bool) -> bool {
        let busy = load.sandboxes > 0 || load.requests > 0;
        if busy || load.begun != self.begun {
            (self.since, self.begun, self.was_busy) = (now, load.begun, true);
        }
        let patience = if self.was_busy { LAST } else { FIRST };
        !busy && (asked || now.saturating_sub(self.since) >= patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Load = Load { sandboxes: 0, requests: 0, begun: 0 };

    /// The first of the seconds from 1 on in which a daemon with these loads ends; the last load goes on.
    fn end(loads: &[Load]) -> Option<usize> {
        let mut idle = Idle::default();
        let last = *loads.last().unwrap();
        (1..60).find(|second| {
            let load = loads.get(second - 1).copied().unwrap_or(last);
            idle.ends(Duration::from_secs(*second as u64), load, false)
        })
    }

    #[test]
    fn a_daemon_without_requests_ends_ten_seconds_after_its_start() {
        assert_eq!(end(&[NOTHING]), Some(10));
    }

    #[test]
    fn a_daemon_ends_five_seconds_after_the_last_request_and_sandbox() {
        let request = Load { requests: 1, begun: 1, ..NOTHING };
        let answered = Load { begun: 1, ..NOTHING };
        let sandbox = Load { sandboxes: 1, ..answered };
        assert_eq!(end(&[request, answered]), Some(6));
        assert_eq!(end(&[request, sandbox, sandbox, sandbox, answered]), Some(9));
        // One that was there at the start, as after a kill.
        assert_eq!(end(&[Load { sandboxes: 1, ..NOTHING }, NOTHING]), Some(6));
    }

    #[test]
    fn a_daemon_with_a_sandbox_or_a_request_does_not_end() {
        assert_eq!(end(&[Load { sandboxes: 1, ..NOTHING }]), None);
        assert_eq!(end(&[Load { requests: 1, begun: 1, ..NOTHING }]), None);
    }

    #[test]
    fn a_request_between_two_looks_counts() {
        let answered = |begun| Load { begun, ..NOTHING };
        assert_eq!(end(&[answered(1), answered(1), answered(1), answered(1), answered(2)]), Some(10));
    }

    #[test]
    fn a_daemon_that_was_asked_ends_as_soon_as_it_has_nothing_to_do() {
        let mut idle = Idle::default();
        let second = Duration::from_secs;
        assert!(!idle.ends(second(1), Load { requests: 1, begun: 1, ..NOTHING }, true));
        assert!(!idle.ends(second(2), Load { sandboxes: 1, begun: 1, ..NOTHING }, true));
        assert!(idle.ends(second(3), Load { begun: 1, ..NOTHING }, true));
    }
}
