//! Netlink sockets: transactions, dumps, notifications.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use super::{Attributes, Batch, Error, HEADER_LENGTH, Refusal, align};
use crate::system::{self, NetlinkOption};

/// The kernel fills dumps in pieces of up to 32 KiB; single replies can be longer.
const RECEIVE_BUFFER: usize = 64 * 1024;
/// How often an interrupted dump is restarted.
const DUMP_ATTEMPTS: u32 = 16;
/// `NFNL_MSG_BATCH_END`, the last message of an nf_tables transaction.
const BATCH_END: u16 = libc::NFNL_MSG_BATCH_END as u16;
const NLMSG_NOOP: u16 = libc::NLMSG_NOOP as u16;
const NLMSG_ERROR: u16 = libc::NLMSG_ERROR as u16;
const NLMSG_DONE: u16 = libc::NLMSG_DONE as u16;
const NLM_F_DUMP_INTR: u16 = libc::NLM_F_DUMP_INTR as u16;
/// Flag: the answer holds the error number only, not a copy of the request (`<linux/netlink.h>`).
const NLM_F_CAPPED: u16 = 0x100;
/// Flag: attributes follow the error number (`<linux/netlink.h>`).
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLMSGERR_ATTR_OFFS: u16 = 2;

/// The netlink protocol of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes: rtnetlink(7).
    Route,
    /// nf_tables and connection tracking: nfnetlink.
    Netfilter,
    /// The sockets of programs: sock_diag(7).
    Sockets,
    /// IPsec: ip-xfrm(8).
    Ipsec,
}

/// A message from the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its type.
    pub kind: u16,
    /// Its flags.
    pub flags: u16,
    /// The netlink port of the socket that caused it.
    pub port: u32,
    /// The payload after the netlink header.
    pub payload: Vec<u8>,
}

impl Message {
    /// The attributes after a family header of `header` bytes.
    pub fn attributes(&self, header: usize) -> Attributes<'_> {
        Attributes::new(self.payload.get(align(header)..).unwrap_or_default())
    }
}

/// The outcome of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The kernel's replies without acknowledgments, in order.
    pub replies: Vec<Message>,
    /// The refused messages, in order. Of a batch of rtnetlink the others took effect. An nf_tables transaction with
    /// a refusal had no effect at all.
    pub refusals: Vec<Refusal>,
}

/// A netlink socket. It belongs to the network namespace of the thread that opened it, and keeps that namespace
/// alive.
#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
    protocol: Protocol,
    sequence: Cell<u32>,
    buffer: RefCell<Vec<u8>>,
}

impl Socket {
    /// Opens a socket to the namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn open(protocol: Protocol) -> Result<Self, Error> {
        let number = match protocol {
            // The number of rtnetlink is zero, which `None` means.
            Protocol::Route => None,
            Protocol::Netfilter => Some(netlink::NETFILTER),
            Protocol::Sockets => Some(netlink::SOCK_DIAG),
            Protocol::Ipsec => Some(netlink::XFRM),
        };
        let descriptor =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, number)
                .map_err(Error::Open)?;
        system::enable_netlink_option(&descriptor, NetlinkOption::ExtendedAck).map_err(Error::Open)?;
        system::enable_netlink_option(&descriptor, NetlinkOption::CapAck).map_err(Error::Open)?;
        if protocol == Protocol::Route {
            system::enable_netlink_option(&descriptor, NetlinkOption::StrictCheck).map_err(Error::Open)?;
        }
        Ok(Self { descriptor, protocol, sequence: Cell::new(1), buffer: RefCell::default() })
    }

    /// Joins a multicast group.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn join(&self, group: u32) -> Result<(), Error> {
        // Only a bound socket receives notifications.
        rustix::net::bind(&self.descriptor, &SocketAddrNetlink::new(0, 0))
            .or_else(|errno| if errno == Errno::INVAL { Ok(()) } else { Err(errno) })
            .map_err(Error::Open)?;
        system::join_netlink_group(&self.descriptor, group).map_err(Error::Open)
    }

    /// Grows the send buffer for batches of `bytes` bytes (and the kernel's bookkeeping) and returns its size.
    /// Without `CAP_NET_ADMIN` in the initial user namespace it cannot exceed `net.core.wmem_max`.
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn grow_send_buffer(&self, bytes: usize) -> Result<usize, Error> {
        sockopt::set_socket_send_buffer_size_force(&self.descriptor, bytes)
            .or_else(|_| sockopt::set_socket_send_buffer_size(&self.descriptor, bytes))
            .and_then(|()| sockopt::socket_send_buffer_size(&self.descriptor))
            .map_err(Error::Open)
    }

    /// As [`Self::grow_send_buffer`], for the receive buffer (`net.core.rmem_max`).
    ///
    /// # Errors
    /// [`Error::Open`].
    pub fn grow_receive_buffer(&self, bytes: usize) -> Result<usize, Error> {
        sockopt::set_socket_recv_buffer_size_force(&self.descriptor, bytes)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&self.descriptor, bytes))
            .and_then(|()| sockopt::socket_recv_buffer_size(&self.descriptor))
            .map_err(Error::Open)
    }

    /// Sends a batch and returns the replies.
    ///
    /// # Errors
    /// [`Error::Refused`] with the first refusal; else as [`Self::transact_each`].
    pub fn transact(&self, batch: &mut Batch) -> Result<Vec<Message>, Error> {
        let Outcome { replies, refusals } = self.transact_each(batch)?;
        match refusals.into_iter().next() {
            Some(refusal) => Err(Error::Refused(refusal)),
            None => Ok(replies),
        }
    }

    /// Sends a batch and returns its replies and refusals.
    ///
    /// The kernel always answers refusals, and handles messages in order while sending, so only the last one requests
    /// an acknowledgment: one send and one receive without errors.
    ///
    /// # Errors
    /// When the exchange itself fails.
    pub fn transact_each(&self, batch: &mut Batch) -> Result<Outcome, Error> {
        let mut outcome = Outcome::default();
        let Some(mut last) = batch.len().checked_sub(1) else { return Ok(outcome) };
        if self.protocol == Protocol::Netfilter && batch.kind(last) == BATCH_END {
            last = last.saturating_sub(1);
        }
        batch.acknowledge(last);
        let first = self.send(batch)?;
        loop {
            let received = self.receive(RecvFlags::DONTWAIT, |header, body| {
                let index = header.sequence.wrapping_sub(first) as usize;
                if index >= batch.len() {
                    // An answer to an earlier batch that failed.
                    return Ok(false);
                }
                match header.kind {
                    NLMSG_NOOP | NLMSG_DONE => Ok(false),
                    NLMSG_ERROR => {
                        match refusal(header, body)? {
                            Some(answer) => outcome.refusals.push(Refusal {
                                index,
                                label: batch.label(index).to_owned(),
                                ..answer
                            }),
                            None => return Ok(index == last),
                        }
                        Ok(index == last)
                    }
                    _ => {
                        outcome.replies.push(header.message(body));
                        Ok(false)
                    }
                }
            });
            match received {
                Ok(true) => return Ok(outcome),
                Ok(false) => {}
                // All answers have arrived when the send returns. A transaction that failed as a whole is answered by
                // its first message alone.
                Err(Error::Receive(Errno::AGAIN)) if !outcome.refusals.is_empty() => return Ok(outcome),
                Err(Error::Receive(Errno::AGAIN)) => {
                    return Err(Error::NoAnswer { label: batch.label(last).to_owned() });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a dump request, one message with `NLM_F_DUMP`, and returns all parts of the answer. An interrupted dump
    /// is restarted.
    ///
    /// # Errors
    /// [`Error::Unsteady`] when it is interrupted again and again; [`Error::Refused`]; else when the exchange itself
    /// fails.
    pub fn dump(&self, request: &mut Batch) -> Result<Vec<Message>, Error> {
        self.dump_map(request, |kind, payload| {
            Some(Message { kind, flags: 0, port: 0, payload: payload.to_vec() })
        })
    }

    /// As [`Self::dump`], but keeps only what `take` returns for each part, given as its type and payload: for dumps
    /// that are too large to keep.
    ///
    /// # Errors
    /// As [`Self::dump`].
    pub fn dump_map<T>(
        &self,
        request: &mut Batch,
        mut take: impl FnMut(u16, &[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        for _ in 0..DUMP_ATTEMPTS {
            let first = self.send(request)?;
            let mut parts = Vec::new();
            let mut interrupted = false;
            while !self.receive(RecvFlags::empty(), |header, body| {
                if header.sequence != first {
                    return Ok(false);
                }
                interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
                match header.kind {
                    NLMSG_NOOP => Ok(false),
                    NLMSG_ERROR | NLMSG_DONE => match refusal(header, body)? {
                        // A dump that ends with EINTR was interrupted too.
                        Some(answer) if answer.errno == Errno::INTR => {
                            interrupted = true;
                            Ok(true)
                        }
                        Some(answer) => {
                            Err(Error::Refused(Refusal { label: request.label(0).to_owned(), ..answer }))
                        }
                        None => Ok(true),
                    },
                    kind => {
                        parts.extend(take(kind, body));
                        Ok(false)
                    }
                }
            })? {}
            if !interrupted {
                return Ok(parts);
            }
        }
        Err(Error::Unsteady { label: request.label(0).to_owned(), attempts: DUMP_ATTEMPTS })
    }

    /// Returns the waiting notifications.
    ///
    /// # Errors
    /// [`Error::Overrun`] when notifications were lost: the state must be observed anew.
    pub fn notifications(&self) -> Result<Vec<Message>, Error> {
        let mut messages = Vec::new();
        self.take_notifications(&mut |message| messages.push(message))?;
        Ok(messages)
    }

    /// Passes the waiting notifications to `take`.
    ///
    /// # Errors
    /// As [`Self::notifications`]; earlier notifications were passed on, and later ones can be read.
    pub fn take_notifications(&self, take: &mut dyn FnMut(Message)) -> Result<(), Error> {
        loop {
            let received = self.receive(RecvFlags::DONTWAIT, |header, body| {
                take(header.message(body));
                Ok(false)
            });
            match received {
                Ok(_) => {}
                Err(Error::Receive(Errno::AGAIN)) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn send(&self, batch: &mut Batch) -> Result<u32, Error> {
        if let Some(index) = batch.oversized() {
            return Err(Error::AttributeTooLong { label: batch.label(index).to_owned() });
        }
        let first = self.sequence.get();
        // Zero is reserved for notifications.
        let count = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        let (first, next) = match first.checked_add(count) {
            Some(next) => (first, next),
            None => (1, count.saturating_add(1)),
        };
        self.sequence.set(next);
        batch.number(first);
        match rustix::io::retry_on_intr(|| {
            rustix::net::send(&self.descriptor, batch.bytes(), SendFlags::empty())
        }) {
            Ok(sent) if sent == batch.bytes().len() => Ok(first),
            Ok(_) => Err(Error::Malformed("it took a part of a batch only")),
            Err(errno) => {
                Err(Error::Send { label: batch.label(0).to_owned(), bytes: batch.bytes().len(), errno })
            }
        }
    }

    /// Receives once and passes each message to `take` until it returns that it was the last.
    fn receive(
        &self,
        flags: RecvFlags,
        mut take: impl FnMut(&Header, &[u8]) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let mut buffer = self.buffer.borrow_mut();
        buffer.resize(RECEIVE_BUFFER, 0);
        let (_, length) = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&self.descriptor, buffer.as_mut_slice(), flags | RecvFlags::TRUNC)
        })
        .map_err(|errno| if errno == Errno::NOBUFS { Error::Overrun } else { Error::Receive(errno) })?;
        let mut rest = buffer.get(..length).ok_or(Error::Malformed("it is longer than 64 KiB"))?;
        let mut done = false;
        while !rest.is_empty() {
            let header = Header::read(rest)?;
            let body =
                rest.get(HEADER_LENGTH..header.length).ok_or(Error::Malformed("it ends within a message"))?;
            done |= take(&header, body)?;
            rest = rest.get(align(header.length)..).unwrap_or_default();
        }
        Ok(done)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

struct Header {
    length: usize,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, Error> {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] =
            *bytes.first_chunk().ok_or(Error::Malformed("it ends within a header"))?;
        Ok(Self {
            length: u32::from_ne_bytes([a, b, c, d]) as usize,
            kind: u16::from_ne_bytes([e, f]),
            flags: u16::from_ne_bytes([g, h]),
            sequence: u32::from_ne_bytes([i, j, k, l]),
            port: u32::from_ne_bytes([m, n, o, p]),
        })
    }

    fn message(&self, body: &[u8]) -> Message {
        Message { kind: self.kind, flags: self.flags, port: self.port, payload: body.to_vec() }
    }
}

/// Parses `struct nlmsgerr`, or the number at the end of a dump; none for an acknowledgment. Index and label are
/// filled in by the caller.
fn refusal(header: &Header, body: &[u8]) -> Result<Option<Refusal>, Error> {
    let Some(code) = body.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)) else {
        // The end of a dump by an old kernel has no number.
        return if header.kind == NLMSG_DONE {
            Ok(None)
        } else {
            Err(Error::Malformed("an error is cut off"))
        };
    };
    if code >= 0 {
        return Ok(None);
    }
    let attributes = if header.flags & NLM_F_ACK_TLVS == 0 {
        &[]
    } else if header.kind == NLMSG_DONE {
        body.get(4..).unwrap_or_default()
    } else {
        // The request's header follows the number, and its payload unless it was left out.
        let request = body
            .get(4..8)
            .map_or(0, |bytes| u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize);
        let copied = if header.flags & NLM_F_CAPPED == 0 { request } else { HEADER_LENGTH };
        body.get(4 + align(copied)..).unwrap_or_default()
    };
    let attributes = Attributes::new(attributes);
    Ok(Some(Refusal {
        index: 0,
        label: String::new(),
        errno: Errno::from_raw_os_error(-code),
        message: attributes.find(NLMSGERR_ATTR_MSG).and_then(|found| found.text()).map(str::to_owned),
        offset: attributes.find(NLMSGERR_ATTR_OFFS).and_then(|found| found.u32()),
    }))
}
