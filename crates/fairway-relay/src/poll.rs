//! An epoll instance with typed tokens.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use crate::slab::SlabKey;

/// The use of a watched socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The control socket.
    ControlListener,
    /// The daemon's connection.
    Daemon,
    /// A published TCP port.
    TcpListener,
    /// A proxied connection's end towards the client.
    TcpClient,
    /// A proxied connection's end towards the sandbox.
    TcpUpstream,
    /// A published UDP port.
    UdpListener,
    /// A UDP flow's socket towards the sandbox.
    UdpFlow,
    /// A resolver's UDP socket.
    ResolverUdp,
    /// A resolver's TCP listener.
    ResolverTcp,
    /// A resolver's TCP client.
    ResolverClient,
    /// A socket to a name server.
    Upstream,
}

const KINDS: [Kind; 11] = [
    Kind::ControlListener,
    Kind::Daemon,
    Kind::TcpListener,
    Kind::TcpClient,
    Kind::TcpUpstream,
    Kind::UdpListener,
    Kind::UdpFlow,
    Kind::ResolverUdp,
    Kind::ResolverTcp,
    Kind::ResolverClient,
    Kind::Upstream,
];

/// The identity of an epoll event's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token(pub Kind, pub SlabKey);

impl Token {
    fn data(self) -> EventData {
        let Self(kind, place) = self;
        EventData::new_u64(
            u64::from(kind as u8) << 56 | u64::from(place.generation) << 32 | u64::from(place.slot),
        )
    }

    fn of(data: u64) -> Option<Self> {
        let kind = *KINDS.get((data >> 56) as usize)?;
        Some(Self(kind, SlabKey { slot: data as u32, generation: (data >> 32) as u32 & 0xff_ffff }))
    }
}

/// Readable, until it is read empty.
pub(crate) const READ: EventFlags = EventFlags::IN;

/// Edge-triggered events of both directions.
pub(crate) const EDGES: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

/// An epoll instance.
pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poller {
    /// Creates an epoll instance that watches nothing.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(256) })
    }

    /// Watches a socket.
    pub fn add(&self, socket: impl AsFd, token: Token, interest: EventFlags) -> Result<(), Errno> {
        epoll::add(&self.epoll, socket, token.data(), interest)
    }

    /// Changes the events that a socket is watched for.
    pub fn modify(&self, socket: impl AsFd, token: Token, interest: EventFlags) -> Result<(), Errno> {
        epoll::modify(&self.epoll, socket, token.data(), interest)
    }

    /// Stops watching a socket. Closing is not enough while another process holds a duplicate.
    pub fn remove(&self, socket: impl AsFd) {
        // This fails only if the socket was not watched.
        let _ = epoll::delete(&self.epoll, socket);
    }

    /// Waits for events, at most `timeout`, and puts them into `ready`.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut Vec<(Token, EventFlags)>,
    ) -> Result<(), Errno> {
        ready.clear();
        let timeout = timeout.map(|timeout| Timespec {
            // A day at most: the loop computes the timeout anew.
            tv_sec: timeout.as_secs().min(86_400) as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        ready
            .extend(self.events.iter().filter_map(|event| Some((Token::of(event.data.u64())?, event.flags))));
        Ok(())
    }
}
