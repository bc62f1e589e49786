//! The sockets of the resolvers, by sandbox: duplicates of what the relay has, so that a relay that
//! dies can be replaced. They are closed the moment a sandbox leaves, for an open socket keeps its
//! namespace alive.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fairway_kernel::namespace::{self, Handle};
use fairway_model::SandboxId;
use fairway_relay::table::OUTGOING_SOCKETS;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// The sockets of a sandbox's resolver: UDP and TCP, at which it is asked, and those by which it asks name servers.
pub(crate) type ResolverSockets = Vec<Arc<OwnedFd>>;

/// Makes the sockets by which a resolver asks name servers, in the namespace that the calling thread is in: four of UDP
/// for both families, and one of TCP for each. In a namespace without IPv6 there are those of IPv4 alone.
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
    /// Keeps the sockets of a sandbox, in place of those that it had.
    pub fn keep(&self, sandbox: SandboxId, sockets: ResolverSockets) {
        self.lock().insert(sandbox, sockets);
    }

    /// Closes the sockets of a sandbox.
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
        let socket = self.lock().get(&sandbox)?.first().map(Arc::clone)?;
        namespace::of_socket(socket.as_fd()).ok()
    }

    /// Whether the sockets of a sandbox are here, and all of them if all are wanted: a daemon of an earlier version
    /// made none to ask name servers by.
    pub fn has(&self, sandbox: SandboxId, all: bool) -> bool {
        self.lock().get(&sandbox).is_some_and(|sockets| !all || sockets.len() == 2 + OUTGOING_SOCKETS)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SandboxId, ResolverSockets>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
