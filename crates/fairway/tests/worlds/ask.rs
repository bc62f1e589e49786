//! Many questions at once, for real: servers that report the client that they saw, and clients that are all asked before any is waited
//! for.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use fairway_lab::Place;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, ipproto, socket_with,
    sockopt,
};

use crate::case::{Asked, Protocol};

/// How long silence is listened to.
const SILENCE: Duration = Duration::from_millis(350);
/// How long is waited for what should be heard.
const PATIENCE: Duration = Duration::from_secs(15);

/// What came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// An answer: from whom, as far as the program sees, and whom the server saw, at which of its addresses.
    Answer {
        from: SocketAddr,
        seen: SocketAddr,
        at: SocketAddr,
    },
    /// An echo's answer.
    Echo {
        from: IpAddr,
    },
    /// TCP: reset, or an ICMP error that says so.
    Refused,
    /// Taken, and closed without a word.
    Closed,
    /// The kernel said at once, or an ICMP error, that there is no way.
    Unreachable,
    Nothing,
}

/// Servers of a place.
#[derive(Default)]
pub struct Servers {
    streams: Vec<TcpListener>,
    datagrams: Vec<UdpSocket>,
}

impl Servers {
    /// Listens at these addresses.
    pub fn at(place: &Place, streams: &[SocketAddr], datagrams: &[SocketAddr]) -> Servers {
        place
            .run_in(|| {
                let streams = streams.iter().map(|at| {
                    let socket = TcpListener::bind(at).unwrap();
                    socket.set_nonblocking(true).unwrap();
                    socket
                });
                let datagrams = datagrams.iter().map(|at| {
                    let socket = UdpSocket::bind(at).unwrap();
                    socket.set_nonblocking(true).unwrap();
                    socket
                });
                Servers { streams: streams.collect(), datagrams: datagrams.collect() }
            })
            .unwrap()
    }

    /// Answers who has asked.
    fn serve(&self) {
        for socket in &self.streams {
            while let Ok((mut stream, from)) = socket.accept() {
                let at = stream.local_addr().unwrap_or(from);
                // Who has gone already is told nothing.
                let _ = stream.write_all(text(from, at).as_bytes());
                let _ = stream.shutdown(Shutdown::Write);
            }
        }
        for socket in &self.datagrams {
            let mut buffer = [0; 64];
            let at = socket.local_addr().unwrap();
            loop {
                match socket.recv_from(&mut buffer) {
                    Ok((_, from)) => drop(socket.send_to(text(from, at).as_bytes(), from)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // An ICMP error about an earlier answer.
                    Err(_) => {}
                }
            }
        }
    }
}

fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn text(from: SocketAddr, at: SocketAddr) -> String {
    format!("{} {}\n", plain(from), plain(at))
}

fn read_text(text: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (seen, at) = text.trim_end().split_once(' ')?;
    Some((seen.parse().ok()?, at.parse().ok()?))
}

/// A question that waits.
struct Client {
    socket: OwnedFd,
    asked: Asked,
    connected: bool,
    /// Who is connected.
    peer: Option<SocketAddr>,
    received: Vec<u8>,
    heard: Option<Heard>,
}

fn reported(errno: Errno) -> Heard {
    match errno {
        Errno::CONNREFUSED | Errno::CONNRESET => Heard::Refused,
        // The firewall of the origin's own host drops it, and tells the program so.
        Errno::PERM => Heard::Nothing,
        _ => Heard::Unreachable,
    }
}

impl Client {
    /// Sends a question from the calling thread's namespace.
    fn ask(asked: Asked) -> Client {
        let ipv4 = asked.target.is_ipv4();
        let family = if ipv4 { AddressFamily::INET } else { AddressFamily::INET6 };
        let (kind, protocol) = match asked.protocol {
            Protocol::Tcp => (SocketType::STREAM, None),
            Protocol::Udp => (SocketType::DGRAM, None),
            Protocol::Echo => (SocketType::DGRAM, Some(if ipv4 { ipproto::ICMP } else { ipproto::ICMPV6 })),
        };
        let socket =
            socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, protocol).unwrap();
        let any: IpAddr = if ipv4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        sockopt::set_socket_reuseaddr(&socket, asked.protocol == Protocol::Tcp).unwrap();
        bind(&socket, &SocketAddr::new(any, asked.port)).unwrap();
        let sent = match asked.protocol {
            Protocol::Tcp => connect(&socket, &asked.target),
            // It hears only whom it asks, and what ICMP says about that.
            Protocol::Udp => connect(&socket, &asked.target)
                .and_then(|()| rustix::net::send(&socket, b"?", SendFlags::empty()).map(drop)),
            Protocol::Echo => {
                let request = [if ipv4 { 8 } else { 128 }, 0, 0, 0, 0, 0, 0, 1];
                rustix::net::sendto(&socket, &request, SendFlags::empty(), &asked.target).map(drop)
            }
        };
        let heard = match sent {
            Ok(()) | Err(Errno::INPROGRESS) => None,
            Err(errno) => Some(reported(errno)),
        };
        Client { socket, asked, connected: false, peer: None, received: Vec::new(), heard }
    }

    fn wants(&self) -> PollFlags {
        match self.asked.protocol {
            Protocol::Tcp if !self.connected => PollFlags::OUT,
            _ => PollFlags::IN,
        }
    }

    /// Looks what has come.
    fn look(&mut self) {
        if self.asked.protocol == Protocol::Tcp && !self.connected {
            match sockopt::socket_error(&self.socket) {
                Ok(Ok(())) => {
                    let peer = rustix::net::getpeername(&self.socket).ok().flatten();
                    self.peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                    self.connected = self.peer.is_some();
                }
                Ok(Err(errno)) | Err(errno) => self.heard = Some(reported(errno)),
            }
            return;
        }
        let mut buffer = [0; 256];
        if self.asked.protocol == Protocol::Tcp {
            match rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) | Err(Errno::CONNRESET) => {
                    let read = read_text(&String::from_utf8_lossy(&self.received));
                    let from = plain(self.peer.unwrap_or(self.asked.target));
                    self.heard = Some(match read {
                        Some((seen, at)) => Heard::Answer { from, seen, at },
                        None => Heard::Closed,
                    });
                }
                Ok((length, _)) => self.received.extend_from_slice(&buffer[..length]),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => self.heard = Some(reported(errno)),
            }
            return;
        }
        match rustix::net::recvfrom(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((length, _, from)) => {
                let Some(from) = from.and_then(|from| SocketAddr::try_from(from).ok()) else { return };
                self.heard = match self.asked.protocol {
                    Protocol::Echo => Some(Heard::Echo { from: from.ip() }),
                    _ => read_text(&String::from_utf8_lossy(&buffer[..length]))
                        .map(|(seen, at)| Heard::Answer { from: plain(from), seen, at }),
                };
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => self.heard = Some(reported(errno)),
        }
    }
}

/// Asks all, each from its place, and returns what came back. `silent` says of which nothing is expected.
pub fn ask(servers: &[Servers], questions: &[(&Place, Asked)], silent: &[bool]) -> Vec<Heard> {
    let mut clients: Vec<Option<Client>> = questions.iter().map(|_| None).collect();
    let mut places: Vec<&Place> = Vec::new();
    for (place, _) in questions {
        if !places.iter().any(|known| known.name() == place.name()) {
            places.push(place);
        }
    }
    for place in places {
        let of_place = questions.iter().enumerate().filter(|(_, (it, _))| it.name() == place.name());
        let asked: Vec<(usize, Client)> = place
            .run_in(|| of_place.map(|(number, (_, asked))| (number, Client::ask(*asked))).collect())
            .unwrap();
        for (number, client) in asked {
            clients[number] = Some(client);
        }
    }
    let mut clients: Vec<Client> = clients.into_iter().flatten().collect();
    let begun = Instant::now();
    loop {
        let done = clients.iter().zip(silent).all(|(client, silent)| client.heard.is_some() || *silent);
        let patience = if done { SILENCE } else { PATIENCE };
        if begun.elapsed() >= patience || clients.iter().all(|client| client.heard.is_some()) {
            break;
        }
        wait(servers, &clients);
        servers.iter().for_each(Servers::serve);
        clients.iter_mut().filter(|client| client.heard.is_none()).for_each(Client::look);
    }
    clients.iter().map(|client| client.heard.unwrap_or(Heard::Nothing)).collect()
}

/// Waits a moment, or until something comes.
fn wait(servers: &[Servers], clients: &[Client]) {
    let mut watched = Vec::new();
    for server in servers {
        watched.extend(server.streams.iter().map(|it| PollFd::from_borrowed_fd(it.as_fd(), PollFlags::IN)));
        watched.extend(server.datagrams.iter().map(|it| PollFd::from_borrowed_fd(it.as_fd(), PollFlags::IN)));
    }
    let waiting = clients.iter().filter(|client| client.heard.is_none());
    watched.extend(waiting.map(|it| PollFd::from_borrowed_fd(it.socket.as_fd(), it.wants())));
    let moment = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    match poll(&mut watched, Some(&moment)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => panic!("poll: {errno}"),
    }
}
