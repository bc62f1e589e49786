//! Resolvers that sandboxes share: which sandbox sent a query, and what is held for each.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use fairway_model::SandboxId;
use rustix::io::Errno;

use super::{Audience, Resolvers};
use crate::poll::Poller;
use crate::slab::SlabKey;

impl Resolvers {
    /// Adds or replaces the resolver that sandboxes share at an address: it answers at these sockets each sandbox whose
    /// view has the source address of the query, and other addresses as the sandbox `others`. It queries name servers
    /// from this process's namespace.
    pub fn insert_shared(
        &mut self,
        poller: &Poller,
        address: SocketAddr,
        others: SandboxId,
        sockets: [OwnedFd; 2],
    ) -> Result<(), Errno> {
        let place = self.listen(poller, Audience::BySource(others), sockets)?;
        if let Some(old) = self.by_address.insert(address, place) {
            self.close(poller, old);
        }
        Ok(())
    }

    /// Changes what a shared resolver answers unknown addresses as; returns whether it exists.
    pub fn set_others(&mut self, address: SocketAddr, others: SandboxId) -> bool {
        let place = self.by_address.get(&address);
        let resolver = place.and_then(|place| self.resolvers.get_mut(*place));
        resolver.map(|resolver| resolver.audience = Audience::BySource(others)).is_some()
    }

    /// The sandbox that queries a resolver from this address.
    pub(super) fn sandbox(&self, place: SlabKey, from: IpAddr) -> Option<SandboxId> {
        Some(match self.resolvers.get(place)?.audience {
            Audience::One(sandbox) => sandbox,
            Audience::BySource(others) => self.names.sandbox_at(from.to_canonical()).unwrap_or(others),
        })
    }

    /// A sandbox at a resolver, which is added when it is there for the first time.
    pub(super) fn asker(&mut self, poller: &Poller, place: SlabKey, sandbox: SandboxId) -> Option<SlabKey> {
        match self.resolvers.get(place)?.askers.get(&sandbox) {
            Some(asker) => Some(*asker),
            None => self.add_asker(poller, place, sandbox, Vec::new()).ok(),
        }
    }

    /// Closes the sockets of a shared resolver.
    pub fn remove_shared(&mut self, poller: &Poller, address: SocketAddr) {
        if let Some(place) = self.by_address.remove(&address) {
            self.close(poller, place);
        }
    }

    /// The sockets of a shared resolver: UDP, TCP.
    pub fn shared_sockets(&self, address: SocketAddr) -> Option<[BorrowedFd<'_>; 2]> {
        let resolver = self.resolvers.get(*self.by_address.get(&address)?)?;
        Some([resolver.udp.as_fd(), resolver.tcp.as_fd()])
    }

    /// Removes the view of a sandbox, and what shared resolvers hold for it.
    pub fn remove_view(&mut self, poller: &Poller, sandbox: SandboxId) {
        self.names.remove_view(sandbox);
        let own = self.by_sandbox.get(&sandbox);
        let at = |asker: &SlabKey| self.askers.get(*asker).map(|asker| asker.resolver);
        let shared = self.askers.of(sandbox).iter().copied();
        let shared: Vec<_> = shared.filter(|asker| at(asker).as_ref() != own).collect();
        for asker in shared {
            self.close_asker(poller, asker);
        }
    }

    /// The shared resolvers: their addresses, and what they answer unknown addresses as.
    pub fn shared(&self) -> impl Iterator<Item = (SocketAddr, SandboxId)> {
        self.by_address.iter().filter_map(|(address, place)| match self.resolvers.get(*place)?.audience {
            Audience::BySource(others) => Some((*address, others)),
            Audience::One(_) => None,
        })
    }
}
