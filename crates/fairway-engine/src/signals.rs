//! Signals to the reconcile loop, and what wakes it: ended processes, changed files, requests of other threads.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fairway_kernel::watch::{Event, Watch};
use fairway_model::{Namespace, ProcessIdentity, SandboxId};

use crate::EngineError;

/// A reason for work of the reconcile loop. It stands until the loop takes it; the same one given twice is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Signal {
    /// Objects that the host can see may differ from the Plan.
    Drift,
    /// The links inside sandboxes that have no end on the host may differ too.
    NetnsDrift,
    /// Links, addresses, routes or name servers of the host may have changed.
    HostChanged,
    /// The tables of another firewall changed.
    ForeignRulesChanged,
    /// Much memory was freed: the allocator keeps small freed blocks, for threads that may not need as much again for
    /// days.
    MemoryFreed,
}

impl Signal {
    /// Whether the loop is to be woken. The others come often or are not urgent: the loop finds them at its next poll.
    fn wakes(self) -> bool {
        !matches!(self, Self::HostChanged | Self::MemoryFreed)
    }
}

#[derive(Debug, Default)]
struct Pending {
    signals: BTreeSet<Signal>,
    /// Failed objects are to be tried again at once.
    retry: bool,
}

/// Signals to the reconcile loop, and the waker of its thread.
pub(crate) struct Signals {
    watch: Watch<SandboxId>,
    pending: Mutex<Pending>,
    /// Parents of macvlans that do not exist now, by name.
    missing_parents: Mutex<BTreeSet<String>>,
    exclusive: Mutex<()>,
}

impl Signals {
    /// Opens the epoll descriptor of the loop, with no signal.
    ///
    /// # Errors
    /// The kernel refuses the descriptor.
    pub fn new() -> Result<Self, EngineError> {
        let watch = Watch::new().map_err(|error| EngineError::Observe(Box::new(error)))?;
        Ok(Self {
            watch,
            pending: Mutex::default(),
            missing_parents: Mutex::default(),
            exclusive: Mutex::default(),
        })
    }

    /// Watches the process, or else the namespace, of a sandbox until it ends. One that has ended already requests a
    /// reconcile run.
    pub fn watch(&self, id: SandboxId, process: Option<ProcessIdentity>, namespace: Option<&Namespace>) {
        self.watch.forget(&id);
        let watched = match (process, namespace) {
            (Some(process), _) => self.watch.process(id, process),
            (None, Some(namespace)) => self.watch.namespace(id, namespace),
            (None, None) => Ok(()),
        };
        if let Err(reason) = watched {
            tracing::debug!(%reason, sandbox = %id.short(), "cannot watch sandbox {}: {reason}", id.short());
            self.request_heal();
        }
    }

    /// Watches a file of the host.
    ///
    /// # Errors
    /// The kernel refuses the inotify watch.
    pub fn watch_file(&self, path: &Path) -> Result<(), fairway_kernel::watch::Error> {
        self.watch.file(path)
    }

    /// Stops watching a sandbox.
    pub fn forget(&self, id: SandboxId) {
        self.watch.forget(&id);
    }

    /// Waits at most `timeout` for events and signals.
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub fn wait(&self, timeout: Duration) -> Result<Vec<Event<SandboxId>>, fairway_kernel::watch::Error> {
        self.watch.wait(Some(timeout))
    }

    /// Keeps other threads from watching or forgetting a sandbox until the guard is dropped.
    pub fn exclusive(&self) -> MutexGuard<'_, ()> {
        self.exclusive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests a reconcile run.
    pub fn request_heal(&self) {
        self.send(Signal::Drift);
    }

    /// Requests a reconcile run that also observes the links inside sandboxes.
    pub fn request_netns_heal(&self) {
        self.send(Signal::NetnsDrift);
    }

    /// Requests a scan of the foreign firewalls.
    pub fn request_foreign_scan(&self) {
        self.send(Signal::ForeignRulesChanged);
    }

    /// Requests that free memory is returned to the system.
    pub fn request_memory_release(&self) {
        self.send(Signal::MemoryFreed);
    }

    /// Notes that links, addresses or routes of the host may have changed.
    pub fn host_changed(&self) {
        self.send(Signal::HostChanged);
    }

    fn send(&self, signal: Signal) {
        let is_new = self.pending().signals.insert(signal);
        if is_new && signal.wakes() {
            self.watch.waker().wake();
        }
    }

    /// Has failed objects tried again at once: their cause may be gone.
    pub fn retry_failed(&self) {
        self.pending().retry = true;
        self.request_netns_heal();
    }

    /// Takes the signals since the last call, each once.
    pub fn take(&self) -> BTreeSet<Signal> {
        std::mem::take(&mut self.pending().signals)
    }

    /// Whether failed objects are to be tried again at once; false from then on.
    pub fn take_retry(&self) -> bool {
        std::mem::take(&mut self.pending().retry)
    }

    /// Notes that a parent of macvlans does not exist; whether that is new.
    pub fn add_missing_parent(&self, name: &str) -> bool {
        self.missing_parents().insert(name.to_owned())
    }

    /// Whether a parent of macvlans does not exist.
    pub fn is_missing_parent(&self, name: &str) -> bool {
        self.missing_parents().contains(name)
    }

    /// Notes that a link exists; whether it was a missing parent.
    pub fn remove_missing_parent(&self, name: &str) -> bool {
        self.missing_parents().remove(name)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn missing_parents(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.missing_parents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
