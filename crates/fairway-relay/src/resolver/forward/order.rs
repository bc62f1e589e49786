//! Questions in the order in which they came, some of which wait no more.

use std::collections::VecDeque;

use crate::slab::Place;

/// A queue of questions; those that wait no more are dropped when they are met.
#[derive(Debug, Default)]
pub(super) struct Order {
    queue: VecDeque<Place>,
    /// At which length those that wait no more are looked for.
    swept_at: usize,
}

impl Order {
    /// Appends a question. At most half of the memory is for questions that wait no more.
    pub fn push(&mut self, place: Place, waits: impl Fn(Place) -> bool) {
        if self.queue.len() >= self.swept_at.max(64) {
            self.queue.retain(|place| waits(*place));
            self.swept_at = self.queue.len() * 2;
        }
        self.queue.push_back(place);
    }

    /// Takes the oldest question that waits.
    pub fn pop(&mut self, waits: impl Fn(Place) -> bool) -> Option<Place> {
        std::iter::from_fn(|| self.queue.pop_front()).find(|place| waits(*place))
    }
}
