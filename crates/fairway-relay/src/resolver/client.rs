//! A TCP client of a resolver (RFC 7766): questions one after the other, answers in any order.

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::wire;
use crate::slab::Place;

/// How many bytes of answers may wait for a client before its questions do.
const OUTPUT: usize = 64 * 1024;

/// How many questions of one client may wait for name servers.
const IN_FLIGHT: usize = 32;

/// A client and what it sent and is sent.
#[derive(Debug)]
pub(crate) struct Client {
    /// The resolver that it asks.
    pub resolver: Place,
    /// Its socket.
    pub socket: OwnedFd,
    /// How many of its questions wait for name servers.
    pub in_flight: usize,
    /// When it last asked or was answered.
    pub used: Instant,
    input: Vec<u8>,
    output: Vec<u8>,
    readable: bool,
    ended: bool,
}

impl Client {
    /// A client that has not asked yet.
    pub fn new(resolver: Place, socket: OwnedFd, now: Instant) -> Self {
        Self {
            resolver,
            socket,
            in_flight: 0,
            used: now,
            input: Vec::new(),
            output: Vec::new(),
            readable: true,
            ended: false,
        }
    }

    /// Takes note of an event.
    pub fn note(&mut self, flags: EventFlags) {
        self.readable |=
            flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
    }

    /// Whether it may ask now: it has read its answers and has not too many questions open.
    pub fn may_ask(&self) -> bool {
        self.output.len() < OUTPUT && self.in_flight < IN_FLIGHT
    }

    /// Whether nothing is left to be done for it.
    pub fn is_done(&self) -> bool {
        self.ended && self.in_flight == 0 && self.output.is_empty()
    }

    /// The next complete question.
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

    /// Sends what waits, as far as the client takes it.
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

    /// Reads on; whether anything came.
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
