//! One direction of a connection.

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

/// One end of a connection, with what the kernel has said of it since we last found it wanting.
#[derive(Debug)]
pub(crate) struct Side {
    /// Its socket.
    pub socket: OwnedFd,
    /// Something may be there to be read.
    readable: bool,
    /// There may be room to write.
    writable: bool,
    /// The peer will send no more; read until the end.
    ended: bool,
}

impl Side {
    /// An end of which nothing is known yet.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, readable: false, writable: false, ended: false }
    }

    /// Takes note of an event.
    pub fn note(&mut self, flags: EventFlags) {
        let failed = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        self.readable |= failed || flags.intersects(EventFlags::IN | EventFlags::RDHUP);
        self.writable |= failed || flags.contains(EventFlags::OUT);
        self.ended |= failed || flags.contains(EventFlags::RDHUP);
    }
}

/// Bytes that were read and could not be written yet.
#[derive(Debug, Default)]
enum Waiting {
    #[default]
    Nothing,
    /// So many bytes in a pipe.
    Piped(Pipe, usize),
    /// Bytes in memory, from this place on.
    Copied(Vec<u8>, usize),
}

/// One direction of a connection: what it holds, and how far it has come.
#[derive(Debug, Default)]
pub(crate) struct Half {
    waiting: Waiting,
    /// The last read filled the buffer.
    bulk: bool,
    /// The source said that it is done.
    finished: bool,
    /// The destination was told so.
    pub closed: bool,
    /// How many bytes were read since somebody asked.
    carried: u64,
}

/// Whether a direction should be carried on with before the kernel speaks of it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It waits for the kernel.
    Waits,
    /// It had its turn and has more.
    More,
}

/// How a direction is carried on with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// The other direction is over, so that the end of this one is the end of the connection.
    pub last: bool,
    /// It may take a pipe.
    pub splices: bool,
}

impl Half {
    /// Carries bytes until a side says wait, or the turn is over. An error ends the connection.
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
            // Nothing is read that cannot be passed on: that is the back-pressure.
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

    /// Writes what waits; whether all of it went.
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

    /// Reads into memory and writes at once what goes.
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
        // Less than was asked for means that the kernel has no more (epoll(7)), and it will tell
        // of what comes next; but the end it may have told of already.
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

    /// What the bytes that wait here for the reader take of memory; a pipe counts as if it were full.
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

    /// Lets go of what it holds.
    pub fn discard(self, pipes: &mut Pipes) {
        if let Waiting::Piped(pipe, _) = self.waiting {
            pipes.lose(pipe);
        }
    }
}
