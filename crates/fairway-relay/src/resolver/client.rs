//! A TCP client of a resolver (RFC 7766): queries in sequence, answers in any order.

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::wire;
use crate::slab::SlabKey;

/// How many bytes of answers may be queued for a client before its queries wait.
const OUTPUT: usize = 64 * 1024;

/// How many queries of one client may wait for name servers.
const IN_FLIGHT: usize = 32;

/// A TCP client with its input and output.
#[derive(Debug)]
pub(crate) struct Client {
    /// The sandbox that it is in, at the resolver that it queries.
    pub asker: SlabKey,
    /// Its socket.
    pub socket: OwnedFd,
    /// How many of its queries wait for name servers.
    pub in_flight: usize,
    /// When its last query or answer was.
    pub used: Instant,
    input: Vec<u8>,
    output: Vec<u8>,
    readable: bool,
    ended: bool,
}

impl Client {
    /// Creates a client without queries.
    pub fn new(asker: SlabKey, socket: OwnedFd, now: Instant) -> Self {
        Self {
            asker,
            socket,
            in_flight: 0,
            used: now,
            input: Vec::new(),
            output: Vec::new(),
            readable: true,
            ended: false,
        }
    }

    /// Records an epoll event.
    pub fn note(&mut self, flags: EventFlags) {
        self.readable |=
            flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
    }

    /// Whether its next query is taken: it has read its answers and has few queries open.
    pub fn may_ask(&self) -> bool {
        self.output.len() < OUTPUT && self.in_flight < IN_FLIGHT
    }

    /// Whether the client is served completely.
    pub fn is_done(&self) -> bool {
        self.ended && self.in_flight == 0 && self.output.is_empty()
    }

    /// The next complete query.
    pub fn question(&mut self) -> Option<Vec<u8>> {
        let length = usize::from(wire::word(&self.input, 0).ok()?);
        if self.input.len() < 2 + length {
            return None;
        }
        let rest = self.input.split_off(2 + length);
        let message = std::mem::replace(&mut self.input, rest);
        message.get(2..).map(<[u8]>::to_vec)
    }

    /// Queues an answer.
    pub fn answer(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
        self.output.extend_from_slice(bytes);
    }

    /// Sends queued answers, as far as the client takes them.
    pub fn flush(&mut self) -> Result<(), Errno> {
        while !self.output.is_empty() {
            match rustix::net::send(&self.socket, &self.output, SendFlags::NOSIGNAL) {
                Ok(sent) if sent == self.output.len() => self.output = Vec::new(),
                Ok(sent) => drop(self.output.drain(..sent)),
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Reads input; returns whether any came.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<bool, Errno> {
        if !self.readable {
            return Ok(false);
        }
        match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((_, 0)) => {
                self.ended = true;
                self.readable = false;
                Ok(false)
            }
            Ok((_, length)) => {
                self.input.extend_from_slice(buffer.get(..length).unwrap_or_default());
                Ok(true)
            }
            Err(Errno::AGAIN | Errno::INTR) => {
                self.readable = false;
                Ok(false)
            }
            Err(errno) => Err(errno),
        }
    }
}
