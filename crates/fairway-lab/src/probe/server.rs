//! Servers that report the client they saw.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::outcome::{Reply, canonical};
use super::socket::{FOREVER, Ready, stop, wait};
use super::socket_address;
use crate::error::{LabError, Trying};
use crate::place::Place;

/// How long a server waits for a client that says nothing.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running server; dropped, it closes its sockets and ends its connections.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// The address it listens at: the port is the real one where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It panicked if at all in its own thread, which has told so.
            let _ = thread.join();
        }
    }
}

/// Listens by TCP in a place and answers every connection, in HTTP/1.0, with the address that it saw. `[::]:80`
/// takes IPv4 as well. Port 0 is any free one.
///
/// # Errors
/// When `address` is not an address and port, or cannot be bound there.
pub fn serve_tcp(place: &Place, address: &str) -> Result<Server, LabError> {
    let name: Arc<str> = Arc::from(place.name());
    serve_streams(place, address, move |stream, stop| {
        // A client that goes away early is its own business.
        let _ = answer(stream, &name, stop);
    })
}

/// Listens by TCP in a place and sends back every byte that comes, to the half-close and its own: the far end of a
/// [`super::Transfer`].
///
/// # Errors
/// When `address` is not an address and port, or cannot be bound there.
pub fn serve_echo(place: &Place, address: &str) -> Result<Server, LabError> {
    serve_streams(place, address, |stream, stop| {
        let _ = echo(stream, stop);
    })
}

/// Listens by UDP in a place and answers every datagram with the address that it saw.
///
/// # Errors
/// When `address` is not an address and port, or cannot be bound there.
pub fn serve_datagrams(place: &Place, address: &str) -> Result<Server, LabError> {
    let wanted = socket_address(address)?;
    let action = format!("listen at {address}/udp in {}", place.name());
    let socket = place.run_in(|| UdpSocket::bind(wanted))?.trying(|| action.clone())?;
    let bound = socket.local_addr().trying(|| action.clone())?;
    let (watched, held) = stop().trying(|| action)?;
    let name = place.name().to_owned();
    let thread = place.start(
        || Ok(()),
        move |()| {
            let mut buffer = [0; 2048];
            while wait(socket.as_fd(), PollFlags::IN, Some(watched.as_fd()), Instant::now() + FOREVER)
                .is_ok_and(|ready| ready == Ready::Yes)
            {
                // An error here is the ICMP of an earlier answer's refusal.
                let Ok((length, source)) = socket.recv_from(&mut buffer) else { continue };
                let reply = Reply { server: name.clone(), source: canonical(source), destination: bound };
                let mut text = buffer[..length].to_vec();
                text.extend_from_slice(reply.text().as_bytes());
                let _ = socket.send_to(&text, source);
            }
        },
    )?;
    Ok(Server { address: bound, stop: Some(held), thread: Some(thread) })
}

fn serve_streams(
    place: &Place,
    address: &str,
    serve: impl Fn(TcpStream, &OwnedFd) + Send + Sync + 'static,
) -> Result<Server, LabError> {
    let wanted = socket_address(address)?;
    let action = format!("listen at {address}/tcp in {}", place.name());
    let listener = place.run_in(|| TcpListener::bind(wanted))?.trying(|| action.clone())?;
    let bound = listener.local_addr().trying(|| action.clone())?;
    let (watched, held) = stop().trying(|| action)?;
    let thread = place.start(
        || Ok(()),
        move |()| {
            // Returns when all connections have ended, so that nothing pins the namespace after that.
            std::thread::scope(|scope| {
                while wait(listener.as_fd(), PollFlags::IN, Some(watched.as_fd()), Instant::now() + FOREVER)
                    .is_ok_and(|ready| ready == Ready::Yes)
                {
                    let Ok((stream, _)) = listener.accept() else { continue };
                    let (serve, watched) = (&serve, &watched);
                    scope.spawn(move || serve(stream, watched));
                }
                drop(listener);
            });
        },
    )?;
    Ok(Server { address: bound, stop: Some(held), thread: Some(thread) })
}

fn answer(mut stream: TcpStream, name: &str, stop: &OwnedFd) -> io::Result<()> {
    let mut request = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|four| four == b"\r\n\r\n") {
        match wait(stream.as_fd(), PollFlags::IN, Some(stop.as_fd()), deadline)? {
            Ready::Stopped => return Ok(()),
            Ready::TimedOut => break,
            Ready::Yes => {}
        }
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        request.extend_from_slice(&buffer[..length]);
    }
    let source = canonical(stream.peer_addr()?);
    let reply = Reply { server: name.to_owned(), source, destination: canonical(stream.local_addr()?) };
    let body = reply.text();
    let head =
        format!("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    // Closing with unread bytes would reset the connection and lose the answer.
    while wait(stream.as_fd(), PollFlags::IN, Some(stop.as_fd()), deadline)? == Ready::Yes
        && stream.read(&mut buffer)? > 0
    {}
    Ok(())
}

fn echo(mut stream: TcpStream, stop: &OwnedFd) -> io::Result<()> {
    let mut buffer = [0; 64 * 1024];
    while wait(stream.as_fd(), PollFlags::IN, Some(stop.as_fd()), Instant::now() + FOREVER)? == Ready::Yes {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return stream.shutdown(Shutdown::Write);
        }
        stream.write_all(&buffer[..length])?;
    }
    Ok(())
}
