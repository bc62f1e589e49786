//! Duplicates of the resolvers' sockets, so that a relay that dies can be replaced. They are closed as soon as a
//! sandbox leaves: an open socket keeps its namespace alive.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fairway_kernel::namespace::{self, Handle};
use fairway_model::SandboxId;
use fairway_relay::table::OUTGOING_SOCKETS;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// The sockets of a sandbox's resolver: UDP and TCP for queries from the sandbox, and those for queries to name
/// servers.
pub(crate) type ResolverSockets = Vec<Arc<OwnedFd>>;

/// Creates the sockets for queries to name servers in the namespace of the calling thread: four UDP sockets for both
/// families, and one TCP socket for each. In a namespace without IPv6 only those of IPv4.
pub(crate) fn outgoing_sockets() -> Result<Vec<OwnedFd>, Errno> {
    let make = |family, kind| rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None);
    let both_families = |kind| match make(AddressFamily::INET6, kind) {
        Ok(socket) => sockopt::set_ipv6_v6only(&socket, false).map(|()| socket),
        Err(Errno::AFNOSUPPORT) => make(AddressFamily::INET, kind),
        Err(errno) => Err(errno),
    };
    let udp = (2..OUTGOING_SOCKETS).map(|_| both_families(SocketType::DGRAM));
    let tcp = [make(AddressFamily::INET, SocketType::STREAM), both_families(SocketType::STREAM)];
    udp.chain(tcp).collect()
}

/// Duplicates of the resolvers' sockets.
#[derive(Debug, Default)]
pub(crate) struct Resolvers(Mutex<HashMap<SandboxId, ResolverSockets>>);

impl Resolvers {
    /// Stores the sockets of a sandbox, replacing the ones before.
    pub fn keep(&self, sandbox: SandboxId, sockets: ResolverSockets) {
        self.lock().insert(sandbox, sockets);
    }

    /// Closes the sockets of a sandbox.
    pub fn forget(&self, sandbox: SandboxId) {
        self.lock().remove(&sandbox);
    }

    /// The sockets of all resolvers.
    pub fn all(&self) -> Vec<(SandboxId, ResolverSockets)> {
        self.lock().iter().map(|(sandbox, sockets)| (*sandbox, sockets.clone())).collect()
    }

    /// The sockets of a sandbox, if it has a resolver.
    pub fn of(&self, sandbox: SandboxId) -> Option<ResolverSockets> {
        self.lock().get(&sandbox).cloned()
    }

    /// The namespace of a sandbox that has a resolver, even if its path is gone.
    pub fn namespace(&self, sandbox: SandboxId) -> Option<Handle> {
        let socket = self.lock().get(&sandbox)?.first().map(Arc::clone)?;
        namespace::of_socket(socket.as_fd()).ok()
    }

    /// Whether the sockets of a sandbox are stored; with `all`, including those to name servers, which a daemon of an
    /// earlier version did not create.
    pub fn has(&self, sandbox: SandboxId, all: bool) -> bool {
        self.lock().get(&sandbox).is_some_and(|sockets| !all || sockets.len() == 2 + OUTGOING_SOCKETS)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SandboxId, ResolverSockets>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
