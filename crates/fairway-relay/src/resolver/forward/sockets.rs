//! The sockets to name servers: those that the daemon created in sandboxes, and those of the host.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use fairway_model::NameServer;
use rustix::io::Errno;

use super::{Forwarder, Sandbox};
use crate::poll::{EDGES, Kind, Poller, READ, Token};
use crate::resolver::upstream::{Transport, UpstreamSocket};
use crate::slab::SlabKey;

/// The most sockets of the host's namespace for one sandbox, for each transport.
const HOST_SOCKETS: usize = 4;

/// The most source ports for one sandbox's questions in a second.
const PORTS_A_SECOND: u32 = 64;

/// The number of source ports used in this second. Each port is an entry in the host's conntrack for half a minute,
/// and one sandbox's flood of questions must not fill that table for all.
#[derive(Debug, Default)]
pub(super) struct PortBudget {
    second: Option<Instant>,
    taken: u32,
}

impl PortBudget {
    /// Uses one more port; returns whether one was left in this second.
    fn take(&mut self, now: Instant) -> bool {
        if self.second.is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1)) {
            (self.second, self.taken) = (Some(now), 0);
        }
        self.taken += 1;
        self.taken <= PORTS_A_SECOND
    }
}

impl Forwarder {
    /// Adds the sockets in a resolver's sandbox; none if it has only the host's.
    pub fn open(&mut self, poller: &Poller, asker: SlabKey, sockets: Vec<OwnedFd>) -> Result<(), Errno> {
        self.sandboxes.insert(asker, Sandbox::default());
        for socket in sockets {
            self.add(poller, UpstreamSocket::inside(asker, socket)?)?;
        }
        Ok(())
    }

    /// The sockets inside the sandbox, in the order in which they came.
    pub fn sockets_inside(&self, asker: SlabKey) -> impl Iterator<Item = BorrowedFd<'_>> {
        let places = self.sandboxes.get(&asker).into_iter().flat_map(|sandbox| &sandbox.sockets);
        places.filter_map(|place| self.sockets.get(*place)).filter(|it| it.inside).map(|it| it.socket.as_fd())
    }

    /// Whether a resolver queries this server from inside the sandbox.
    pub(super) fn is_inside(&self, asker: SlabKey, server: NameServer) -> bool {
        !server.queried_from_host() && self.sockets_inside(asker).next().is_some()
    }

    /// Finds or connects a socket to a server; questions that block all sockets are given up.
    pub(super) fn socket(
        &mut self,
        poller: &Poller,
        asker: SlabKey,
        server: NameServer,
        by: Transport,
        now: Instant,
    ) -> Result<SlabKey, Errno> {
        let inside = self.is_inside(asker, server);
        let sandbox = self.sandboxes.get_mut(&asker).ok_or(Errno::SRCH)?;
        let may_take_port = by == Transport::Tcp || sandbox.ports.take(now);
        let fitting = sandbox.sockets.iter().filter_map(|place| Some((*place, self.sockets.get(*place)?)));
        let fitting: Vec<(SlabKey, &UpstreamSocket)> = fitting
            .filter(|(_, it)| it.inside == inside && it.transport == by && it.reaches(server.address))
            .collect();
        let connected = fitting.iter().filter(|(_, it)| it.server == Some(server));
        let there = connected.filter(|(_, it)| !it.asked.is_empty() || !may_take_port);
        let there = there.max_by_key(|(_, it)| it.connected).map(|(place, _)| *place);
        // Over TCP many questions share a connection (RFC 7766 section 6.2.1).
        if let Some(place) = there
            && (by == Transport::Tcp || !may_take_port)
        {
            return Ok(place);
        }
        let free = fitting.iter().find(|(_, it)| it.asked.is_empty()).map(|(place, _)| *place);
        let may_open = !inside && fitting.len() < HOST_SOCKETS;
        let oldest = fitting.iter().min_by_key(|(_, it)| it.connected).map(|(place, _)| *place);
        let place = match (free, may_open, there) {
            (Some(place), _, _) => place,
            (None, true, _) => self.add(poller, UpstreamSocket::of_host(asker, by, server)?)?,
            (None, false, Some(place)) => return Ok(place),
            (None, false, None) => {
                let place = oldest.ok_or(Errno::AFNOSUPPORT)?;
                self.give_up(poller, place);
                if !inside {
                    return self.socket(poller, asker, server, by, now);
                }
                place
            }
        };
        self.connections += 1;
        let socket = self.sockets.get_mut(place).ok_or(Errno::BADF)?;
        if let Err(errno) = socket.connect(server, self.port, self.connections) {
            self.rest(poller, place);
            return Err(errno);
        }
        Ok(place)
    }

    fn add(&mut self, poller: &Poller, socket: UpstreamSocket) -> Result<SlabKey, Errno> {
        let (asker, by) = (socket.asker, socket.transport);
        let place = self.sockets.insert(socket);
        let interest = if by == Transport::Udp { READ } else { EDGES };
        let watched = match self.sockets.get(place) {
            Some(socket) => poller.add(&socket.socket, Token(Kind::Upstream, place), interest),
            None => Err(Errno::BADF),
        };
        match (watched, self.sandboxes.get_mut(&asker)) {
            (Ok(()), Some(sandbox)) => {
                sandbox.sockets.push(place);
                Ok(place)
            }
            (watched, _) => {
                self.sockets.remove(place);
                Err(watched.err().unwrap_or(Errno::SRCH))
            }
        }
    }

    /// Disconnects a socket that no question uses; one of the host's namespace is closed.
    pub(super) fn rest(&mut self, poller: &Poller, place: SlabKey) {
        let Some(socket) = self.sockets.get_mut(place) else { return };
        socket.rest();
        if !socket.inside
            && let Some(socket) = self.sockets.remove(place)
        {
            poller.remove(&socket.socket);
            if let Some(sandbox) = self.sandboxes.get_mut(&socket.asker) {
                sandbox.sockets.retain(|other| *other != place);
            }
        }
    }

    /// Closes a socket and sends its questions to their next server.
    pub(super) fn give_up(&mut self, poller: &Poller, place: SlabKey) {
        let Some(socket) = self.sockets.get_mut(place) else { return };
        for (id, question) in socket.asked.drain() {
            if let Some(pending) = self.pending.get_mut(question) {
                if pending.sent.last() == Some(&(place, id)) {
                    self.failed.push((question, pending.attempt));
                }
                pending.sent.retain(|sent| *sent != (place, id));
            }
        }
        self.rest(poller, place);
    }
}
