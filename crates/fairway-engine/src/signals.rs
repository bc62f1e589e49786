//! Requests to the reconcile loop, and what wakes it: ended processes, changed files, flags that other threads set.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fairway_kernel::watch::{Event, Watch};
use fairway_model::{Namespace, ProcessIdentity, SandboxId};

use crate::EngineError;

/// A request that stands until the loop takes it.
#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl Flag {
    fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

/// Requests to the reconcile loop, and the waker of its thread.
pub(crate) struct Signals {
    watch: Watch<SandboxId>,
    heal: Flag,
    /// The links inside sandboxes that have no end on the host are to be observed too.
    check_netns: Flag,
    /// An object could not be made.
    retry: Flag,
    /// Links, addresses or routes of the host may have changed.
    host_changed: Flag,
    scan_foreign: Flag,
    release_memory: Flag,
    /// Parents of macvlans that do not exist now, by name.
    missing_parents: Mutex<BTreeSet<String>>,
    exclusive: Mutex<()>,
}

impl Signals {
    /// Opens the epoll descriptor of the loop, with no request.
    ///
    /// # Errors
    /// The kernel refuses the descriptor.
    pub fn new() -> Result<Self, EngineError> {
        let watch = Watch::new().map_err(|error| EngineError::Observe(Box::new(error)))?;
        Ok(Self {
            watch,
            heal: Flag::default(),
            check_netns: Flag::default(),
            retry: Flag::default(),
            host_changed: Flag::default(),
            scan_foreign: Flag::default(),
            release_memory: Flag::default(),
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

    /// Waits at most `timeout` for events and requests.
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

    /// Requests a reconcile run at once.
    pub fn request_heal(&self) {
        self.heal.set();
        self.watch.waker().wake();
    }

    /// Requests a reconcile run at once that also observes the links inside sandboxes.
    pub fn request_netns_heal(&self) {
        self.check_netns.set();
        self.request_heal();
    }

    /// Requests a reconcile run at the next retry interval.
    pub fn request_retry(&self) {
        self.retry.set();
    }

    /// Requests a scan of the foreign firewalls at once.
    pub fn request_foreign_scan(&self) {
        self.scan_foreign.set();
        self.watch.waker().wake();
    }

    /// Requests that free memory is returned to the system: the allocator keeps small freed blocks, for threads that may
    /// not need as much again for days.
    pub fn request_memory_release(&self) {
        self.release_memory.set();
    }

    /// Notes that links, addresses or routes of the host may have changed.
    pub fn host_changed(&self) {
        self.host_changed.set();
    }

    /// Turns a pending retry into a reconcile run.
    pub fn start_retry(&self) {
        if self.retry.take() {
            self.heal.set();
        }
    }

    /// Whether a reconcile run was requested.
    pub fn take_heal(&self) -> bool {
        self.heal.take()
    }

    /// Whether the links inside sandboxes are to be observed in this run.
    pub fn take_netns_check(&self) -> bool {
        self.check_netns.take()
    }

    /// Whether the host may have changed.
    pub fn take_host_changed(&self) -> bool {
        self.host_changed.take()
    }

    /// Whether a scan of the foreign firewalls was requested.
    pub fn take_foreign_scan(&self) -> bool {
        self.scan_foreign.take()
    }

    /// Whether memory is to be returned to the system.
    pub fn take_memory_release(&self) -> bool {
        self.release_memory.take()
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

    fn missing_parents(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.missing_parents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
