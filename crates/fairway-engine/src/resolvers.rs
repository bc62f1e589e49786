//! The sockets of the resolvers, by sandbox: duplicates of what the relay has, so that a relay that
//! dies can be replaced. They are let go the moment a sandbox leaves, for an open socket keeps its
//! namespace alive.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fairway_core::model::SandboxId;
use fairway_kernel::namespace::{self, Handle};

use crate::visit::ResolverSockets;

/// Duplicates of the resolvers' sockets.
#[derive(Debug, Default)]
pub(crate) struct Resolvers(Mutex<HashMap<SandboxId, ResolverSockets>>);

impl Resolvers {
    /// Keeps the sockets of a sandbox, in place of those that it had.
    pub fn keep(&self, sandbox: SandboxId, sockets: ResolverSockets) {
        self.lock().insert(sandbox, sockets);
    }

    /// Lets the sockets of a sandbox go.
    pub fn forget(&self, sandbox: SandboxId) {
        self.lock().remove(&sandbox);
    }

    /// All of them.
    pub fn all(&self) -> Vec<(SandboxId, ResolverSockets)> {
        self.lock().iter().map(|(sandbox, sockets)| (*sandbox, sockets.clone())).collect()
    }

    /// The sockets of a sandbox, if it has a resolver.
    pub fn of(&self, sandbox: SandboxId) -> Option<ResolverSockets> {
        self.lock().get(&sandbox).cloned()
    }

    /// The namespace of a sandbox that has a resolver, wherever it is by now.
    pub fn namespace(&self, sandbox: SandboxId) -> Option<Handle> {
        let socket = self.lock().get(&sandbox).map(|[udp, _]| Arc::clone(udp))?;
        namespace::of_socket(socket.as_fd()).ok()
    }

    /// Whether the sockets of a sandbox are here.
    pub fn has(&self, sandbox: SandboxId) -> bool {
        self.lock().contains_key(&sandbox)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SandboxId, ResolverSockets>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
