//! Receives which rules traced packets meet (`meta nftrace set 1`).

use std::os::fd::{AsFd, BorrowedFd};

use fairway_ruleset::{Family, Verdict};

use super::numbers::{self as n, message, trace};
use super::{Error, decode, reader};
use crate::netlink::{self, Message, Protocol, Socket};

/// Holds the messages of some ten thousand rules.
const RECEIVE_BUFFER: usize = 16 << 20;

/// An event of a traced packet: it met a rule, or reached the end of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceEvent {
    /// The kernel's id of the packet.
    pub id: u32,
    /// The family of the table.
    pub family: Family,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// What the packet met.
    pub at: TracePoint,
    /// The verdict.
    pub verdict: Verdict,
    /// The beginning of its network and transport headers; sent once for each base chain.
    pub headers: Option<(Vec<u8>, Vec<u8>)>,
    /// The index of its input interface, sent with the headers.
    pub input: Option<u32>,
    /// The index of its output interface, sent with the headers.
    pub output: Option<u32>,
}

/// What a traced packet met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TracePoint {
    /// The rule with this handle.
    Rule(u64),
    /// The end of a regular chain.
    End,
    /// The policy of a base chain.
    Policy,
}

/// Receives the events of traced packets in one namespace. Its descriptor is readable when events wait.
#[derive(Debug)]
pub struct Tracer {
    socket: Socket,
}

impl Tracer {
    /// Subscribes in the namespace of the calling thread.
    ///
    /// # Errors
    /// If no such socket can be created.
    pub fn open() -> Result<Self, Error> {
        let socket = Socket::open(Protocol::Netfilter)?;
        socket.grow_receive_buffer(RECEIVE_BUFFER)?;
        socket.join(n::TRACE_GROUP)?;
        Ok(Self { socket })
    }

    /// Passes waiting events to `take`, in order. Does not wait. Returns whether none was lost for want of buffer.
    ///
    /// # Errors
    /// If the socket cannot be read.
    pub fn drain(&self, take: &mut dyn FnMut(TraceEvent)) -> Result<bool, Error> {
        let taken = self.socket.take_notifications(&mut |message| {
            if let Some(traced) = traced(&message) {
                take(traced);
            }
        });
        match taken {
            Ok(()) => Ok(true),
            Err(netlink::Error::Overrun) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Tracer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn traced(message: &Message) -> Option<TraceEvent> {
    if message.kind != n::SUBSYSTEM << 8 | message::TRACE {
        return None;
    }
    let attributes = reader::attributes(message);
    let number = |kind| attributes.find(kind).and_then(|found| found.be32());
    let bytes = |kind| attributes.find(kind).map(|found| found.value.to_vec());
    let verdict = || decode::plain_verdict(attributes.nested(trace::VERDICT));
    let (at, verdict) = match number(trace::KIND)? {
        trace::KIND_RULE => (TracePoint::Rule(attributes.find(trace::RULE)?.be64()?), verdict()),
        trace::KIND_RETURN => (TracePoint::End, verdict()),
        trace::KIND_POLICY => {
            let dropped = number(trace::POLICY) == Some(n::verdict::DROP.cast_unsigned());
            (TracePoint::Policy, Some(if dropped { Verdict::Drop } else { Verdict::Accept }))
        }
        _ => return None,
    };
    Some(TraceEvent {
        id: number(trace::ID)?,
        family: Family::from_number(*message.payload.first()?)?,
        table: decode::text(attributes, trace::TABLE)?,
        chain: decode::text(attributes, trace::CHAIN)?,
        at,
        // Unsupported verdicts, such as queueing to a program.
        verdict: verdict.unwrap_or(Verdict::Continue),
        headers: bytes(trace::NETWORK_HEADER)
            .map(|network| (network, bytes(trace::TRANSPORT_HEADER).unwrap_or_default())),
        input: number(trace::INPUT),
        output: number(trace::OUTPUT),
    })
}
