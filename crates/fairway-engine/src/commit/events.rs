//! Events: the last ones, and the listeners to new ones.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fairway_core::world::{Event, TimedEvent};

use super::Committer;

/// How many events are kept for later listeners; as many as Docker keeps.
const KEPT: usize = 256;

/// Receives each event; must not block. Returns whether it wants more events.
pub type EventListener = Box<dyn Fn(&TimedEvent) -> bool + Send>;

/// The listeners and the last events.
#[derive(Default)]
pub(crate) struct Events(Mutex<Hub>);

#[derive(Default)]
struct Hub {
    recent: VecDeque<TimedEvent>,
    listeners: Vec<EventListener>,
}

impl Events {
    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends events to all listeners.
    pub fn emit(&self, events: Vec<Event>, at: i64) {
        let mut hub = self.lock();
        for event in events {
            let happened = TimedEvent { event, at };
            hub.listeners.retain(|listener| listener(&happened));
            if hub.recent.len() == KEPT {
                hub.recent.pop_front();
            }
            hub.recent.push_back(happened);
        }
    }

    /// Sends the last events to a listener, and from now on each new one.
    pub fn watch(&self, listener: EventListener) {
        let mut hub = self.lock();
        if hub.recent.iter().all(&listener) {
            hub.listeners.push(listener);
        }
    }
}

impl Committer {
    /// Emits an event of the daemon itself.
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
        let received = Arc::clone(&count);
        (Box::new(move |_| received.fetch_add(1, Ordering::SeqCst) + 1 < most), count)
    }

    #[test]
    fn the_last_256_events_are_kept() {
        let events = Events::default();
        happen(&events, KEPT + 10);
        let (listener, count) = counting(usize::MAX);
        events.watch(listener);
        assert_eq!(count.load(Ordering::SeqCst), KEPT);
        happen(&events, 1);
        assert_eq!(count.load(Ordering::SeqCst), KEPT + 1);
    }

    #[test]
    fn a_listener_that_wants_no_more_is_removed() {
        let events = Events::default();
        let (listener, count) = counting(2);
        events.watch(listener);
        happen(&events, 5);
        assert_eq!(count.load(Ordering::SeqCst), 2);
        assert!(events.lock().listeners.is_empty());
    }
}
