//! Returning memory to the system after work on very much at once.

use std::sync::atomic::{AtomicBool, Ordering};

use fairway_core::object::Difference;

use crate::Engine;

/// From so many objects on a change is one whose memory is returned afterwards; about ten megabytes.
const LARGE: usize = 10_000;

/// Whether memory is to be returned to the system.
#[derive(Debug, Default)]
pub(crate) struct Memory(AtomicBool);

impl Engine {
    /// Returns the memory that is free to the system within a few seconds: the allocator keeps what was freed in
    /// pieces, by threads that may not need as much again for days.
    pub fn release_memory_soon(&self) {
        self.memory.0.store(true, Ordering::Release);
    }

    /// Does so if the change was a large one.
    pub(crate) fn release_memory_of(&self, difference: &Difference) {
        if difference.keys().nth(LARGE).is_some() {
            self.release_memory_soon();
        }
    }

    /// Does it if it is due.
    pub(crate) fn release_memory(&self) {
        if self.memory.0.swap(false, Ordering::AcqRel) {
            fairway_kernel::system::release_memory();
        }
    }
}
