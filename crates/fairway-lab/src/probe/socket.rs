//! Waiting on sockets, with a way to end the wait.

use std::io;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};

/// How long a wait may last at most.
pub(super) const FOREVER: Duration = Duration::from_secs(3600);

/// A socket pair: dropping one end ends every wait on the other.
pub(super) fn stop() -> io::Result<(OwnedFd, OwnedFd)> {
    let (watched, held) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((watched, held))
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    Yes,
    TimedOut,
    Stopped,
}

/// Waits until the socket can be read or written, until `stop` is closed, or until the deadline.
pub(super) fn wait(
    socket: BorrowedFd<'_>,
    wanted: PollFlags,
    stop: Option<BorrowedFd<'_>>,
    deadline: Instant,
) -> io::Result<Ready> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        // Without a stop the socket is watched twice, which does no harm.
        let other = stop.unwrap_or(socket);
        let other_wanted = if stop.is_some() { PollFlags::IN } else { wanted };
        let mut watched =
            [PollFd::from_borrowed_fd(socket, wanted), PollFd::from_borrowed_fd(other, other_wanted)];
        match poll(&mut watched, Some(&timeout)) {
            Ok(0) => return Ok(Ready::TimedOut),
            Ok(_) if stop.is_some() && !watched[1].revents().is_empty() => return Ok(Ready::Stopped),
            Ok(_) => return Ok(Ready::Yes),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Connects by TCP within a time, from an address if one is given.
pub(crate) fn connect_tcp(
    target: SocketAddr,
    source: Option<SocketAddr>,
    deadline: Instant,
) -> io::Result<TcpStream> {
    let socket = open(target, SocketType::STREAM)?;
    if let Some(source) = source {
        bind(&socket, &source)?;
    }
    match connect(&socket, &target) {
        Ok(()) => {}
        Err(Errno::INPROGRESS) => {
            if wait(socket.as_fd(), PollFlags::OUT, None, deadline)? == Ready::TimedOut {
                return Err(io::ErrorKind::TimedOut.into());
            }
            sockopt::socket_error(&socket)??;
        }
        Err(errno) => return Err(errno.into()),
    }
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(TcpStream::from(socket))
}

/// A UDP socket that only hears and asks this target, by way of an address if one is given.
pub(crate) fn connect_udp(target: SocketAddr, source: Option<SocketAddr>) -> io::Result<UdpSocket> {
    let socket = open(target, SocketType::DGRAM)?;
    if let Some(source) = source {
        bind(&socket, &source)?;
    }
    connect(&socket, &target)?;
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(UdpSocket::from(socket))
}

fn open(target: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    Ok(socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?)
}
