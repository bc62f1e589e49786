//! Those who watch what happens, and what happened last.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fairway_core::world::{Event, TimedEvent};

use crate::Engine;

/// How many events are kept for whoever asks later; as many as Docker keeps.
const KEPT: usize = 256;

/// Told each event; it must not block. It says whether it wants to be told more.
pub type EventListener = Box<dyn Fn(&TimedEvent) -> bool + Send>;

/// Who watches, and what happened last.
#[derive(Default)]
pub(crate) struct Events(Mutex<Hub>);

#[derive(Default)]
struct Hub {
    recent: VecDeque<TimedEvent>,
    watchers: Vec<EventListener>,
}

impl Events {
    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everybody.
    pub fn emit(&self, events: Vec<Event>, at: i64) {
        let mut hub = self.lock();
        for event in events {
            let happened = TimedEvent { event, at };
            hub.watchers.retain(|watcher| watcher(&happened));
            if hub.recent.len() == KEPT {
                hub.recent.pop_front();
            }
            hub.recent.push_back(happened);
        }
    }

    /// Tells `watcher` what happened last, and from now on everything.
    pub fn watch(&self, watcher: EventListener) {
        let mut hub = self.lock();
        if hub.recent.iter().all(&watcher) {
            hub.watchers.push(watcher);
        }
    }
}

impl Engine {
    /// Tells `watcher` the last 256 events, and from now on each, until it wants no more.
    pub fn watch(&self, watcher: EventListener) {
        self.events.watch(watcher);
    }

    /// Tells an event of the daemon itself.
    pub(crate) fn emit_daemon_event(&self, action: &'static str, attributes: &[(&str, String)]) {
        let event = self.read(|world| Event::of_daemon(action, &world.host().hostname, attributes));
        self.events.emit(vec![event], self.now());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn happen(events: &Events, count: usize) {
        (0..count).for_each(|_| events.emit(vec![Event::of_daemon("reload", "host", &[])], 1));
    }

    fn counting(most: usize) -> (EventListener, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let told = Arc::clone(&count);
        (Box::new(move |_| told.fetch_add(1, Ordering::SeqCst) + 1 < most), count)
    }

    #[test]
    fn the_last_are_kept_and_no_more() {
        let events = Events::default();
        happen(&events, KEPT + 10);
        let (watcher, count) = counting(usize::MAX);
        events.watch(watcher);
        assert_eq!(count.load(Ordering::SeqCst), KEPT);
        happen(&events, 1);
        assert_eq!(count.load(Ordering::SeqCst), KEPT + 1);
    }

    #[test]
    fn who_wants_no_more_is_forgotten() {
        let events = Events::default();
        let (watcher, count) = counting(2);
        events.watch(watcher);
        happen(&events, 5);
        assert_eq!(count.load(Ordering::SeqCst), 2);
        assert!(events.lock().watchers.is_empty());
    }
}
