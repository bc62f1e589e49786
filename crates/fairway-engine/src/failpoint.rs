//! Where one step of a change ends and the next begins.
//!
//! A crash may come at any of these places, and nothing may be lost or leaked by it. To test that, a
//! debug build of the daemon can be told to die at the n-th of them.

/// A debug build dies here, as by `kill -9`, when `FAIRWAY_CRASH_AT` names this place: `start:3` is
/// the third boundary of the start, `change:5` the fifth one after it.
#[cfg(debug_assertions)]
pub(crate) fn failpoint(name: &'static str) {
    asked::pass(name);
}

/// Nothing at all.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn failpoint(_: &'static str) {}

/// The start is over.
#[cfg(debug_assertions)]
pub(crate) fn started() {
    asked::start_is_over();
}

/// Nothing at all.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn started() {}

#[cfg(debug_assertions)]
mod asked {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    const VARIABLE: &str = "FAIRWAY_CRASH_AT";

    /// Whether it is to happen while starting, and at which boundary, counted from one.
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
            tracing::info!(failpoint = name, "killed as asked");
            // One cannot fail to kill oneself.
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }
}
