//! One direction of a proxied TCP connection.

use std::os::fd::OwnedFd;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use rustix::pipe::SpliceFlags;

use super::pipes::{PIPE_BYTES, Pipe, Pipes};

/// How many bytes a read copies; a read that fills it shows that more is coming, and splicing pays.
pub(crate) const COPY_BYTES: usize = 16 * 1024;

/// The most bytes that one splice asks for.
const SPLICE_BYTES: usize = 1 << 20;

/// The most bytes that one direction carries before others have their turn.
const TURN_BYTES: usize = 1 << 20;

/// One end of a connection, with its readiness as epoll reported it.
#[derive(Debug)]
pub(crate) struct Side {
    /// Its socket.
    pub socket: OwnedFd,
    /// The socket may be readable.
    readable: bool,
    /// The socket may be writable.
    writable: bool,
    /// The peer will send no more; read until the end.
    ended: bool,
}

impl Side {
    /// An end whose readiness is unknown.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, readable: false, writable: false, ended: false }
    }

    /// Records an epoll event.
    pub fn note(&mut self, flags: EventFlags) {
        let failed = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        self.readable |= failed || flags.intersects(EventFlags::IN | EventFlags::RDHUP);
        self.writable |= failed || flags.contains(EventFlags::OUT);
        self.ended |= failed || flags.contains(EventFlags::RDHUP);
    }
}

/// Bytes that were read and not written yet.
#[derive(Debug, Default)]
enum Waiting {
    #[default]
    Nothing,
    /// This many bytes in a pipe.
    Piped(Pipe, usize),
    /// Bytes in memory, from this offset on.
    Copied(Vec<u8>, usize),
}

/// One direction of a connection, with its unwritten bytes and its state.
#[derive(Debug, Default)]
pub(crate) struct Half {
    waiting: Waiting,
    /// The last read filled the buffer.
    bulk: bool,
    /// The source sent end-of-stream.
    finished: bool,
    /// End-of-stream was passed on to the destination.
    pub closed: bool,
    /// How many bytes were read since the last [`Half::take_proxied_bytes`].
    carried: u64,
}

/// Whether a direction continues before the next epoll event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It waits for an event.
    Waits,
    /// It used up its turn and has more.
    More,
}

/// The conditions of one turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// The other direction has ended, so the end of this one ends the connection.
    pub last: bool,
    /// It may take a pipe.
    pub splices: bool,
}

impl Half {
    /// Forwards bytes until a side blocks or the turn is over. An error ends the connection.
    pub fn carry(
        &mut self,
        from: &mut Side,
        to: &mut Side,
        pipes: &mut Pipes,
        buffer: &mut [u8; COPY_BYTES],
        turn: Turn,
    ) -> Result<Progress, Errno> {
        let mut carried = 0;
        loop {
            if !self.empty(to, pipes)? {
                return Ok(Progress::Waits);
            }
            if self.finished {
                if !self.closed {
                    self.closed = true;
                    if !turn.last {
                        rustix::net::shutdown(&to.socket, Shutdown::Write)?;
                    }
                }
                return Ok(Progress::Waits);
            }
            // Nothing is read before the last bytes were written: that is the back-pressure.
            if !from.readable || !to.writable {
                return Ok(Progress::Waits);
            }
            if carried >= TURN_BYTES {
                return Ok(Progress::More);
            }
            let pipe = if self.bulk && turn.splices { pipes.take() } else { None };
            let read = match pipe {
                Some(pipe) => self.splice(from, pipe, pipes)?,
                None => self.copy(from, to, buffer)?,
            };
            carried += read;
            self.carried += read as u64;
        }
    }

    /// Writes the waiting bytes; returns whether all were written.
    fn empty(&mut self, to: &mut Side, pipes: &mut Pipes) -> Result<bool, Errno> {
        while !matches!(self.waiting, Waiting::Nothing) {
            if !to.writable {
                return Ok(false);
            }
            let written = match &self.waiting {
                Waiting::Nothing => return Ok(true),
                Waiting::Piped(pipe, left) => rustix::pipe::splice(
                    &pipe.reader,
                    None,
                    &to.socket,
                    None,
                    *left,
                    SpliceFlags::NONBLOCK | SpliceFlags::MOVE,
                ),
                Waiting::Copied(bytes, start) => rustix::net::send(
                    &to.socket,
                    bytes.get(*start..).unwrap_or_default(),
                    SendFlags::NOSIGNAL,
                ),
            };
            let written = match written {
                Err(Errno::AGAIN) => {
                    to.writable = false;
                    return Ok(false);
                }
                other => other?,
            };
            self.waiting = match std::mem::take(&mut self.waiting) {
                Waiting::Piped(pipe, left) if written < left => Waiting::Piped(pipe, left - written),
                Waiting::Piped(pipe, _) => {
                    pipes.give(pipe);
                    Waiting::Nothing
                }
                Waiting::Copied(bytes, start) if start + written < bytes.len() => {
                    Waiting::Copied(bytes, start + written)
                }
                _ => Waiting::Nothing,
            };
        }
        Ok(true)
    }

    /// Reads into a pipe.
    fn splice(&mut self, from: &mut Side, pipe: Pipe, pipes: &mut Pipes) -> Result<usize, Errno> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        match rustix::pipe::splice(&from.socket, None, &pipe.writer, None, SPLICE_BYTES, flags) {
            Ok(0) => {
                self.finished = true;
                pipes.give(pipe);
                Ok(0)
            }
            Ok(read) => {
                self.bulk = read >= COPY_BYTES;
                self.waiting = Waiting::Piped(pipe, read);
                Ok(read)
            }
            Err(Errno::AGAIN) => {
                from.readable = false;
                pipes.give(pipe);
                Ok(0)
            }
            Err(errno) => {
                pipes.give(pipe);
                Err(errno)
            }
        }
    }

    /// Reads into memory and writes at once as much as possible.
    fn copy(
        &mut self,
        from: &mut Side,
        to: &mut Side,
        buffer: &mut [u8; COPY_BYTES],
    ) -> Result<usize, Errno> {
        let read = match rustix::net::recv(&from.socket, &mut buffer[..], RecvFlags::empty()) {
            Err(Errno::AGAIN) => {
                from.readable = false;
                return Ok(0);
            }
            other => other?.1,
        };
        if read == 0 {
            self.finished = true;
            return Ok(0);
        }
        self.bulk = read == buffer.len();
        // A short read means that the kernel has no more (epoll(7)) and reports the next bytes by an event; but it
        // may have reported the end already.
        if !self.bulk && !from.ended {
            from.readable = false;
        }
        let bytes = buffer.get(..read).unwrap_or_default();
        let sent = match rustix::net::send(&to.socket, bytes, SendFlags::NOSIGNAL) {
            Err(Errno::AGAIN) => 0,
            other => other?,
        };
        if let Some(unsent @ [_, ..]) = bytes.get(sent..) {
            to.writable = false;
            self.waiting = Waiting::Copied(unsent.to_vec(), 0);
        }
        Ok(read)
    }

    /// The memory of the unwritten bytes; a pipe counts as if it were full.
    pub fn waiting(&self) -> usize {
        match &self.waiting {
            Waiting::Nothing => 0,
            Waiting::Piped(..) => PIPE_BYTES,
            Waiting::Copied(bytes, _) => bytes.len(),
        }
    }

    /// How many bytes were read since the last call.
    pub fn take_proxied_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.carried)
    }

    /// Frees the pipe, if it has one.
    pub fn discard(self, pipes: &mut Pipes) {
        if let Waiting::Piped(pipe, _) = self.waiting {
            pipes.lose(pipe);
        }
    }
}
