//! Serves the resolvers' TCP clients: accepts them, gives each its turn, closes idle ones.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::client::Client;
use super::forward::Requestor;
use super::{QUESTIONS, Resolvers};
use crate::poll::{EDGES, Kind, Poller, READ, Token};
use crate::slab::SlabKey;

/// How long accepting pauses when descriptors or memory have run out.
const REST: Duration = Duration::from_millis(100);

impl Resolvers {
    /// Accepts waiting TCP clients of a resolver.
    pub(super) fn accept(&mut self, poller: &Poller, place: SlabKey, now: Instant) {
        for _ in 0..QUESTIONS {
            let Some(resolver) = self.resolvers.get(place) else { return };
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let (socket, from) = match rustix::net::acceptfrom_with(&resolver.tcp, flags) {
                Ok((socket, from)) => (socket, from.and_then(|from| SocketAddr::try_from(from).ok())),
                Err(Errno::CONNABORTED | Errno::INTR) => continue,
                Err(Errno::AGAIN) => return,
                Err(_) => return self.rest(poller, place, now),
            };
            let sandbox = from.and_then(|from| self.sandbox(place, from.ip()));
            let asker = sandbox.and_then(|sandbox| self.asker(poller, place, sandbox));
            let Some(place) = asker else { continue };
            if self.askers.get(place).is_some_and(|it| it.clients.len() >= self.limits.clients_per_sandbox) {
                self.close_idlest(place);
            }
            let Some(asker) = self.askers.get_mut(place) else { return };
            let client = self.clients.insert(Client::new(place, socket, now));
            asker.clients.insert(client);
            self.silent.push_back((now, client));
            if let Some(added) = self.clients.get(client)
                && poller.add(&added.socket, Token(Kind::ResolverClient, client), EDGES).is_err()
            {
                self.close_client(client);
            }
        }
    }

    /// Pauses accepting TCP clients of one sandbox, for want of descriptors or memory.
    fn rest(&mut self, poller: &Poller, place: SlabKey, now: Instant) {
        if let Some(resolver) = self.resolvers.get(place)
            && poller.modify(&resolver.tcp, Token(Kind::ResolverTcp, place), EventFlags::empty()).is_ok()
        {
            self.resting.push(place);
            self.rest_until = Some(now + REST);
        }
    }

    /// Closes the TCP client that was idle longest; one that waits for an answer only if all do.
    fn close_idlest(&mut self, asker: SlabKey) {
        let clients = self.askers.get(asker).into_iter().flat_map(|asker| &asker.clients);
        let clients = clients.filter_map(|at| Some((*at, self.clients.get(*at)?)));
        let idle = clients.min_by_key(|(_, client)| (client.in_flight > 0, client.used));
        if let Some((idle, _)) = idle {
            self.close_client(idle);
        }
    }

    fn close_client(&mut self, place: SlabKey) {
        if let Some(client) = self.clients.remove(place)
            && let Some(asker) = self.askers.get_mut(client.asker)
        {
            asker.clients.remove(&place);
        }
    }

    /// Sends a TCP client its answers and reads its queries, until both block.
    pub(super) fn serve(&mut self, poller: &Poller, place: SlabKey, now: Instant) {
        for _ in 0..QUESTIONS {
            let Some(client) = self.clients.get_mut(place) else { return };
            if client.flush().is_err() || client.is_done() {
                return self.close_client(place);
            }
            if !client.may_ask() {
                return;
            }
            client.used = now;
            let asker = client.asker;
            if let Some(question) = client.question() {
                let Some(asker) = self.askers.get(asker) else { return self.close_client(place) };
                let asker = (asker.resolver, asker.sandbox);
                self.answer(poller, asker, Requestor::Tcp(place), &question, now);
                if let Some(client) = self.clients.get_mut(place)
                    && !self.out.is_empty()
                {
                    client.answer(&self.out);
                }
                continue;
            }
            let mut buffer = std::mem::take(&mut self.buffer);
            let filled = client.fill(&mut buffer);
            self.buffer = buffer;
            match filled {
                Ok(true) => {}
                Ok(false) if client.is_done() => return self.close_client(place),
                Ok(false) => return,
                Err(_) => return self.close_client(place),
            }
        }
        self.again.push(place);
    }

    /// Continues clients with more queries than one turn allows, and closes idle ones.
    pub(super) fn turn_clients(&mut self, poller: &Poller, now: Instant) {
        for place in std::mem::take(&mut self.again) {
            self.serve(poller, place, now);
        }
        if self.rest_until.is_some_and(|until| until <= now) {
            self.rest_until = None;
            for place in std::mem::take(&mut self.resting) {
                if let Some(resolver) = self.resolvers.get(place) {
                    // This can only fail for want of memory; the socket is watched already.
                    let _ = poller.modify(&resolver.tcp, Token(Kind::ResolverTcp, place), READ);
                }
            }
        }
        while let Some((seen, place)) = self.silent.front().copied() {
            if seen + self.limits.client_idle > now {
                return;
            }
            self.silent.pop_front();
            match self.clients.get(place) {
                Some(client) if client.used > seen || client.in_flight > 0 => {
                    let used = if client.in_flight > 0 { now } else { client.used };
                    self.silent.push_back((used, place));
                }
                Some(_) => self.close_client(place),
                None => {}
            }
        }
    }

    /// When to call `turn_clients` next.
    pub(super) fn client_deadline(&self, now: Instant) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let silent = self.silent.front().map(|(seen, _)| *seen + self.limits.client_idle);
        [silent, self.rest_until].into_iter().flatten().min().map(|at| at.saturating_duration_since(now))
    }
}
