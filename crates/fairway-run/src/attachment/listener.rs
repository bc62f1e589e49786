//! The socket that the clients of a command connect to.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::with_short_path;

/// How long no client is accepted after the kernel refused one, as when there are no more descriptors.
const REST: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A listening socket that does not block.
#[derive(Debug)]
pub(super) struct Listener {
    socket: UnixListener,
    /// Readable when the rest is over.
    timer: OwnedFd,
    rests: bool,
}

impl Listener {
    /// Listens at a path.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        Self::of(with_short_path(path, UnixListener::bind)?)
    }

    fn of(socket: UnixListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self { socket, timer, rests: false })
    }

    /// The next client, whose stream does not block either; none if none waits, or none can be accepted now.
    pub(super) fn accept(&mut self) -> Option<UnixStream> {
        if self.rests && rustix::io::read(&self.timer, &mut [0; 8]).is_err() {
            return None;
        }
        self.rests = false;
        loop {
            match self.socket.accept() {
                Ok((stream, _)) if stream.set_nonblocking(true).is_ok() => return Some(stream),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                // The client still waits: the socket would be reported again and again.
                Err(_) => {
                    let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: REST };
                    let set = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once);
                    self.rests = set.is_ok();
                    return None;
                }
            }
        }
    }

    /// What to wait for before the next [`Self::accept`].
    pub(super) fn watched(&self) -> PollFd<'_> {
        if self.rests {
            return PollFd::new(&self.timer, PollFlags::IN);
        }
        PollFd::new(&self.socket, PollFlags::IN)
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::poll;
    use rustix::net::{AddressFamily, SocketType, socket};

    use super::*;

    #[test]
    fn a_socket_that_accepts_no_client_is_left_alone_for_a_while() {
        // It does not listen, and is reported as one out of descriptors is.
        let refusing = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        let mut listener = Listener::of(refusing.into()).unwrap();
        let reported = |listener: &Listener, patience| {
            let timeout = Timespec { tv_sec: patience, tv_nsec: 0 };
            poll(&mut [listener.watched()], Some(&timeout)).unwrap() == 1
        };
        assert!(reported(&listener, 0));
        assert!(listener.accept().is_none());
        assert!(!reported(&listener, 0));
        assert!(reported(&listener, 10), "it is tried again");
        assert!(listener.accept().is_none());
        assert!(!reported(&listener, 0));
    }
}
