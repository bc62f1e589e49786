//! Sockets to name servers, each connected to one server at a time.
//!
//! A socket that is connected to nothing (`connect` to `AF_UNSPEC`) and then connected again gets a new
//! random source port and stays in its network namespace. So the few sockets that the daemon made inside a
//! sandbox serve any number of questions. A question takes a socket that no other question uses, where there
//! is one; else it shares the one that was connected last, so that the others become free and get new ports.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::OwnedFd;

use fairway_model::NameServer;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use super::wire;
use crate::slab::SlabKey;

/// The most datagrams that can be queued at a socket: more than its receive buffer holds.
const QUEUED: usize = 8_192;

/// The most attempts to find a free identifier; with half of them in use one of 64 is free.
const DRAWS: usize = 64;

/// Identifiers keep no more memory than this many when none is in use.
const KEPT: usize = 256;

/// The transport of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// Random bytes, many at a time.
#[derive(Debug)]
pub(super) struct Randomness {
    bytes: [u8; 512],
    used: usize,
}

impl Default for Randomness {
    fn default() -> Self {
        Self { bytes: [0; 512], used: 512 }
    }
}

impl Randomness {
    /// Two bytes that cannot be guessed; `None` when the kernel has none.
    fn word(&mut self) -> Option<u16> {
        if self.used + 2 > self.bytes.len() {
            getrandom::fill(&mut self.bytes).ok()?;
            self.used = 0;
        }
        let word = wire::word(&self.bytes, self.used).ok()?;
        self.used += 2;
        Some(word)
    }
}

/// The output and input of a TCP connection (RFC 1035 section 4.2.2).
#[derive(Debug, Default)]
struct Stream {
    output: Vec<u8>,
    input: Vec<u8>,
}

/// A socket to name servers.
#[derive(Debug)]
pub(super) struct UpstreamSocket {
    /// The resolver whose questions it carries.
    pub asker: SlabKey,
    /// The socket.
    pub socket: OwnedFd,
    /// Its transport.
    pub transport: Transport,
    /// Whether it is in the sandbox's namespace, not in the host's.
    pub inside: bool,
    /// The server that it is connected to.
    pub server: Option<NameServer>,
    /// When it was connected, as a growing number.
    pub connected: u64,
    /// The questions that wait for an answer, by identifier.
    pub asked: HashMap<u16, SlabKey>,
    family: AddressFamily,
    stream: Stream,
}

impl UpstreamSocket {
    /// Takes a socket that the daemon created in the sandbox's namespace, whatever it is connected to.
    pub fn inside(asker: SlabKey, socket: OwnedFd) -> Result<Self, Errno> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let transport = match sockopt::socket_type(&socket)? {
            SocketType::DGRAM => Transport::Udp,
            SocketType::STREAM => Transport::Tcp,
            _ => return Err(Errno::PROTOTYPE),
        };
        let family = sockopt::socket_domain(&socket)?;
        Ok(Self::new(asker, socket, transport, family, true))
    }

    /// Creates a socket in the host's namespace.
    pub fn of_host(asker: SlabKey, transport: Transport, server: NameServer) -> Result<Self, Errno> {
        let family = if server.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let kind = match transport {
            Transport::Udp => SocketType::DGRAM,
            Transport::Tcp => SocketType::STREAM,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, kind, flags, None)?;
        Ok(Self::new(asker, socket, transport, family, false))
    }

    fn new(
        asker: SlabKey,
        socket: OwnedFd,
        transport: Transport,
        family: AddressFamily,
        inside: bool,
    ) -> Self {
        let (asked, stream) = (HashMap::new(), Stream::default());
        Self { asker, socket, transport, inside, server: None, connected: 0, asked, family, stream }
    }

    /// Whether it can be connected to servers of this address's family. A UDP socket of IPv6 reaches both;
    /// a TCP socket that was connected to a mapped address is of no use for IPv6 afterwards (Linux 6.18).
    pub fn reaches(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(_) => self.family == AddressFamily::INET || self.transport == Transport::Udp,
            IpAddr::V6(_) => self.family == AddressFamily::INET6,
        }
    }

    /// Connects it to a server from a new random port. What arrived for the former port is dropped.
    pub fn connect(&mut self, server: NameServer, port: u16, number: u64) -> Result<(), Errno> {
        self.server = None;
        self.stream = Stream::default();
        rustix::net::connect_unspec(&self.socket)?;
        if self.transport == Transport::Udp {
            self.drop_queued();
        }
        match rustix::net::connect(&self.socket, &self.target(server, port)) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(errno),
        }
        (self.server, self.connected) = (Some(server), number);
        Ok(())
    }

    fn target(&self, server: NameServer, port: u16) -> SocketAddr {
        match server.address.to_canonical() {
            IpAddr::V4(address) if self.family == AddressFamily::INET6 => {
                SocketAddr::new(address.to_ipv6_mapped().into(), port)
            }
            IpAddr::V6(address) => SocketAddrV6::new(address, port, 0, server.scope).into(),
            address => SocketAddr::new(address, port),
        }
    }

    /// Drops datagrams queued at a disconnected socket.
    fn drop_queued(&self) {
        for _ in 0..QUEUED {
            if let Err(Errno::AGAIN) = rustix::net::recv(&self.socket, &mut [0; 1][..], RecvFlags::empty()) {
                return;
            }
        }
    }

    /// An identifier that no waiting question of this socket has, and that cannot be guessed (RFC 5452).
    pub fn fresh_id(&self, random: &mut Randomness) -> Option<u16> {
        let mut ids = (0..DRAWS).map_while(|_| random.word());
        ids.find(|id| !self.asked.contains_key(id))
    }

    /// Sends a question.
    pub fn send(&mut self, message: &[u8]) -> Result<(), Errno> {
        if self.transport == Transport::Udp {
            return rustix::net::send(&self.socket, message, SendFlags::NOSIGNAL).map(drop);
        }
        self.stream.output.extend_from_slice(&(message.len() as u16).to_be_bytes());
        self.stream.output.extend_from_slice(message);
        self.flush()
    }

    /// Sends queued output, as far as the server takes it.
    pub fn flush(&mut self) -> Result<(), Errno> {
        let output = &mut self.stream.output;
        while !output.is_empty() {
            match rustix::net::send(&self.socket, output, SendFlags::NOSIGNAL) {
                Ok(sent) => drop(output.drain(..sent.min(output.len()))),
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// The next message that the server sent; `None` when there is none yet.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<Vec<u8>>, Errno> {
        loop {
            if self.transport == Transport::Tcp
                && let Some(message) = self.framed()
            {
                return Ok(Some(message));
            }
            match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((_, length)) if self.transport == Transport::Udp => {
                    return Ok(Some(buffer.get(..length).unwrap_or(buffer).to_vec()));
                }
                Ok((_, 0)) => return Err(Errno::CONNRESET),
                Ok((_, length)) => {
                    self.stream.input.extend_from_slice(buffer.get(..length).unwrap_or_default())
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(errno) => return Err(errno),
            }
        }
    }

    /// The first complete message of the TCP input.
    fn framed(&mut self) -> Option<Vec<u8>> {
        let input = &mut self.stream.input;
        let end = 2 + usize::from(wire::word(input, 0).ok()?);
        if input.len() < end {
            return None;
        }
        let rest = input.split_off(end);
        Some(std::mem::replace(input, rest).split_off(2))
    }

    /// Removes a question; returns whether no other one waits.
    pub fn forget(&mut self, id: u16, question: SlabKey) -> bool {
        if self.asked.get(&id) == Some(&question) {
            self.asked.remove(&id);
        }
        self.asked.is_empty()
    }

    /// Disconnects an unused socket.
    pub fn rest(&mut self) {
        if self.asked.capacity() > KEPT {
            self.asked = HashMap::new();
        }
        if self.transport == Transport::Tcp && self.server.take().is_some() {
            // This fails only if the server has closed the connection already.
            let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write);
            self.stream = Stream::default();
        }
    }
}
