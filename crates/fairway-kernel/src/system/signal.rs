//! Signals by number, signal(7).

use rustix::process::Signal;

/// The lowest real-time signal that programs use: the C library keeps 32 and 33 for itself.
pub const REALTIME_LOWEST: i32 = 34;
/// The highest signal.
pub const HIGHEST: i32 = 64;

/// The signal of a number; none if programs have none of it.
pub fn of_number(number: i32) -> Option<Signal> {
    let known = Signal::from_named_raw(number);
    known.or_else(|| {
        let realtime = (REALTIME_LOWEST..=HIGHEST).contains(&number);
        // SAFETY: the number is that of a signal, and this program handles none of these: it sends them to others.
        realtime.then(|| unsafe { Signal::from_raw_unchecked(number) })
    })
}
