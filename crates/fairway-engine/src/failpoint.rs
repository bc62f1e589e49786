//! Failpoints: named places at which a test kills the daemon.
//!
//! A crash at any of these places must lose and leak nothing. A debug build of the daemon kills itself at the n-th of
//! them.

/// Kills a debug build, as by `kill -9`, when `FAIRWAY_CRASH_AT` names this place: `start:3` is the third failpoint of
/// the start, `change:5` the fifth one after the start.
#[cfg(debug_assertions)]
pub(crate) fn failpoint(name: &'static str) {
    asked::pass(name);
}

/// Does nothing in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn failpoint(_: &'static str) {}

/// Notes that the start is over: failpoints of changes are counted from here.
#[cfg(debug_assertions)]
pub(crate) fn started() {
    asked::start_is_over();
}

/// Does nothing in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn started() {}

#[cfg(debug_assertions)]
mod asked {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    const VARIABLE: &str = "FAIRWAY_CRASH_AT";

    /// Whether to die while starting, and at which failpoint, counted from one.
    #[expect(clippy::disallowed_methods, reason = "a crash test names the failpoint by the environment")]
    static ASKED: LazyLock<Option<(bool, usize)>> = LazyLock::new(|| parse(&std::env::var(VARIABLE).ok()?));
    static STARTED: AtomicBool = AtomicBool::new(false);
    static PASSED: AtomicUsize = AtomicUsize::new(0);

    fn parse(text: &str) -> Option<(bool, usize)> {
        let (when, number) = text.split_once(':')?;
        Some((when == "start", number.parse().ok()?))
    }

    pub(super) fn start_is_over() {
        STARTED.store(true, Ordering::SeqCst);
    }

    pub(super) fn pass(name: &str) {
        let Some((starting, number)) = *ASKED else { return };
        if starting == STARTED.load(Ordering::SeqCst) {
            return;
        }
        if PASSED.fetch_add(1, Ordering::SeqCst) + 1 == number {
            tracing::info!(failpoint = name, "killing the daemon at failpoint {name}");
            // A process may always kill itself.
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }
}
