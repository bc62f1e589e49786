//! The clocks of the host, clock_gettime(2). The wall clock can be set to any time; the others cannot.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since 1970 by the wall clock.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock of the host")]
pub fn wall() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX).saturating_add(test_offset())
}

/// Nanoseconds since the host booted, including those in which it was suspended (`CLOCK_BOOTTIME`).
pub fn boot() -> i64 {
    let since = clock_gettime(ClockId::Boottime);
    since.tv_sec.saturating_mul(1_000_000_000).saturating_add(since.tv_nsec)
}

/// How much the wall clock is ahead of the clock of the boot, in nanoseconds. This changes when the wall clock is set.
pub fn offset() -> i64 {
    wall().saturating_sub(boot())
}

/// Whether the wall clock was set between two offsets, and not only adjusted, as it is all the time.
pub fn was_set(before: i64, after: i64) -> bool {
    before.abs_diff(after) > 1_000_000_000
}

/// A clock that starts with the time of the wall clock, and goes on steadily when that is set.
#[derive(Debug, Clone, Copy)]
pub struct SteadyClock {
    offset: i64,
}

impl SteadyClock {
    /// Starts it.
    pub fn start() -> Self {
        Self { offset: offset() }
    }

    /// Nanoseconds since 1970.
    pub fn now(self) -> i64 {
        boot().saturating_add(self.offset)
    }
}

/// By how much a test sets the wall clock of a debug build, in nanoseconds: the seconds in the file that `FAIRWAY_CLOCK`
/// names.
#[cfg(debug_assertions)]
fn test_offset() -> i64 {
    use std::path::PathBuf;
    use std::sync::LazyLock;

    #[expect(clippy::disallowed_methods, reason = "a test names the file by the environment")]
    static FILE: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os("FAIRWAY_CLOCK").map(PathBuf::from));
    let seconds = FILE.as_ref().and_then(|file| std::fs::read_to_string(file).ok()?.trim().parse().ok());
    seconds.unwrap_or(0_i64).saturating_mul(1_000_000_000)
}

/// None in a release build.
#[cfg(not(debug_assertions))]
#[inline(always)]
fn test_offset() -> i64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_clock_shows_the_time_of_the_wall_clock_and_goes_on() {
        let clock = SteadyClock::start();
        let (first, wall) = (clock.now(), wall());
        assert!(first.abs_diff(wall) < 1_000_000_000, "{first} {wall}");
        assert!(clock.now() > first);
    }
}
