//! The userland proxy: forwards published ports of the host to sandboxes.

mod datagram;
mod half;
mod pipes;
mod tcp;
mod udp;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use fairway_core::object::SocketUse;
use fairway_core::traffic::SharedResource;
use fairway_model::Protocol;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use crate::poll::{Kind, Poller, Token};
use crate::slab::SlabKey;
use crate::table::{ProxiedBytes, Record};

pub(crate) use tcp::Tcp;
pub(crate) use udp::Udp;

/// The proxy's limits.
#[derive(Debug, Clone)]
pub struct ProxyLimits {
    /// The timeout of connecting to a sandbox.
    pub connect_timeout: Duration,
    /// The idle timeout of a TCP connection; conntrack's is the same.
    pub connection_idle: Duration,
    /// The idle timeout of a half-closed TCP connection.
    pub half_closed_idle: Duration,
    /// The most TCP connections at a time; beyond, one of the greediest sandbox's is reset.
    pub connections: usize,
    /// The idle timeout of a UDP flow; Docker's is 90 s.
    pub flow_idle: Duration,
    /// The most UDP flows at a time; beyond, one of the greediest sandbox's ends.
    pub flows: usize,
    /// The most pipes that hold bytes at a time; beyond, bytes are copied.
    pub pipes: usize,
    /// The most bytes that wait for slow readers; beyond, one connection of the greediest sandbox's is reset.
    pub waiting_bytes: usize,
}

impl Default for ProxyLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(20),
            connection_idle: Duration::from_secs(5 * 86_400),
            half_closed_idle: Duration::from_secs(3_600),
            connections: 100_000,
            flow_idle: Duration::from_secs(90),
            flows: 65_536,
            pipes: 128,
            waiting_bytes: 64 << 20,
        }
    }
}

impl ProxyLimits {
    /// Reduces these limits to a number of descriptors. A part is left for the resolvers, which must answer when
    /// ports are flooded.
    pub(crate) fn within(&self, descriptors: usize) -> Self {
        Self {
            // Each connection is two descriptors, and so is each pipe.
            connections: self.connections.min(descriptors / 5).max(1),
            flows: self.flows.min(descriptors / 5).max(1),
            pipes: self.pipes.min(descriptors / 20),
            ..self.clone()
        }
    }
}

/// What a port's socket is used for.
#[derive(Debug)]
enum Use {
    /// Held, so that no other program gets the port.
    Hold(OwnedFd),
    /// The key of a TCP listener.
    Tcp(SlabKey),
    /// The key of a UDP socket.
    Udp(SlabKey),
}

/// All ports, by protocol and address.
pub(crate) struct Proxy {
    ports: HashMap<(Protocol, SocketAddr), Use>,
    tcp: Tcp,
    udp: Udp,
}

impl Proxy {
    /// Creates a proxy without ports.
    pub fn new(limits: &ProxyLimits) -> Self {
        Self { ports: HashMap::new(), tcp: Tcp::new(limits), udp: Udp::new(limits) }
    }

    /// Changes the limits of connections, flows and pipes; the greediest are ended.
    pub fn set_limits(&mut self, poller: &Poller, limits: &ProxyLimits) {
        self.tcp.set_limits(poller, limits);
        self.udp.set_limit(limits.flows);
    }

    /// The number of ports; each is one socket.
    pub fn ports(&self) -> usize {
        self.ports.len()
    }

    /// Sets the use of a port; without `socket` it keeps the one that it has.
    pub fn insert(
        &mut self,
        poller: &Poller,
        port: (Protocol, SocketAddr),
        purpose: &SocketUse,
        socket: Option<OwnedFd>,
    ) -> Result<(), PortError> {
        // Only the target changes: connections and the socket stay.
        if socket.is_none()
            && let (Some(existing), SocketUse::Proxy(target)) = (self.ports.get(&port), purpose)
        {
            match existing {
                Use::Tcp(place) => {
                    self.tcp.retarget(*place, *target);
                    return Ok(());
                }
                Use::Udp(place) => {
                    self.udp.retarget(*place, *target);
                    return Ok(());
                }
                Use::Hold(_) => {}
            }
        }
        let socket = match socket {
            Some(socket) => socket,
            None => self.socket(port).ok_or(PortError::NoSocket)?.try_clone_to_owned()?,
        };
        let used = match (purpose, port.0) {
            (SocketUse::Reserve, _) | (_, Protocol::Sctp) => Use::Hold(socket),
            (SocketUse::Proxy(target), Protocol::Tcp) => Use::Tcp(self.tcp.listen(poller, socket, *target)?),
            (SocketUse::Proxy(target), Protocol::Udp) => Use::Udp(self.udp.listen(poller, socket, *target)?),
        };
        match (self.ports.insert(port, used), self.ports.get(&port)) {
            // A new socket for the same port: established connections go on.
            (Some(Use::Tcp(old)), Some(Use::Tcp(new))) => self.tcp.replace(poller, old, *new),
            (Some(Use::Udp(old)), Some(Use::Udp(new))) => {
                self.udp.inherit(old, *new);
                self.udp.close(poller, old);
            }
            // New clients are not accepted; established connections go on.
            (Some(Use::Tcp(old)), Some(Use::Hold(_))) => self.tcp.close(poller, old, false),
            (Some(old), _) => self.close(poller, old),
            (None, _) => {}
        }
        Ok(())
    }

    /// Closes a port and resets its connections; returns whether it existed.
    pub fn remove(&mut self, poller: &Poller, port: (Protocol, SocketAddr)) -> bool {
        self.ports.remove(&port).map(|used| self.close(poller, used)).is_some()
    }

    fn close(&mut self, poller: &Poller, used: Use) {
        match used {
            Use::Hold(_) => {}
            Use::Tcp(place) => self.tcp.close(poller, place, true),
            Use::Udp(place) => self.udp.close(poller, place),
        }
    }

    /// A port's socket.
    pub fn socket(&self, port: (Protocol, SocketAddr)) -> Option<std::os::fd::BorrowedFd<'_>> {
        match self.ports.get(&port)? {
            Use::Hold(socket) => Some(socket.as_fd()),
            Use::Tcp(place) => self.tcp.listener(*place),
            Use::Udp(place) => self.udp.listener(*place),
        }
    }

    /// The bytes proxied through each proxied port.
    pub fn proxied_bytes(&self) -> impl Iterator<Item = (Protocol, SocketAddr, ProxiedBytes)> {
        self.ports.iter().filter_map(|((protocol, address), used)| {
            let carried = match used {
                Use::Hold(_) => return None,
                Use::Tcp(place) => self.tcp.proxied_bytes(*place),
                Use::Udp(place) => self.udp.proxied_bytes(*place),
            };
            Some((*protocol, *address, carried))
        })
    }

    /// The TCP connections as a shared resource.
    pub fn connections_resource(&self) -> SharedResource {
        self.tcp.resource()
    }

    /// The UDP flows as a shared resource.
    pub fn flows_resource(&self) -> SharedResource {
        self.udp.resource()
    }

    /// All ports, as records of the table.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        self.ports.iter().map(|((protocol, address), used)| {
            let target = match used {
                Use::Hold(_) => None,
                Use::Tcp(place) => self.tcp.target(*place),
                Use::Udp(place) => self.udp.target(*place),
            };
            let purpose = target.map_or(SocketUse::Reserve, SocketUse::Proxy);
            Record::Port { protocol: *protocol, address: *address, purpose }
        })
    }

    /// Handles an event of one of the proxy's sockets.
    pub fn ready(&mut self, poller: &Poller, token: Token, flags: EventFlags, now: Instant) {
        let Token(kind, place) = token;
        match kind {
            Kind::TcpListener => self.tcp.accept(poller, place, now),
            Kind::TcpClient | Kind::TcpUpstream => {
                self.tcp.ready(poller, place, kind == Kind::TcpClient, flags, now);
            }
            Kind::UdpListener => self.udp.forward_to_sandbox(poller, place, now),
            Kind::UdpFlow => self.udp.forward_to_client(place, now),
            _ => {}
        }
    }

    /// Continues connections with more data than one turn allows, and ends those that timed out.
    pub fn turn(&mut self, poller: &Poller, now: Instant) {
        self.tcp.turn(poller, now);
        self.udp.expire(now);
    }

    /// When to call `turn` next.
    pub fn deadline(&self, now: Instant) -> Option<Duration> {
        [self.tcp.deadline(now), self.udp.deadline(now)].into_iter().flatten().min()
    }

    /// How many TCP connections there are.
    pub fn connections(&self) -> usize {
        self.tcp.connections()
    }

    /// Closes all ports; TCP connections go on.
    pub fn drain(&mut self, poller: &Poller) {
        for (_, used) in self.ports.drain() {
            match used {
                Use::Hold(_) => {}
                Use::Tcp(place) => self.tcp.close(poller, place, false),
                Use::Udp(place) => self.udp.close(poller, place),
            }
        }
    }
}

/// Why a port could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    /// There is neither a new socket nor an old one.
    #[error("no socket came with it, and none is there to keep; send one")]
    NoSocket,
    /// The kernel refused.
    #[error("the kernel refused its socket: {0}; send one that is bound and, for TCP, listens")]
    Kernel(#[from] Errno),
    /// The kernel refused.
    #[error("its socket cannot be duplicated: {0}")]
    Duplicate(#[from] std::io::Error),
}

#[cfg(test)]
mod tests;
