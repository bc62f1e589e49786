//! Those who wait for the end of a sandbox.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fairway_core::model::SandboxId;

/// Told the exit code, once.
type Listener = Box<dyn FnOnce(i32) + Send>;

/// Those who wait, by sandbox.
#[derive(Default)]
pub(crate) struct Exits(Mutex<HashMap<SandboxId, Vec<Listener>>>);

impl Exits {
    /// Has `listener` told when the sandbox stops next.
    pub fn listen(&self, sandbox: SandboxId, listener: Listener) {
        self.lock().entry(sandbox).or_default().push(listener);
    }

    /// Tells those who wait.
    pub fn tell(&self, sandbox: SandboxId, code: i32) {
        let listeners = self.lock().remove(&sandbox).unwrap_or_default();
        listeners.into_iter().for_each(|listener| listener(code));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SandboxId, Vec<Listener>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
