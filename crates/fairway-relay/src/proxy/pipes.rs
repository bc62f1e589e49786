//! Pipes to splice through, held only while bytes wait in them.
//!
//! A user without capabilities has 16,384 pipe pages in all (pipe-user-pages-soft in
//! proc_sys_fs(5)), and each pipe is two descriptors: hence a pool.

use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// The size of a pipe in bytes: 64 pages, so that 128 pipes are half of what a user has.
pub(crate) const PIPE_BYTES: usize = 256 * 1024;

/// A pipe.
#[derive(Debug)]
pub(crate) struct Pipe {
    /// The read end.
    pub reader: OwnedFd,
    /// The write end.
    pub writer: OwnedFd,
}

/// A pool of pipes.
#[derive(Debug)]
pub(crate) struct Pipes {
    idle: Vec<Pipe>,
    made: usize,
    limit: usize,
}

impl Pipes {
    /// A pool that makes at most `limit` pipes.
    pub fn new(limit: usize) -> Self {
        Self { idle: Vec::new(), made: 0, limit }
    }

    /// Takes an empty pipe, or creates one within the limit.
    pub fn take(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.idle.pop() {
            return Some(pipe);
        }
        if self.made >= self.limit {
            return None;
        }
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // A smaller pipe works as well, more slowly.
        let _ = fcntl_setpipe_size(&writer, PIPE_BYTES);
        self.made += 1;
        Some(Pipe { reader, writer })
    }

    /// Returns an empty pipe to the pool.
    pub fn give(&mut self, pipe: Pipe) {
        if self.made > self.limit {
            return self.lose(pipe);
        }
        self.idle.push(pipe);
    }

    /// Changes the limit of pipes.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        let excess = self.made.saturating_sub(limit).min(self.idle.len());
        self.idle.truncate(self.idle.len() - excess);
        self.made -= excess;
    }

    /// How many bytes all pipes can hold.
    pub fn bytes(&self) -> usize {
        self.limit * PIPE_BYTES
    }

    /// Closes a pipe that has bytes in it.
    pub fn lose(&mut self, pipe: Pipe) {
        drop(pipe);
        self.made -= 1;
    }
}
