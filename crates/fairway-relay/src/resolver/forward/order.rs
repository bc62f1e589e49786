//! A queue of questions by arrival, of which some may be finished.

use std::collections::VecDeque;

use crate::slab::SlabKey;

/// A queue of questions; finished ones are dropped when they are met.
#[derive(Debug, Default)]
pub(super) struct Order {
    queue: VecDeque<SlabKey>,
    /// The length at which finished questions are removed.
    swept_at: usize,
}

impl Order {
    /// Appends a question. At most half of the memory is for finished questions.
    pub fn push(&mut self, place: SlabKey, waits: impl Fn(SlabKey) -> bool) {
        if self.queue.len() >= self.swept_at.max(64) {
            self.queue.retain(|place| waits(*place));
            self.swept_at = self.queue.len() * 2;
        }
        self.queue.push_back(place);
    }

    /// Takes the oldest waiting question.
    pub fn pop(&mut self, waits: impl Fn(SlabKey) -> bool) -> Option<SlabKey> {
        std::iter::from_fn(|| self.queue.pop_front()).find(|place| waits(*place))
    }
}
