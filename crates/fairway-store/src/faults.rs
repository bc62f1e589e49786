//! Failures of file operations, for tests.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

/// `ENOSPC` of `errno.h`.
const NO_SPACE: i32 = 28;

/// Lets the file operations of a store fail, from one on and for a while. They are counted from 1.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    count: AtomicUsize,
    first: AtomicUsize,
    end: AtomicUsize,
}

impl Faults {
    /// Lets `length` operations fail after the next `healthy` ones.
    pub(crate) fn fail(&self, healthy: usize, length: usize) {
        self.count.store(0, Ordering::SeqCst);
        self.first.store(healthy + 1, Ordering::SeqCst);
        self.end.store((healthy + 1).saturating_add(length), Ordering::SeqCst);
    }

    /// How many operations there were since [`Faults::fail`].
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Whether the next operation fails.
    pub(crate) fn tears(&self) -> bool {
        self.fails(self.count() + 1)
    }

    /// Counts an operation, and returns the error with which it fails.
    pub(crate) fn next(&self) -> Option<io::Error> {
        let number = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        self.fails(number).then(|| io::Error::from_raw_os_error(NO_SPACE))
    }

    fn fails(&self, number: usize) -> bool {
        (self.first.load(Ordering::SeqCst)..self.end.load(Ordering::SeqCst)).contains(&number)
    }
}
