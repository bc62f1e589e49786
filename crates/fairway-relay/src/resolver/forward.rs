//! Forwards queries to name servers and matches their answers.

mod order;
mod sockets;
mod verdict;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use fairway_core::traffic::SharedResource;
use fairway_model::NameServer;
use rustix::io::Errno;

use super::cache::{Cache, Origin};
use super::servers::Servers;
use super::upstream::{Randomness, Transport, UpstreamSocket};
use super::wire::{self, Query, Reply, TC};
use super::{ResolverLimits, respond};
use crate::poll::Poller;
use crate::slab::{Slab, SlabKey};
use order::Order;
use sockets::PortBudget;
use verdict::{Verdict, judge};

/// How many answers are read from one socket before other sockets get their turn.
const ANSWERS: usize = 64;

/// The client that sent the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requestor {
    /// A UDP client with this address.
    Udp(SocketAddr),
    /// The TCP client with this key.
    Tcp(SlabKey),
}

/// One query that waits for an answer.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// The client that sent the query.
    pub requestor: Requestor,
    /// The query as received, up to the end of its question.
    pub packet: Box<[u8]>,
    /// Its parsed header.
    pub query: Query,
}

impl Waiting {
    /// The question as the client spelled it: name, type and class.
    pub fn question(&self) -> &[u8] {
        self.packet.get(wire::HEADER..).unwrap_or_default()
    }
}

/// A question sent to name servers, with all queries that wait for its answer.
#[derive(Debug)]
pub(crate) struct Pending {
    /// The resolver that was queried.
    pub asker: SlabKey,
    /// The waiting queries, at least one; the first one's question is sent.
    pub waiting: Vec<Waiting>,
    key: Rc<[u8]>,
    origin: Origin,
    /// Whether a client queried over TCP, so that a truncated answer is retried over TCP.
    whole: bool,
    /// The servers not yet tried, next one first.
    servers: VecDeque<NameServer>,
    server: NameServer,
    /// The timeout of each server.
    timeout: Duration,
    /// The sockets and identifiers it was sent with; late answers count.
    sent: Vec<(SlabKey, u16)>,
    attempt: u32,
}

/// A finished question, with the answer if a server sent one.
pub(crate) struct Settled {
    /// The question.
    pub pending: Pending,
    /// The answer, as bytes and parsed.
    pub answer: Option<(Vec<u8>, Reply)>,
}

/// The state of one sandbox's forwarding.
#[derive(Debug, Default)]
struct Sandbox {
    sockets: Vec<SlabKey>,
    ports: PortBudget,
    servers: Servers,
    /// How many queries wait.
    waiting: usize,
    /// The waiting questions, by cache key.
    asked: HashMap<Rc<[u8]>, SlabKey>,
    /// The same, oldest first.
    order: Order,
}

/// Forwards queries to name servers; holds all waiting questions.
pub(crate) struct Forwarder {
    pending: Slab<Pending>,
    sandboxes: HashMap<SlabKey, Sandbox>,
    sockets: Slab<UpstreamSocket>,
    /// How many queries wait.
    waiting: usize,
    /// The most queries that may wait.
    most: usize,
    /// How many queries were forwarded.
    begun: u64,
    /// How many questions were dropped for others.
    evicted: u64,
    /// When attempts time out, soonest first.
    deadlines: BTreeSet<(Instant, SlabKey, u32)>,
    /// When attempts over UDP are sent again, soonest first.
    resends: VecDeque<(Instant, SlabKey, u32)>,
    /// Attempts that failed, whose questions go to the next server.
    failed: Vec<(SlabKey, u32)>,
    settled: VecDeque<Settled>,
    connections: u64,
    random: Randomness,
    /// Cached answers.
    pub cache: Cache,
    buffer: Vec<u8>,
    out: Vec<u8>,
    timeout: Duration,
    resend_after: Duration,
    port: u16,
}

impl Forwarder {
    /// Creates a forwarder with these limits.
    pub fn new(limits: &ResolverLimits) -> Self {
        Self {
            pending: Slab::default(),
            sandboxes: HashMap::new(),
            sockets: Slab::default(),
            waiting: 0,
            most: limits.waiting,
            begun: 0,
            evicted: 0,
            deadlines: BTreeSet::new(),
            resends: VecDeque::new(),
            failed: Vec::new(),
            settled: VecDeque::new(),
            connections: 0,
            random: Randomness::default(),
            cache: Cache::default(),
            buffer: vec![0; 65_536],
            out: Vec::new(),
            timeout: limits.upstream_timeout,
            resend_after: limits.upstream_resend,
            port: limits.upstream_port,
        }
    }

    /// Removes a resolver: its questions, its sockets and its cached answers.
    pub fn close(&mut self, poller: &Poller, asker: SlabKey) {
        let Some(sandbox) = self.sandboxes.remove(&asker) else { return };
        self.waiting -= sandbox.waiting;
        for place in sandbox.asked.into_values() {
            self.pending.remove(place);
        }
        for place in sandbox.sockets {
            if let Some(socket) = self.sockets.remove(place) {
                poller.remove(&socket.socket);
            }
        }
        self.cache.forget(Some(asker));
    }

    /// How many queries wait.
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// The forwarded queries as a shared resource.
    pub fn resource(&self) -> SharedResource {
        let (open, limit) = (self.waiting as u64, self.most as u64);
        SharedResource { open, limit, begun: self.begun, evicted: self.evicted }
    }

    /// How many queries of one resolver wait.
    pub fn waiting(&self, asker: SlabKey) -> usize {
        self.sandboxes.get(&asker).map_or(0, |sandbox| sandbox.waiting)
    }

    /// Clears the state of all servers, and all cached answers.
    pub fn clear(&mut self) {
        self.cache.clear();
        self.sandboxes.values_mut().for_each(|sandbox| sandbox.servers.clear());
    }

    /// Clears both for one asker, whose networks have changed.
    pub fn clear_of(&mut self, asker: SlabKey) {
        self.cache.forget(Some(asker));
        if let Some(sandbox) = self.sandboxes.get_mut(&asker) {
            sandbox.servers.clear();
        }
    }

    /// The origin of cached answers for a resolver: its own, or shared for servers that are queried from the host's
    /// namespace.
    pub fn origin(&self, asker: SlabKey, servers: &[NameServer]) -> Origin {
        let own = servers.iter().any(|server| self.is_inside(asker, *server));
        own.then_some(asker)
    }

    /// The cache key of a question: flags, question and servers.
    pub fn key(packet: &[u8], query: &Query, servers: &[NameServer]) -> Vec<u8> {
        let mut key = Vec::with_capacity(packet.len() + 32);
        key.extend_from_slice(&(query.flags & (wire::RD | wire::AD | wire::CD)).to_be_bytes());
        key.push(query.edns.map_or(0, |edns| 1 + u8::from(edns.dnssec)));
        key.extend(
            packet.get(wire::HEADER..query.end).unwrap_or_default().iter().map(u8::to_ascii_lowercase),
        );
        for server in servers {
            match server.address {
                std::net::IpAddr::V4(address) => key.extend_from_slice(&address.octets()),
                std::net::IpAddr::V6(address) => key.extend_from_slice(&address.octets()),
            }
            key.extend_from_slice(&server.scope.to_be_bytes());
        }
        key
    }

    /// Forwards a query; returns whether a server could be found. A question that waits already is not sent again:
    /// each copy in flight is a chance to guess its answer (RFC 5452 section 5).
    pub fn ask(
        &mut self,
        poller: &Poller,
        asker: SlabKey,
        waiting: Waiting,
        mut key: Vec<u8>,
        configured: &[NameServer],
        now: Instant,
    ) -> bool {
        if self.waiting >= self.most {
            self.make_space();
            self.go_on(poller, now);
        }
        let whole = matches!(waiting.requestor, Requestor::Tcp(_));
        let origin = self.origin(asker, configured);
        let Some(sandbox) = self.sandboxes.get_mut(&asker) else { return false };
        key.push(u8::from(whole));
        if let Some(place) = sandbox.asked.get(key.as_slice())
            && let Some(pending) = self.pending.get_mut(*place)
        {
            pending.waiting.push(waiting);
            self.begun += 1;
            (sandbox.waiting, self.waiting) = (sandbox.waiting + 1, self.waiting + 1);
            return true;
        }
        let servers = VecDeque::from(sandbox.servers.order(configured, now));
        let Some(server) = servers.front().copied() else { return false };
        // Clients wait as long as for one server (`timeout` of resolv.conf(5) is 5 s), so all share that time. A late
        // answer of an earlier server counts too.
        let timeout = self.timeout / u32::try_from(servers.len()).unwrap_or(1);
        let key: Rc<[u8]> = key.into();
        let place = self.pending.insert(Pending {
            asker,
            waiting: vec![waiting],
            key: Rc::clone(&key),
            origin,
            whole,
            servers,
            server,
            timeout,
            sent: Vec::new(),
            attempt: 0,
        });
        sandbox.asked.insert(key, place);
        sandbox.order.push(place, |place| self.pending.get(place).is_some());
        (sandbox.waiting, self.waiting) = (sandbox.waiting + 1, self.waiting + 1);
        let sent = self.ask_next(poller, place, now);
        match sent {
            true => self.begun += 1,
            false => drop(self.remove(poller, place)),
        }
        self.go_on(poller, now);
        sent
    }

    /// Drops the oldest question of the sandbox that has the most.
    fn make_space(&mut self) {
        let greediest = self.sandboxes.iter_mut().max_by_key(|(_, sandbox)| sandbox.waiting);
        let Some((_, sandbox)) = greediest else { return };
        let oldest = sandbox.order.pop(|place| self.pending.get(place).is_some());
        if let Some(place) = oldest
            && let Some(pending) = self.pending.get_mut(place)
        {
            pending.servers.clear();
            self.evicted += pending.waiting.len() as u64;
            self.failed.push((place, pending.attempt));
        }
    }

    /// Sends a question to the next reachable server; `false` when none is left.
    fn ask_next(&mut self, poller: &Poller, place: SlabKey, now: Instant) -> bool {
        loop {
            let Some(pending) = self.pending.get_mut(place) else { return true };
            let Some(server) = pending.servers.pop_front() else { return false };
            pending.server = server;
            if self.send(poller, place, Transport::Udp, now).is_ok() {
                return true;
            }
        }
    }

    /// Sends a question to its server.
    fn send(&mut self, poller: &Poller, place: SlabKey, by: Transport, now: Instant) -> Result<(), Errno> {
        let pending = self.pending.get(place).ok_or(Errno::SRCH)?;
        let at = self.socket(poller, pending.asker, pending.server, by, now)?;
        let pending = self.pending.get_mut(place).ok_or(Errno::SRCH)?;
        let socket = self.sockets.get_mut(at).ok_or(Errno::BADF)?;
        // Without randomness nothing is sent.
        let id = socket.fresh_id(&mut self.random).ok_or(Errno::AGAIN)?;
        let first = pending.waiting.first().ok_or(Errno::SRCH)?;
        respond::upstream_query(&mut self.out, first.question(), &first.query, id);
        if let Err(errno) = socket.send(&self.out) {
            self.give_up(poller, at);
            return Err(errno);
        }
        socket.asked.insert(id, place);
        pending.sent.push((at, id));
        pending.attempt += 1;
        self.deadlines.insert((now + pending.timeout, place, pending.attempt));
        if by == Transport::Udp {
            self.resends.push_back((now + self.resend_after, place, pending.attempt));
        }
        Ok(())
    }

    /// Handles an event of a socket.
    pub fn ready(&mut self, poller: &Poller, place: SlabKey, now: Instant) {
        if let Some(socket) = self.sockets.get_mut(place)
            && socket.flush().is_err()
        {
            self.give_up(poller, place);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..ANSWERS {
            let Some(socket) = self.sockets.get_mut(place) else { break };
            match socket.receive(&mut buffer) {
                Ok(Some(message)) => self.consider(poller, place, message, now),
                Ok(None) => break,
                // The server is unreachable (ICMP), or closed the connection.
                Err(_) => {
                    self.give_up(poller, place);
                    break;
                }
            }
            if self.sockets.get(place).is_none_or(|socket| socket.asked.is_empty()) {
                break;
            }
        }
        self.buffer = buffer;
        self.go_on(poller, now);
    }

    /// Handles a server's message. One that does not answer the question is dropped, and the question waits on: a
    /// wrong guess must not end it.
    fn consider(&mut self, poller: &Poller, at: SlabKey, bytes: Vec<u8>, now: Instant) {
        let Ok(id) = wire::word(&bytes, 0) else { return };
        let Some(socket) = self.sockets.get(at) else { return };
        let Some(place) = socket.asked.get(&id).copied() else { return };
        let Some(pending) = self.pending.get_mut(place) else { return };
        let Some(first) = pending.waiting.first() else { return };
        let Some(verdict) = judge(&bytes, first, pending.whole, socket.transport) else { return };
        let is_last = pending.sent.last() == Some(&(at, id));
        let server = socket.server.unwrap_or(pending.server);
        if is_last && let Some(sandbox) = self.sandboxes.get_mut(&pending.asker) {
            sandbox.servers.answered(server, now);
        }
        match verdict {
            Verdict::Answer(reply) => {
                let Some(pending) = self.remove(poller, place) else { return };
                if reply.flags & TC == 0
                    && let Some((_, key)) = pending.key.split_last()
                {
                    self.cache.store(pending.origin, key, &bytes, reply.clone(), now);
                }
                self.settled.push_back(Settled { pending, answer: Some((bytes, reply)) });
            }
            Verdict::AskOverTcp => {
                (pending.server, pending.attempt) = (server, pending.attempt + 1);
                let attempt = pending.attempt;
                self.unsend(poller, place, (at, id));
                if self.send(poller, place, Transport::Tcp, now).is_err() {
                    self.failed.push((place, attempt));
                }
            }
            Verdict::Failure => {
                let attempt = pending.attempt;
                self.unsend(poller, place, (at, id));
                if is_last {
                    self.failed.push((place, attempt));
                }
            }
        }
    }

    /// Stops waiting for the answer to a question at a socket.
    fn unsend(&mut self, poller: &Poller, place: SlabKey, (at, id): (SlabKey, u16)) {
        let Some(pending) = self.pending.get_mut(place) else { return };
        pending.sent.retain(|sent| *sent != (at, id));
        if self.sockets.get_mut(at).is_some_and(|socket| socket.forget(id, place)) {
            self.rest(poller, at);
        }
    }

    /// Removes a question.
    fn remove(&mut self, poller: &Poller, place: SlabKey) -> Option<Pending> {
        let pending = self.pending.remove(place)?;
        for (at, id) in &pending.sent {
            if self.sockets.get_mut(*at).is_some_and(|socket| socket.forget(*id, place)) {
                self.rest(poller, *at);
            }
        }
        self.waiting -= pending.waiting.len();
        if let Some(sandbox) = self.sandboxes.get_mut(&pending.asker) {
            sandbox.waiting -= pending.waiting.len();
            sandbox.asked.remove(&pending.key);
        }
        Some(pending)
    }

    /// Sends questions whose server failed to the next server, or finishes them.
    fn go_on(&mut self, poller: &Poller, now: Instant) {
        while let Some((place, attempt)) = self.failed.pop() {
            let waits = self.pending.get(place).is_some_and(|pending| pending.attempt == attempt);
            if waits
                && !self.ask_next(poller, place, now)
                && let Some(pending) = self.remove(poller, place)
            {
                self.settled.push_back(Settled { pending, answer: None });
            }
        }
    }

    /// Sends a datagram again if it was not answered in time. The copy has the port and the identifier of the first,
    /// so it adds no chance to guess the answer.
    fn resend(&mut self, now: Instant) {
        while let Some((due, place, attempt)) = self.resends.front().copied() {
            let pending = self.pending.get(place).filter(|pending| pending.attempt == attempt);
            if let Some(pending) = pending {
                if due > now {
                    break;
                }
                if let (Some((at, id)), Some(first)) = (pending.sent.last(), pending.waiting.first())
                    && let Some(socket) = self.sockets.get_mut(*at)
                {
                    respond::upstream_query(&mut self.out, first.question(), &first.query, *id);
                    // A copy that cannot be sent counts as lost.
                    let _ = socket.send(&self.out);
                }
            }
            self.resends.pop_front();
        }
    }

    /// Sends unanswered datagrams again, and ends attempts that timed out.
    pub fn expire(&mut self, poller: &Poller, now: Instant) {
        self.resend(now);
        while let Some((deadline, place, attempt)) = self.deadlines.first().copied() {
            let pending = self.pending.get(place).filter(|pending| pending.attempt == attempt);
            if let Some(pending) = pending {
                if deadline > now {
                    break;
                }
                if let Some(sandbox) = self.sandboxes.get_mut(&pending.asker) {
                    sandbox.servers.silent(pending.server, now - pending.timeout, now);
                }
                self.failed.push((place, attempt));
            }
            self.deadlines.pop_first();
        }
        self.go_on(poller, now);
    }

    /// The next finished question.
    pub fn settled(&mut self) -> Option<Settled> {
        self.settled.pop_front()
    }

    /// When to call `expire` next.
    pub fn deadline(&self, now: Instant) -> Option<Duration> {
        let next =
            [self.deadlines.first(), self.resends.front()].into_iter().flatten().map(|(at, ..)| *at).min();
        next.map(|at| at.saturating_duration_since(now))
    }
}
