//! Waiters for the exit codes of sandboxes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use fairway_model::SandboxId;

/// Called with an exit code.
pub type ExitListener = dyn Fn(i32) + Send + Sync;

/// The waiters, by sandbox. A dropped waiter is removed when the next one is added.
#[derive(Default)]
pub(crate) struct ExitWaiters(Mutex<HashMap<SandboxId, Vec<Weak<ExitListener>>>>);

impl ExitWaiters {
    /// Calls `listener`, if it still exists, when the sandbox stops next.
    pub fn listen(&self, sandbox: SandboxId, listener: Weak<ExitListener>) {
        let mut waiters = self.lock();
        waiters.retain(|_, listeners| {
            listeners.retain(|listener| listener.strong_count() > 0);
            !listeners.is_empty()
        });
        waiters.entry(sandbox).or_default().push(listener);
    }

    /// Sends the exit code to the waiters of a sandbox.
    pub fn notify(&self, sandbox: SandboxId, code: i32) {
        let listeners = self.lock().remove(&sandbox).unwrap_or_default();
        listeners.iter().filter_map(Weak::upgrade).for_each(|listener| listener(code));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SandboxId, Vec<Weak<ExitListener>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI32, Ordering};

    use super::*;

    #[test]
    fn dropped_waiters_are_removed() {
        let (exit_waiters, code) = (ExitWaiters::default(), Arc::new(AtomicI32::new(0)));
        let (one, other) = (SandboxId::new([1; 32]), SandboxId::new([2; 32]));
        for id in [one, other] {
            let gone: Arc<ExitListener> = Arc::new(|_| panic!("the waiter was dropped"));
            exit_waiters.listen(id, Arc::downgrade(&gone));
        }
        let received = Arc::clone(&code);
        let listener: Arc<ExitListener> = Arc::new(move |code| received.store(code, Ordering::SeqCst));
        exit_waiters.listen(one, Arc::downgrade(&listener));
        assert_eq!(exit_waiters.lock().values().map(Vec::len).sum::<usize>(), 1);
        exit_waiters.notify(one, 7);
        assert_eq!(code.load(Ordering::SeqCst), 7);
    }
}
