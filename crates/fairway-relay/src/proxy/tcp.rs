//! The TCP proxy: each accepted connection is forwarded to the sandbox over a second one.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use fairway_core::traffic::SharedResource;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use super::ProxyLimits;
use super::half::{COPY_BYTES, Half, Progress, Side, Turn};
use super::pipes::Pipes;
use crate::poll::{EDGES, Kind, Poller, READ, Token};
use crate::shares::{Shares, source};
use crate::slab::{Slab, SlabKey};
use crate::table::ProxiedBytes;

/// How many connections one port accepts before other sockets get their turn.
const ACCEPTS: usize = 64;

/// How long accepting pauses when descriptors or memory have run out and no connection ends.
const REST: Duration = Duration::from_millis(100);

#[derive(Debug)]
struct Listener {
    socket: OwnedFd,
    target: SocketAddr,
    connections: HashSet<SlabKey>,
    carried: ProxiedBytes,
}

#[derive(Debug)]
struct Connection {
    listener: SlabKey,
    client: Side,
    upstream: Side,
    to_upstream: Half,
    to_client: Half,
    connected: bool,
    /// It is in the list of connections with more data.
    again: bool,
    /// The sandbox and the client that the connection counts for.
    party: (IpAddr, IpAddr),
    /// The memory of bytes that wait for a reader.
    waiting: usize,
}

/// All TCP ports and their connections.
pub(crate) struct Tcp {
    listeners: Slab<Listener>,
    connections: Slab<Connection>,
    pipes: Pipes,
    buffer: Box<[u8; COPY_BYTES]>,
    /// Connections that used up their turn and have more data.
    again: Vec<SlabKey>,
    /// Connections by the sandbox that they lead to and their client.
    shares: Shares<IpAddr, IpAddr, SlabKey>,
    /// Bytes that wait for a reader, by sandbox and client.
    waiting: Shares<IpAddr, IpAddr, SlabKey>,
    /// Ports that do not accept until there are descriptors and memory.
    resting: Vec<SlabKey>,
    rest_until: Option<Instant>,
    limits: ProxyLimits,
    /// How many connections have begun.
    begun: u64,
    /// How many were ended for others.
    evicted: u64,
}

impl Tcp {
    /// Creates a proxy without ports.
    pub fn new(limits: &ProxyLimits) -> Self {
        Self {
            listeners: Slab::default(),
            connections: Slab::default(),
            pipes: Pipes::new(limits.pipes),
            buffer: Box::new([0; COPY_BYTES]),
            again: Vec::new(),
            shares: Shares::new(limits.connections),
            waiting: Shares::new(limits.waiting_bytes),
            resting: Vec::new(),
            rest_until: None,
            limits: limits.clone(),
            begun: 0,
            evicted: 0,
        }
    }

    /// Changes the limits of connections and pipes.
    pub fn set_limits(&mut self, poller: &Poller, limits: &ProxyLimits) {
        self.shares.set_limit(limits.connections);
        self.pipes.set_limit(limits.pipes);
        self.end_greediest(poller);
    }

    /// Resets connections of the greediest until the others fit.
    fn end_greediest(&mut self, poller: &Poller) {
        while let Some(place) = self.shares.excess().or_else(|| self.waiting.excess()) {
            self.evicted += 1;
            self.end(poller, place, true);
        }
    }

    /// Accepts connections at a listening socket and forwards them to `target`.
    pub fn listen(&mut self, poller: &Poller, socket: OwnedFd, target: SocketAddr) -> Result<SlabKey, Errno> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        // Accepted sockets inherit both: no delays, and a client that vanished is noticed.
        sockopt::set_tcp_nodelay(&socket, true)?;
        sockopt::set_socket_keepalive(&socket, true)?;
        let place = self.listeners.insert(Listener {
            socket,
            target,
            connections: HashSet::new(),
            carried: ProxiedBytes::default(),
        });
        if let Some(listener) = self.listeners.get(place)
            && let Err(errno) = poller.add(&listener.socket, Token(Kind::TcpListener, place), READ)
        {
            self.listeners.remove(place);
            return Err(errno);
        }
        Ok(place)
    }

    /// Forwards new connections to another address; established ones go on.
    pub fn retarget(&mut self, place: SlabKey, target: SocketAddr) {
        if let Some(listener) = self.listeners.get_mut(place) {
            listener.target = target;
        }
    }

    /// Closes the old listener of a port whose connections now belong to the new one.
    pub fn replace(&mut self, poller: &Poller, old: SlabKey, new: SlabKey) {
        let Some(listener) = self.listeners.remove(old) else { return };
        poller.remove(&listener.socket);
        for place in &listener.connections {
            if let Some(connection) = self.connections.get_mut(*place) {
                connection.listener = new;
            }
        }
        if let Some(successor) = self.listeners.get_mut(new) {
            successor.connections.extend(listener.connections);
            successor.carried.add(listener.carried);
        }
    }

    /// Stops accepting, and resets the port's connections if `reset`.
    pub fn close(&mut self, poller: &Poller, place: SlabKey, reset: bool) {
        let Some(listener) = self.listeners.remove(place) else { return };
        poller.remove(&listener.socket);
        if reset {
            for connection in listener.connections {
                self.reset(connection);
            }
        }
    }

    /// The listening socket.
    pub fn listener(&self, place: SlabKey) -> Option<BorrowedFd<'_>> {
        self.listeners.get(place).map(|listener| listener.socket.as_fd())
    }

    /// The bytes proxied through a port.
    pub fn proxied_bytes(&self, place: SlabKey) -> ProxiedBytes {
        self.listeners.get(place).map(|listener| listener.carried).unwrap_or_default()
    }

    /// The target of a port.
    pub fn target(&self, place: SlabKey) -> Option<SocketAddr> {
        self.listeners.get(place).map(|listener| listener.target)
    }

    /// The number of connections.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// The connections as a shared resource.
    pub fn resource(&self) -> SharedResource {
        let (open, limit) = (self.connections.len() as u64, self.shares.limit() as u64);
        SharedResource { open, limit, begun: self.begun, evicted: self.evicted }
    }

    /// Accepts waiting connections at a port.
    pub fn accept(&mut self, poller: &Poller, place: SlabKey, now: Instant) {
        for _ in 0..ACCEPTS {
            let Some(listener) = self.listeners.get(place) else { return };
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match rustix::net::acceptfrom_with(&listener.socket, flags) {
                Ok((client, address)) => {
                    let target = listener.target;
                    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
                    let party = (target.ip(), source(address.map_or(target.ip(), |address| address.ip())));
                    if let Err(errno) = self.connect(poller, (place, party), client, target, now)
                        && exhausted(errno)
                    {
                        return self.rest(poller, place, now);
                    }
                }
                Err(errno) if exhausted(errno) => return self.rest(poller, place, now),
                // The client disconnected before it was accepted (accept(2)); try the next.
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
                Err(_) => return,
            }
        }
    }

    /// Stops listening to a port for a while; its backlog fills meanwhile.
    fn rest(&mut self, poller: &Poller, place: SlabKey, now: Instant) {
        if let Some(listener) = self.listeners.get(place)
            && poller.modify(&listener.socket, Token(Kind::TcpListener, place), EventFlags::empty()).is_ok()
        {
            self.resting.push(place);
            self.rest_until = Some(now + REST);
        }
    }

    fn wake(&mut self, poller: &Poller) {
        self.rest_until = None;
        for place in std::mem::take(&mut self.resting) {
            if let Some(listener) = self.listeners.get(place) {
                // This can only fail for want of memory; the socket is watched already.
                let _ = poller.modify(&listener.socket, Token(Kind::TcpListener, place), READ);
            }
        }
    }

    /// Begins to connect a client to the sandbox. On failure the client is reset.
    fn connect(
        &mut self,
        poller: &Poller,
        (listener, party): (SlabKey, (IpAddr, IpAddr)),
        client: OwnedFd,
        target: SocketAddr,
        now: Instant,
    ) -> Result<(), Errno> {
        let upstream = match dial(target) {
            Ok(upstream) => upstream,
            Err(errno) => {
                abort(&client);
                return Err(errno);
            }
        };
        let place = self.connections.insert(Connection {
            listener,
            client: Side::new(client),
            upstream: Side::new(upstream),
            to_upstream: Half::default(),
            to_client: Half::default(),
            connected: false,
            again: false,
            party,
            waiting: 0,
        });
        self.begun += 1;
        self.shares.insert(place, party.0, party.1, 1, self.limits.connect_timeout, now);
        let Some(connection) = self.connections.get(place) else { return Ok(()) };
        if let Some(listener) = self.listeners.get_mut(listener) {
            listener.connections.insert(place);
        }
        let watched = poller
            .add(&connection.upstream.socket, Token(Kind::TcpUpstream, place), EDGES)
            .and_then(|()| poller.add(&connection.client.socket, Token(Kind::TcpClient, place), EDGES));
        if watched.is_err() {
            self.reset(place);
            return watched;
        }
        self.end_greediest(poller);
        Ok(())
    }

    /// Handles an event of one end of a connection.
    pub fn ready(
        &mut self,
        poller: &Poller,
        place: SlabKey,
        of_client: bool,
        flags: EventFlags,
        now: Instant,
    ) {
        let Some(connection) = self.connections.get_mut(place) else { return };
        let side = if of_client { &mut connection.client } else { &mut connection.upstream };
        side.note(flags);
        if !connection.connected {
            if flags.contains(EventFlags::ERR) {
                return self.end(poller, place, true);
            }
            if of_client || !flags.contains(EventFlags::OUT) {
                return;
            }
            connection.connected = true;
            self.shares.set_idle_timeout(place, self.limits.connection_idle);
        }
        self.carry(poller, place, now);
    }

    /// Forwards bytes in both directions.
    fn carry(&mut self, poller: &Poller, place: SlabKey, now: Instant) {
        let Some(connection) = self.connections.get_mut(place) else { return };
        // One sandbox does not take all pipes; what cannot be spliced is copied.
        let splices = self.waiting.cost_of(connection.party.0) <= self.pipes.bytes() / 2;
        let Connection { client, upstream, to_upstream, to_client, .. } = connection;
        let was_half_closed = to_upstream.closed != to_client.closed;
        let turn = Turn { last: to_client.closed, splices };
        let there = to_upstream.carry(client, upstream, &mut self.pipes, &mut self.buffer, turn);
        let turn = Turn { last: to_upstream.closed, splices };
        let back = to_client.carry(upstream, client, &mut self.pipes, &mut self.buffer, turn);
        let carried = ProxiedBytes {
            bytes_in: to_upstream.take_proxied_bytes(),
            bytes_out: to_client.take_proxied_bytes(),
        };
        let waiting = to_upstream.waiting() + to_client.waiting();
        if std::mem::replace(&mut connection.waiting, waiting) != waiting {
            let (sandbox, client) = connection.party;
            match waiting {
                0 => self.waiting.remove(place),
                cost => self.waiting.insert(place, sandbox, client, cost, self.limits.connection_idle, now),
            }
        }
        self.shares.touch(place, now);
        if !was_half_closed && to_upstream.closed != to_client.closed {
            self.shares.set_idle_timeout(place, self.limits.half_closed_idle);
        }
        if let Some(listener) = self.listeners.get_mut(connection.listener) {
            listener.carried.add(carried);
        }
        match (there, back) {
            (Ok(_), Ok(_)) if to_upstream.closed && to_client.closed => self.end(poller, place, false),
            (Ok(Progress::Waits), Ok(Progress::Waits)) => {}
            (Ok(_), Ok(_)) => {
                if !connection.again {
                    connection.again = true;
                    self.again.push(place);
                }
            }
            _ => self.end(poller, place, true),
        }
        self.end_greediest(poller);
    }

    fn end(&mut self, poller: &Poller, place: SlabKey, reset: bool) {
        if reset {
            self.reset(place);
        } else {
            self.forget(place);
        }
        if !self.resting.is_empty() {
            self.wake(poller);
        }
    }

    /// Ends a connection so that both peers learn of it as an error.
    fn reset(&mut self, place: SlabKey) {
        if let Some(connection) = self.forget(place) {
            abort(&connection.client.socket);
            abort(&connection.upstream.socket);
        }
    }

    fn forget(&mut self, place: SlabKey) -> Option<Ends> {
        let connection = self.connections.remove(place)?;
        self.shares.remove(place);
        self.waiting.remove(place);
        if let Some(listener) = self.listeners.get_mut(connection.listener) {
            listener.connections.remove(&place);
            if listener.connections.is_empty() {
                listener.connections = HashSet::new();
            }
        }
        connection.to_upstream.discard(&mut self.pipes);
        connection.to_client.discard(&mut self.pipes);
        Some(Ends { client: connection.client, upstream: connection.upstream })
    }

    /// Continues connections with more data, and ends those that timed out.
    pub fn turn(&mut self, poller: &Poller, now: Instant) {
        for place in std::mem::take(&mut self.again) {
            if let Some(connection) = self.connections.get_mut(place) {
                connection.again = false;
                self.carry(poller, place, now);
            }
        }
        while let Some(place) = self.shares.idle(now) {
            self.end(poller, place, true);
        }
        if self.rest_until.is_some_and(|until| until <= now) {
            self.wake(poller);
        }
    }

    /// When to call `turn` next.
    pub fn deadline(&self, now: Instant) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        [self.shares.deadline(), self.rest_until]
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.saturating_duration_since(now))
    }
}

/// The sockets of an ended connection.
struct Ends {
    client: Side,
    upstream: Side,
}

/// Starts a nonblocking connect; epoll reports the outcome. No keepalive on this side: when a sandbox ends, its port
/// is removed.
fn dial(target: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    match rustix::net::connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

/// Makes closing a socket send a reset instead of an end.
fn abort(socket: &OwnedFd) {
    // If this fails, the peer sees a normal close instead.
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

/// Whether this process lacks descriptors or memory, so that trying again at once is of no use.
fn exhausted(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
}
