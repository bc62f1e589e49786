//! The messages between daemon and relay, and their encoding.
//!
//! One packet of a SOCK_SEQPACKET socket is one message in JSON, so that a daemon and a relay of different versions
//! can read each other's messages. The sockets of its records travel as SCM_RIGHTS, in the order of the records. The
//! daemon sends a request and the relay responds; there is one request at a time.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use fairway_core::traffic::RelayCounters;
use fairway_model::Protocol;

use crate::table::{Hello, ProxiedBytes, Record, RecordKey, Refusal};

/// The longest message in bytes; well below the default send buffer (212,992), which a packet
/// must fit into.
pub(crate) const MAX_BYTES: usize = 128 * 1024;

/// The most sockets that one packet can carry (SCM_MAX_FD, linux/include/net/scm.h).
pub(crate) const MAX_SOCKETS: usize = 253;

/// The size of the ancillary data of one packet.
const ANCILLARY: usize = rustix::cmsg_space!(ScmRights(MAX_SOCKETS));

/// Why a message between daemon and relay cannot be sent or read.
#[derive(Debug, Error)]
pub enum MessageError {
    /// The socket failed.
    #[error("the connection between daemon and relay failed: {0}")]
    Socket(#[from] Errno),
    /// The other side closed the connection.
    #[error("the other side closed the connection between daemon and relay")]
    Closed,
    /// The text is not a message.
    #[error("cannot read a message between daemon and relay: {0}")]
    Text(#[from] serde_json::Error),
    /// More sockets arrived than this process may have descriptors.
    #[error("sockets of a message between daemon and relay were closed: too many open files")]
    Descriptors,
    /// The message is longer than a packet may be.
    #[error(
        "a message between daemon and relay was cut off: at most {MAX_BYTES} bytes and {MAX_SOCKETS} sockets fit into one"
    )]
    Truncated,
}

/// A change as it is sent; its sockets travel as ancillary data. The sender borrows the record, the receiver owns it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum SentChange<R = Record> {
    /// Insert this record with so many sockets.
    Insert(R, usize),
    /// Remove the record with this key.
    Remove(RecordKey),
}

/// A request of the daemon.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Request<R = Record> {
    /// Identify yourself. The first message, with the file that proves that a daemon sent it (`proof`).
    Hello,
    /// Change the table, once the last part of the batch has arrived.
    Change {
        /// The changes of this part.
        changes: Vec<SentChange<R>>,
        /// Whether this is the last part.
        last: bool,
    },
    /// Describe the table.
    Describe {
        /// Whether to send duplicates of all sockets too.
        sockets: bool,
    },
    /// Report how many bytes were proxied through each port. Only for relays whose `Hello` says that they count.
    #[serde(rename = "Carried")]
    ProxiedBytes,
    /// Report counters. Only for relays whose `Hello` says that they have them.
    Counters,
    /// Send the whole table with its sockets, accept nothing from now on, and exit with the last connection or after
    /// this many milliseconds.
    HandOver {
        /// Milliseconds.
        limit: u64,
    },
}

/// A response of the relay.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Response<R = Record> {
    /// To `Hello`.
    Hello(Hello),
    /// The refusals that do not fit into `Changed`; it follows.
    Refused(Vec<Refusal>),
    /// To the last part of a change.
    Changed(Vec<Refusal>),
    /// To `ProxiedBytes`.
    #[serde(rename = "Carried")]
    ProxiedBytes {
        /// The bytes proxied through each proxied port.
        ports: Vec<(Protocol, SocketAddr, ProxiedBytes)>,
        /// Whether this is the last packet.
        last: bool,
    },
    /// To `Counters`.
    Counters(RelayCounters),
    /// To `Describe` and `HandOver`.
    Records {
        /// Records with the number of their sockets in this packet.
        records: Vec<(R, usize)>,
        /// Whether this is the last packet.
        last: bool,
    },
}

/// Sends one packet; `WOULDBLOCK` when the socket does not block and is full.
pub(crate) fn send(to: impl AsFd, bytes: &[u8], sockets: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); ANCILLARY];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(Errno::TOOBIG);
    }
    loop {
        match rustix::net::sendmsg(&to, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => return Ok(()),
        }
    }
}

/// Receives one packet: how many bytes of `buffer` it filled, and its sockets.
pub(crate) fn receive(from: impl AsFd, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), MessageError> {
    let mut space = [MaybeUninit::uninit(); ANCILLARY];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [IoSliceMut::new(buffer)];
        match rustix::net::recvmsg(&from, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(received) => break received,
        }
    };
    let mut sockets = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            sockets.extend(more);
        }
    }
    if received.bytes == 0 {
        return Err(MessageError::Closed);
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(MessageError::Truncated);
    }
    // The buffer holds as many sockets as a packet can carry, so the process has reached its limit of open files.
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(MessageError::Descriptors);
    }
    Ok((received.bytes, sockets))
}

/// Splits `items` into runs that fit into packets, and calls `emit` with each run's text. Returns the items that are
/// longer than a packet, which are in no run.
///
/// `sockets` says how many sockets an item brings; `text` writes a run, knowing if it is the last.
/// There is at least one run, and the last one may be empty.
pub(crate) fn packets<T>(
    items: &[T],
    sockets: impl Fn(&T) -> usize,
    text: impl Fn(&[T], bool) -> Result<Vec<u8>, serde_json::Error>,
    mut emit: impl FnMut(&[T], Vec<u8>) -> Result<(), MessageError>,
) -> Result<Vec<&T>, MessageError> {
    let mut rest = items;
    let mut too_long = Vec::new();
    let mut guess = 256;
    'runs: loop {
        let mut carried = 0;
        let fitting = rest.iter().take_while(|item| {
            carried += sockets(item);
            carried <= MAX_SOCKETS
        });
        let mut count = fitting.take(guess).count();
        let bytes = loop {
            let bytes = text(rest.get(..count).unwrap_or(rest), count == rest.len())?;
            if bytes.len() <= MAX_BYTES {
                break bytes;
            }
            if let (0 | 1, Some((first, others))) = (count, rest.split_first()) {
                too_long.push(first);
                rest = others;
                continue 'runs;
            }
            count /= 2;
        };
        // The next run is likely to be of the same kind: fill most of a packet with it.
        guess = (count * (MAX_BYTES / 4 * 3) / bytes.len().max(1)).clamp(1, 4_096);
        let (run, after) = rest.split_at(count);
        emit(run, bytes)?;
        rest = after;
        if rest.is_empty() {
            return Ok(too_long);
        }
    }
}
