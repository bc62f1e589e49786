//! Runs work in parallel that waits for the kernel more than it computes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How many items are worked on at once. Most of the time of a change in a network namespace goes into waiting for
/// readers of the kernel's tables (RCU), which many threads can do together.
const AT_ONCE: usize = 16;

/// Runs `work` for each of `items`, several at a time, and returns the results in the order of the items.
pub fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    in_parallel_at_most(AT_ONCE, items, work)
}

/// As [`in_parallel`], so many at a time.
pub fn in_parallel_at_most<T: Sync, R: Send>(
    at_once: usize,
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    if items.len() <= 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let go_on = || {
        while let Some((at, item)) = {
            let at = next.fetch_add(1, Ordering::Relaxed);
            items.get(at).map(|item| (at, item))
        } {
            let result = work(item);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..at_once.min(items.len()) {
            // Without the thread the others do its share.
            let _ = std::thread::Builder::new().name("parallel".to_owned()).spawn_scoped(scope, go_on);
        }
        go_on();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Runs two works at once, the first one on another thread if one can be started.
pub fn both<A: Send, B>(first: impl Fn() -> A + Sync, second: impl FnOnce() -> B) -> (A, B) {
    std::thread::scope(|scope| {
        let started = std::thread::Builder::new().name("parallel".to_owned()).spawn_scoped(scope, &first);
        let second = second();
        let first = match started {
            Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => first(),
        };
        (first, second)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_done_once_at_the_same_time() {
        let (send, receive) = std::sync::mpsc::channel();
        // Each waits for the other.
        let (first, second) = both(|| send.send(1).map(|()| 2), || receive.recv().map(|it| it + 2));
        assert_eq!((first, second), (Ok(2), Ok(3)));
    }

    #[test]
    fn each_is_done_once_and_the_results_are_in_order() {
        for count in [0, 1, 2, 100] {
            let items: Vec<usize> = (0..count).collect();
            assert_eq!(
                in_parallel(&items, |item| item * 2),
                items.iter().map(|item| item * 2).collect::<Vec<_>>()
            );
        }
    }
}
