//! The resolvers: one in each sandbox, or one that sandboxes share. They answer names of the table and forward other
//! queries to name servers.

mod askers;
mod cache;
mod client;
mod forward;
mod respond;
mod servers;
mod shared;
mod streams;
mod upstream;
mod wire;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use fairway_core::names::{Answer, NameTable, NameView, QueryType, Upstreams};
use fairway_core::traffic::RelayCounters;
use fairway_model::{NameServer, SandboxId};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::poll::{Kind, Poller, READ, Token};
use crate::slab::{Slab, SlabKey};
use askers::Askers;
use client::Client;
use forward::{Forwarder, Requestor, Settled, Waiting};
use wire::{Query, Unfit, code, kind};

/// How many queries one socket answers before other sockets get their turn.
const QUESTIONS: usize = 64;

/// The resolvers' limits.
#[derive(Debug, Clone)]
pub struct ResolverLimits {
    /// The timeout of a query. Its name servers share it: each has an equal part, after which the next is queried.
    pub upstream_timeout: Duration,
    /// When an unanswered query over UDP is sent again.
    pub upstream_resend: Duration,
    /// The port of name servers.
    pub upstream_port: u16,
    /// The most queries that may wait for name servers. Each takes at most a kilobyte. Beyond, the oldest of the
    /// sandbox with the most is dropped.
    pub waiting: usize,
    /// The most TCP clients of one sandbox; beyond, the one that was idle longest is closed.
    pub clients_per_sandbox: usize,
    /// The idle timeout of a TCP client (RFC 7766 section 6.2.3).
    pub client_idle: Duration,
}

impl Default for ResolverLimits {
    fn default() -> Self {
        Self {
            upstream_timeout: Duration::from_secs(4),
            upstream_resend: Duration::from_secs(1),
            upstream_port: 53,
            waiting: 16_384,
            clients_per_sandbox: 64,
            client_idle: Duration::from_secs(10),
        }
    }
}

/// The sandboxes that query a resolver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Audience {
    /// The sandbox that the resolver is in.
    One(SandboxId),
    /// Each sandbox whose view has the source address of the query; for other addresses this one.
    BySource(SandboxId),
}

/// A resolver.
#[derive(Debug)]
struct Resolver {
    audience: Audience,
    udp: OwnedFd,
    tcp: OwnedFd,
    /// The sandboxes that have queried it over TCP, or about names of others.
    askers: HashMap<SandboxId, SlabKey>,
}

/// All resolvers, with the names and name servers that they share.
pub(crate) struct Resolvers {
    /// The names.
    pub names: NameTable,
    host_servers: Vec<NameServer>,
    by_sandbox: HashMap<SandboxId, SlabKey>,
    by_address: HashMap<SocketAddr, SlabKey>,
    resolvers: Slab<Resolver>,
    askers: Askers,
    clients: Slab<Client>,
    /// TCP clients by their last known activity, oldest first.
    silent: VecDeque<(Instant, SlabKey)>,
    /// TCP clients that used up their turn and have more queries.
    again: Vec<SlabKey>,
    /// Resolvers that do not accept until there are descriptors.
    resting: Vec<SlabKey>,
    rest_until: Option<Instant>,
    forwarder: Forwarder,
    limits: ResolverLimits,
    text: String,
    out: Vec<u8>,
    buffer: Vec<u8>,
    draining: bool,
    /// What became of queries; those of the forwarder are counted there.
    counters: RelayCounters,
}

impl Resolvers {
    /// Creates an empty set of resolvers.
    pub fn new(limits: ResolverLimits) -> Self {
        Self {
            names: NameTable::new(),
            host_servers: Vec::new(),
            by_sandbox: HashMap::new(),
            by_address: HashMap::new(),
            resolvers: Slab::default(),
            askers: Askers::default(),
            clients: Slab::default(),
            silent: VecDeque::new(),
            again: Vec::new(),
            resting: Vec::new(),
            rest_until: None,
            forwarder: Forwarder::new(&limits),
            limits,
            text: String::new(),
            out: Vec::new(),
            buffer: vec![0; 65_536],
            draining: false,
            counters: RelayCounters::default(),
        }
    }

    /// Adds or replaces a sandbox's resolver: it answers at these sockets and queries name servers by the sockets in
    /// `outgoing`.
    pub fn insert(
        &mut self,
        poller: &Poller,
        sandbox: SandboxId,
        sockets: [OwnedFd; 2],
        outgoing: Vec<OwnedFd>,
    ) -> Result<(), Errno> {
        let place = self.listen(poller, Audience::One(sandbox), sockets)?;
        if let Err(errno) = self.add_asker(poller, place, sandbox, outgoing) {
            self.close(poller, place);
            return Err(errno);
        }
        if let Some(old) = self.by_sandbox.insert(sandbox, place) {
            self.close(poller, old);
        }
        Ok(())
    }

    fn listen(
        &mut self,
        poller: &Poller,
        audience: Audience,
        [udp, tcp]: [OwnedFd; 2],
    ) -> Result<SlabKey, Errno> {
        rustix::io::ioctl_fionbio(&udp, true)?;
        rustix::io::ioctl_fionbio(&tcp, true)?;
        let place = self.resolvers.insert(Resolver { audience, udp, tcp, askers: HashMap::new() });
        if let Some(resolver) = self.resolvers.get(place) {
            let watched = poller
                .add(&resolver.udp, Token(Kind::ResolverUdp, place), READ)
                .and_then(|()| poller.add(&resolver.tcp, Token(Kind::ResolverTcp, place), READ));
            if let Err(errno) = watched {
                self.close(poller, place);
                return Err(errno);
            }
        }
        Ok(place)
    }

    fn add_asker(
        &mut self,
        poller: &Poller,
        place: SlabKey,
        sandbox: SandboxId,
        outgoing: Vec<OwnedFd>,
    ) -> Result<SlabKey, Errno> {
        let resolver = self.resolvers.get_mut(place).ok_or(Errno::SRCH)?;
        let asker = self.askers.insert(place, sandbox);
        resolver.askers.insert(sandbox, asker);
        self.forwarder.open(poller, asker, outgoing)?;
        Ok(asker)
    }

    /// Closes the sockets of a sandbox's resolver, which otherwise keep its namespace alive; returns whether it
    /// existed.
    pub fn remove(&mut self, poller: &Poller, sandbox: SandboxId) -> bool {
        self.by_sandbox.remove(&sandbox).map(|place| self.close(poller, place)).is_some()
    }

    fn close(&mut self, poller: &Poller, place: SlabKey) {
        let Some(resolver) = self.resolvers.remove(place) else { return };
        poller.remove(&resolver.udp);
        poller.remove(&resolver.tcp);
        for asker in resolver.askers.into_values() {
            self.close_asker(poller, asker);
        }
    }

    fn close_asker(&mut self, poller: &Poller, place: SlabKey) {
        let Some(asker) = self.askers.remove(place) else { return };
        if let Some(resolver) = self.resolvers.get_mut(asker.resolver) {
            resolver.askers.remove(&asker.sandbox);
        }
        for client in asker.clients {
            self.clients.remove(client);
        }
        self.forwarder.close(poller, place);
    }

    /// The sockets of a sandbox's resolver: UDP, TCP, and those to name servers.
    pub fn sockets(&self, sandbox: SandboxId) -> Option<Vec<BorrowedFd<'_>>> {
        let resolver = self.resolvers.get(*self.by_sandbox.get(&sandbox)?)?;
        let own = [resolver.udp.as_fd(), resolver.tcp.as_fd()].into_iter();
        let outgoing = resolver.askers.values().flat_map(|asker| self.forwarder.sockets_inside(*asker));
        Some(own.chain(outgoing).collect())
    }

    /// Sets the names that a sandbox can resolve, and drops its cached answers, which may have come by other
    /// networks.
    pub fn set_view(&mut self, view: NameView) {
        if self.names.view(view.sandbox) != Some(&view) {
            for asker in self.askers.of(view.sandbox) {
                self.forwarder.clear_of(*asker);
            }
        }
        self.names.set_view(view);
    }

    /// The number of resolvers.
    pub fn count(&self) -> usize {
        self.by_sandbox.len() + self.by_address.len()
    }

    /// The sandboxes that have a resolver.
    pub fn sandboxes(&self) -> impl Iterator<Item = SandboxId> {
        self.by_sandbox.keys().copied()
    }

    /// The host's name servers.
    pub fn host_servers(&self) -> &[NameServer] {
        &self.host_servers
    }

    /// Sets the host's name servers, and drops cached answers.
    pub fn set_host_servers(&mut self, servers: Vec<NameServer>) {
        if servers != self.host_servers {
            self.host_servers = servers;
            self.forwarder.clear();
        }
    }

    /// The number of queries that wait for name servers.
    pub fn in_flight(&self) -> usize {
        self.forwarder.len()
    }

    /// What the resolvers count.
    pub fn counters(&self) -> RelayCounters {
        RelayCounters { queries: self.forwarder.resource(), ..self.counters }
    }

    /// Handles an event of one of the resolvers' sockets.
    pub fn ready(&mut self, poller: &Poller, token: Token, flags: EventFlags, now: Instant) {
        let Token(kind, place) = token;
        match kind {
            Kind::ResolverUdp => self.datagrams(poller, place, now),
            Kind::ResolverTcp => self.accept(poller, place, now),
            Kind::ResolverClient => {
                if let Some(client) = self.clients.get_mut(place) {
                    client.note(flags);
                    self.serve(poller, place, now);
                }
            }
            Kind::Upstream => {
                self.forwarder.ready(poller, place, now);
                self.settle_all(poller, now);
            }
            _ => {}
        }
    }

    fn datagrams(&mut self, poller: &Poller, place: SlabKey, now: Instant) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..QUESTIONS {
            let Some(resolver) = self.resolvers.get(place) else { break };
            let (length, from) =
                match rustix::net::recvfrom(&resolver.udp, &mut buffer[..], RecvFlags::empty()) {
                    Ok((_, length, Some(from))) => (length.min(buffer.len()), from),
                    Ok((_, _, None)) => continue,
                    Err(Errno::AGAIN) => break,
                    // An ICMP error of an earlier answer.
                    Err(_) => continue,
                };
            let Ok(from) = SocketAddr::try_from(from) else { continue };
            let Some(sandbox) = self.sandbox(place, from.ip()) else { break };
            let packet = buffer.get(..length).unwrap_or_default();
            self.answer(poller, (place, sandbox), Requestor::Udp(from), packet, now);
            if let Some(resolver) = self.resolvers.get(place)
                && !self.out.is_empty()
            {
                // A client that does not get its answer asks again.
                let _ = rustix::net::sendto(&resolver.udp, &self.out, SendFlags::NOSIGNAL, &from);
            }
        }
        self.buffer = buffer;
        self.settle_all(poller, now);
    }

    /// Answers the query of a sandbox at a resolver into `out`, which stays empty while the query waits for a name
    /// server.
    fn answer(
        &mut self,
        poller: &Poller,
        (resolver, sandbox): (SlabKey, SandboxId),
        requestor: Requestor,
        packet: &[u8],
        now: Instant,
    ) {
        self.out.clear();
        let query = match wire::query(packet, &mut self.text) {
            Ok(query) => query,
            Err(Unfit::Silent) => return,
            Err(Unfit::Code(code)) => {
                self.counters.refused += 1;
                return respond::unreadable(&mut self.out, packet, code);
            }
        };
        if query.edns.is_some() && wire::edns_version(packet, &query) > 0 {
            self.counters.refused += 1;
            return respond::only_code(&mut self.out, packet, &query, code::BAD_VERSION);
        }
        let kind = if query.class == wire::INTERNET { query_type(query.kind) } else { QueryType::Other };
        let limit = limit(requestor, &query);
        let answer = self.names.answer(sandbox, &self.text, kind);
        match answer {
            Answer::Forward(_) => {}
            Answer::NoUpstream => self.counters.refused += 1,
            _ => self.counters.answered_by_names += 1,
        }
        let upstreams = match answer {
            Answer::Addresses(all) => {
                let ttl = self.names.ttl(sandbox);
                return respond::addresses(&mut self.out, packet, &query, (limit, ttl), &all);
            }
            Answer::Names(all) => {
                let ttl = self.names.ttl(sandbox);
                return respond::names(&mut self.out, packet, &query, (limit, ttl), &all);
            }
            Answer::NoData => return respond::only_code(&mut self.out, packet, &query, code::NO_ERROR),
            Answer::NoSuchName => {
                return respond::only_code(&mut self.out, packet, &query, code::NO_SUCH_NAME);
            }
            Answer::NoUpstream => {
                return respond::only_code(&mut self.out, packet, &query, code::SERVER_FAILURE);
            }
            Answer::Forward(upstreams) => upstreams,
        };
        let servers = match upstreams {
            Upstreams::Host => self.host_servers.clone(),
            Upstreams::Servers(servers) => servers.clone(),
            Upstreams::None => Vec::new(),
        };
        let Some(asker) = self.asker(poller, resolver, sandbox) else { return };
        let key = Forwarder::key(packet, &query, &servers);
        let origin = self.forwarder.origin(asker, &servers);
        if let Some((bytes, reply, age)) = self.forwarder.cache.find(origin, &key, now) {
            self.counters.answered_by_cache += 1;
            return respond::relayed(&mut self.out, packet, &query, limit, (bytes, reply), age);
        }
        let head = packet.get(..query.end).unwrap_or(packet);
        let waiting = Waiting { requestor, packet: head.into(), query };
        if !self.forwarder.ask(poller, asker, waiting, key, &servers, now) {
            self.counters.refused += 1;
            return respond::only_code(&mut self.out, packet, &query, code::SERVER_FAILURE);
        }
        if let Requestor::Tcp(client) = requestor
            && let Some(client) = self.clients.get_mut(client)
        {
            client.in_flight += 1;
        }
    }

    /// Answers all queries of finished questions.
    fn settle_all(&mut self, poller: &Poller, now: Instant) {
        while let Some(Settled { pending, answer }) = self.forwarder.settled() {
            for Waiting { requestor, packet, query } in &pending.waiting {
                match &answer {
                    Some((bytes, reply)) => {
                        let limit = limit(*requestor, query);
                        respond::relayed(&mut self.out, packet, query, limit, (bytes, reply), 0);
                    }
                    None => {
                        self.counters.unanswered += 1;
                        respond::only_code(&mut self.out, packet, query, code::SERVER_FAILURE);
                    }
                }
                self.reply(poller, pending.asker, *requestor, now);
            }
            if self.draining {
                self.drain(poller);
            }
        }
    }

    /// Sends what is in `out` to the one who asked.
    fn reply(&mut self, poller: &Poller, asker: SlabKey, requestor: Requestor, now: Instant) {
        match requestor {
            Requestor::Udp(to) => {
                let asker = self.askers.get(asker);
                if let Some(resolver) = asker.and_then(|asker| self.resolvers.get(asker.resolver)) {
                    // A client that does not get its answer asks again.
                    let _ = rustix::net::sendto(&resolver.udp, &self.out, SendFlags::NOSIGNAL, &to);
                }
            }
            Requestor::Tcp(place) => {
                if let Some(client) = self.clients.get_mut(place) {
                    client.in_flight = client.in_flight.saturating_sub(1);
                    client.answer(&self.out);
                    self.serve(poller, place, now);
                }
            }
        }
    }

    /// Goes on with TCP clients that ask more than one turn allows, and ends what took too long.
    pub fn turn(&mut self, poller: &Poller, now: Instant) {
        self.forwarder.expire(poller, now);
        self.settle_all(poller, now);
        self.turn_clients(poller, now);
    }

    /// When to call `turn` next.
    pub fn deadline(&self, now: Instant) -> Option<Duration> {
        [self.client_deadline(now), self.forwarder.deadline(now)].into_iter().flatten().min()
    }

    /// Takes no more questions, and closes each resolver once its last one is answered.
    pub fn drain(&mut self, poller: &Poller) {
        self.draining = true;
        let is_done =
            |resolver: &Resolver| resolver.askers.values().all(|asker| self.forwarder.waiting(*asker) == 0);
        let all: Vec<_> = self.resolvers.iter().map(|(place, resolver)| (place, is_done(resolver))).collect();
        for (place, is_done) in all {
            if is_done {
                self.close(poller, place);
            } else if let Some(resolver) = self.resolvers.get(place) {
                poller.remove(&resolver.udp);
                poller.remove(&resolver.tcp);
            }
        }
        self.by_sandbox.clear();
        self.by_address.clear();
    }
}

/// The longest answer that this requestor takes.
fn limit(requestor: Requestor, query: &Query) -> usize {
    match requestor {
        Requestor::Udp(_) => respond::udp_limit(query),
        Requestor::Tcp(_) => respond::LONGEST_TCP,
    }
}

fn query_type(number: u16) -> QueryType {
    match number {
        kind::A => QueryType::A,
        kind::AAAA => QueryType::Aaaa,
        kind::PTR => QueryType::Ptr,
        _ => QueryType::Other,
    }
}

/// Parses any bytes as a query and as a reply; for fuzz targets.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let mut name = String::new();
    if let Ok(query) = wire::query(bytes, &mut name) {
        let _ = wire::edns_version(bytes, &query);
        let _ = wire::reply(bytes, query.end);
        let _ = wire::answers(bytes, bytes.get(12..query.end).unwrap_or_default());
    }
    let _ = wire::reply(bytes, 12);
}

#[cfg(test)]
mod tests;
