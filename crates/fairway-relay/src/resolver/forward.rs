//! Questions on their way to name servers.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::cache::Cache;
use super::respond;
use super::servers::Servers;
use super::wire::{self, Query, Reply, TC, code};
use crate::poll::{EDGES, Kind, Poller, Token};
use crate::slab::{Place, Slab};

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    /// Somebody at this address, over UDP.
    Udp(SocketAddr),
    /// The TCP client at this place.
    Tcp(Place),
}

/// A question that waits for a name server.
#[derive(Debug)]
pub(crate) struct Pending {
    /// The resolver that was asked.
    pub resolver: Place,
    /// Who asked.
    pub asker: Asker,
    /// The query as it came, up to the end of its question.
    pub packet: Vec<u8>,
    /// Its head.
    pub query: Query,
    key: Vec<u8>,
    /// The servers that are left, next one first.
    servers: VecDeque<IpAddr>,
    server: IpAddr,
    id: u16,
    socket: OwnedFd,
    /// Over TCP: what is still to be sent, and what has come.
    stream: Option<Stream>,
    attempt: u32,
}

#[derive(Debug, Default)]
struct Stream {
    out: Vec<u8>,
    sent: usize,
    input: Vec<u8>,
}

/// What became of a question.
pub(crate) enum Outcome {
    /// It still waits.
    Waits,
    /// This was answered: bytes and what they say.
    Answered(Pending, Vec<u8>, Reply),
    /// Nobody answered.
    Failed(Pending),
}

/// All questions that wait for name servers.
pub(crate) struct Forwarder {
    pending: Slab<Pending>,
    /// When attempts end, soonest first.
    deadlines: VecDeque<(Instant, Place, u32)>,
    servers: Servers,
    /// What was answered lately.
    pub cache: Cache,
    buffer: Vec<u8>,
    timeout: Duration,
    port: u16,
}

impl Forwarder {
    /// Asks servers at `port`, each of which has `timeout` to answer.
    pub fn new(port: u16, timeout: Duration) -> Self {
        Self {
            pending: Slab::default(),
            deadlines: VecDeque::new(),
            servers: Servers::default(),
            cache: Cache::default(),
            buffer: vec![0; 65_536],
            timeout,
            port,
        }
    }

    /// How many questions wait.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Forgets what is known of name servers and their answers.
    pub fn clear(&mut self) {
        self.cache.clear();
        self.servers.clear();
    }

    /// What tells the answers to a question apart: servers, what was asked for, and the question.
    pub fn key(packet: &[u8], query: &Query, servers: &[IpAddr]) -> Vec<u8> {
        let mut key = Vec::with_capacity(packet.len() + 16);
        key.extend_from_slice(&(query.flags & (wire::RD | wire::AD | wire::CD)).to_be_bytes());
        key.push(query.edns.map_or(0, |edns| 1 + u8::from(edns.dnssec)));
        key.extend(packet[wire::HEADER..query.end].iter().map(u8::to_ascii_lowercase));
        for server in servers {
            match server {
                IpAddr::V4(address) => key.extend_from_slice(&address.octets()),
                IpAddr::V6(address) => key.extend_from_slice(&address.octets()),
            }
        }
        key
    }

    /// Sends a question on its way; whether it could be.
    #[expect(clippy::too_many_arguments, reason = "they are the parts of one question")]
    pub fn ask(
        &mut self,
        poller: &Poller,
        resolver: Place,
        asker: Asker,
        packet: &[u8],
        query: Query,
        key: Vec<u8>,
        configured: &[IpAddr],
        now: Instant,
    ) -> bool {
        let mut servers = VecDeque::from(self.servers.order(configured, now));
        while let Some(server) = servers.pop_front() {
            let Ok(socket) = self.open(server, SocketType::DGRAM) else { continue };
            let place = self.pending.insert(Pending {
                resolver,
                asker,
                packet: packet[..query.end].to_vec(),
                query,
                key,
                servers,
                server,
                id: 0,
                socket,
                stream: None,
                attempt: 0,
            });
            return match self.start(poller, place, now) {
                Outcome::Waits => true,
                Outcome::Answered(..) | Outcome::Failed(_) => false,
            };
        }
        false
    }

    /// A connected socket: the kernel chooses its port at random, and lets nobody but the
    /// server answer.
    fn open(&self, server: IpAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
        let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, kind, flags, None)?;
        match rustix::net::connect(&socket, &SocketAddr::new(server, self.port)) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(errno) => Err(errno),
        }
    }

    /// Sends the question over the socket that the pending one has.
    fn start(&mut self, poller: &Poller, place: Place, now: Instant) -> Outcome {
        let Some(pending) = self.pending.get_mut(place) else { return Outcome::Waits };
        let mut id = [0; 2];
        // The id must be hard to guess (RFC 5452); without randomness nothing is asked.
        if getrandom::fill(&mut id).is_err() {
            return self.next(poller, place, now);
        }
        pending.id = u16::from_ne_bytes(id);
        pending.attempt += 1;
        self.deadlines.push_back((now + self.timeout, place, pending.attempt));
        let mut out = Vec::new();
        respond::upstream_query(&mut out, &pending.packet[wire::HEADER..], &pending.query, pending.id);
        let mut sent = Ok(out.len());
        if let Some(stream) = &mut pending.stream {
            stream.out = (out.len() as u16).to_be_bytes().to_vec();
            stream.out.extend_from_slice(&out);
        } else {
            sent = rustix::net::send(&pending.socket, &out, SendFlags::NOSIGNAL);
        }
        let watched = poller.add(&pending.socket, Token(Kind::Upstream, place), EDGES);
        if sent.is_err() || watched.is_err() { self.next(poller, place, now) } else { Outcome::Waits }
    }

    /// Gives up on the server that was asked, and asks the next.
    fn next(&mut self, poller: &Poller, place: Place, now: Instant) -> Outcome {
        loop {
            let Some(pending) = self.pending.get_mut(place) else { return Outcome::Waits };
            self.servers.failed(pending.server, now);
            let Some(server) = pending.servers.pop_front() else {
                return self.pending.remove(place).map_or(Outcome::Waits, Outcome::Failed);
            };
            pending.server = server;
            pending.stream = None;
            if let Ok(socket) = self.open(server, SocketType::DGRAM) {
                if let Some(pending) = self.pending.get_mut(place) {
                    pending.socket = socket;
                }
                return self.start(poller, place, now);
            }
        }
    }

    /// Handles an event of a name server's socket.
    pub fn ready(&mut self, poller: &Poller, place: Place, flags: EventFlags, now: Instant) -> Outcome {
        let Some(pending) = self.pending.get_mut(place) else { return Outcome::Waits };
        if pending.stream.is_some() {
            self.stream(poller, place, flags, now)
        } else {
            self.datagrams(poller, place, now)
        }
    }

    fn datagrams(&mut self, poller: &Poller, place: Place, now: Instant) -> Outcome {
        loop {
            let Some(pending) = self.pending.get_mut(place) else { return Outcome::Waits };
            let length = match rustix::net::recv(&pending.socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((_, length)) => length,
                Err(Errno::AGAIN | Errno::INTR) => return Outcome::Waits,
                // Nobody is there (ICMP).
                Err(_) => return self.next(poller, place, now),
            };
            let bytes = std::mem::take(&mut self.buffer);
            let outcome = self.consider(poller, place, &bytes[..length.min(bytes.len())], now);
            self.buffer = bytes;
            match outcome {
                Some(outcome) => return outcome,
                // Not the answer to this question: whoever guesses must not make us stop listening.
                None => continue,
            }
        }
    }

    /// Looks at what a server sent; `None` if it has nothing to do with the question.
    fn consider(&mut self, poller: &Poller, place: Place, bytes: &[u8], now: Instant) -> Option<Outcome> {
        let pending = self.pending.get_mut(place)?;
        let question = &pending.packet[wire::HEADER..];
        let flags = wire::word(bytes, 2).ok()?;
        if wire::word(bytes, 0) != Ok(pending.id) || flags & wire::QR == 0 || flags & wire::OPCODE != 0 {
            return None;
        }
        if !wire::answers(bytes, question) {
            // Servers that cannot read a query may leave the question out.
            let refused = flags & 0xf != 0 && wire::word(bytes, 4) == Ok(0);
            return refused.then(|| self.next(poller, place, now));
        }
        let Ok(reply) = wire::reply(bytes, pending.query.end) else {
            return Some(self.next(poller, place, now));
        };
        if matches!(reply.code, code::SERVER_FAILURE | code::REFUSED | code::NOT_IMPLEMENTED) {
            return Some(self.next(poller, place, now));
        }
        let cut = flags & TC != 0;
        if cut && pending.stream.is_none() && matches!(pending.asker, Asker::Tcp(_)) {
            // An asker over UDP is told that it was cut and comes back over TCP.
            let server = pending.server;
            let Ok(socket) = self.open(server, SocketType::STREAM) else {
                return Some(self.next(poller, place, now));
            };
            let pending = self.pending.get_mut(place)?;
            pending.socket = socket;
            pending.stream = Some(Stream::default());
            return Some(self.start(poller, place, now));
        }
        self.servers.answered(pending.server);
        let pending = self.pending.remove(place)?;
        if !cut {
            self.cache.store(&pending.key, bytes, reply.clone(), now);
        }
        Some(Outcome::Answered(pending, bytes.to_vec(), reply))
    }

    fn stream(&mut self, poller: &Poller, place: Place, flags: EventFlags, now: Instant) -> Outcome {
        let message = match self.pending.get_mut(place) {
            None => return Outcome::Waits,
            Some(pending) => exchange(pending, &mut self.buffer, flags),
        };
        match message {
            Ok(None) => Outcome::Waits,
            Ok(Some(message)) => match self.consider(poller, place, &message, now) {
                Some(outcome) => outcome,
                None => self.next(poller, place, now),
            },
            Err(_) => self.next(poller, place, now),
        }
    }

    /// Ends attempts that took too long. Each outcome is one question's.
    pub fn expire(&mut self, poller: &Poller, now: Instant) -> Option<Outcome> {
        while let Some((deadline, place, attempt)) = self.deadlines.front().copied() {
            let waits = self.pending.get(place).is_some_and(|pending| pending.attempt == attempt);
            if waits && deadline > now {
                return None;
            }
            self.deadlines.pop_front();
            if waits {
                return Some(self.next(poller, place, now));
            }
        }
        None
    }

    /// When `expire` wants to be called next.
    pub fn deadline(&self, now: Instant) -> Option<Duration> {
        self.deadlines.front().map(|(at, _, _)| at.saturating_duration_since(now))
    }

    /// Forgets the questions of a resolver.
    pub fn forget(&mut self, resolver: Place) {
        let places: Vec<Place> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.resolver == resolver)
            .map(|(place, _)| place)
            .collect();
        for place in places {
            self.pending.remove(place);
        }
    }
}

/// Sends and receives over TCP (RFC 1035 section 4.2.2) as far as it goes; the message once it is
/// complete.
fn exchange(pending: &mut Pending, buffer: &mut [u8], flags: EventFlags) -> Result<Option<Vec<u8>>, Errno> {
    let Some(stream) = &mut pending.stream else { return Ok(None) };
    if flags.contains(EventFlags::ERR) {
        return Err(Errno::CONNREFUSED);
    }
    while stream.sent < stream.out.len() && flags.contains(EventFlags::OUT) {
        match rustix::net::send(&pending.socket, &stream.out[stream.sent..], SendFlags::NOSIGNAL) {
            Ok(sent) => stream.sent += sent,
            Err(Errno::AGAIN | Errno::NOTCONN) => break,
            Err(errno) => return Err(errno),
        }
    }
    loop {
        if let Ok(length) = wire::word(&stream.input, 0)
            && let Some(message) = stream.input.get(2..2 + usize::from(length))
        {
            return Ok(Some(message.to_vec()));
        }
        match rustix::net::recv(&pending.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((_, 0)) => return Err(Errno::CONNRESET),
            Ok((_, length)) => stream.input.extend_from_slice(&buffer[..length]),
            Err(Errno::AGAIN | Errno::INTR | Errno::NOTCONN) => return Ok(None),
            Err(errno) => return Err(errno),
        }
    }
}
