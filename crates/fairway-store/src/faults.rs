//! Failures of file operations, for tests.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `ENOSPC` of `errno.h`.
const NO_SPACE: i32 = 28;

/// Records the file operations of a store and lets them fail, from one on and for a while. They are counted from 1.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    log: Mutex<Vec<String>>,
    first: AtomicUsize,
    end: AtomicUsize,
}

impl Faults {
    /// Lets `length` operations fail after the next `healthy` ones.
    pub(crate) fn fail(&self, healthy: usize, length: usize) {
        self.entries().clear();
        self.first.store(healthy + 1, Ordering::SeqCst);
        self.end.store((healthy + 1).saturating_add(length), Ordering::SeqCst);
    }

    /// The operations since [`Faults::fail`]: what was done, and the name of the file.
    pub(crate) fn log(&self) -> Vec<String> {
        self.entries().clone()
    }

    /// Whether the next operation fails.
    pub(crate) fn tears(&self) -> bool {
        self.fails(self.log().len() + 1)
    }

    /// Records an operation, and returns the error with which it fails.
    pub(crate) fn next(&self, action: &str, path: &Path) -> Option<io::Error> {
        let mut log = self.entries();
        log.push(format!("{action} {}", path.file_name().unwrap_or_default().display()));
        self.fails(log.len()).then(|| io::Error::from_raw_os_error(NO_SPACE))
    }

    fn entries(&self) -> MutexGuard<'_, Vec<String>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fails(&self, number: usize) -> bool {
        (self.first.load(Ordering::SeqCst)..self.end.load(Ordering::SeqCst)).contains(&number)
    }
}
