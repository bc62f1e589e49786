//! What became of a question, in few categories.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Answered {
        /// The address that the server saw as the asker's.
        source: IpAddr,
    },
    /// TCP: reset at once. UDP: an ICMP error said that no socket listens there.
    Refused,
    /// Nothing came back.
    TimedOut,
    /// The connection was accepted, and nothing was ever sent.
    AcceptedNeverAnswered,
    /// The connection was accepted and closed or reset before anything was sent.
    Dropped,
    /// There is no way there: no route, or ICMP said so.
    Unreachable,
}

impl Outcome {
    /// Answered, and the server saw this address.
    ///
    /// # Panics
    /// When `source` is no address: it is meant for literals.
    #[must_use]
    pub fn answered(source: &str) -> Outcome {
        match source.parse() {
            Ok(source) => Outcome::Answered { source },
            Err(_) => panic!("{source:?} is not an address, such as 10.10.50.1"),
        }
    }
}

/// The words of the measured tables: `answered 10.10.50.1`, `timed-out`, `accepted-never-answered`.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Answered { source } => write!(f, "answered {source}"),
            Outcome::Refused => f.write_str("refused"),
            Outcome::TimedOut => f.write_str("timed-out"),
            Outcome::AcceptedNeverAnswered => f.write_str("accepted-never-answered"),
            Outcome::Dropped => f.write_str("dropped"),
            Outcome::Unreachable => f.write_str("unreachable"),
        }
    }
}

/// What a server of the lab answers: who it is, and between whom it saw the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The name of the place of the server that answered.
    pub server: String,
    /// The asker as the server saw it. IPv4 is IPv4 also where it came in at an IPv6 socket.
    pub source: SocketAddr,
    /// The server's own address and port; for UDP, what its socket is bound to.
    pub destination: SocketAddr,
}

impl Reply {
    /// As it is sent.
    pub(super) fn text(&self) -> String {
        format!("server {}\nsource {}\ndestination {}\n", self.server, self.source, self.destination)
    }

    /// From what was received; none if it is not one.
    pub(super) fn read(text: &str) -> Option<Reply> {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Some(Reply {
            server: field("server")?.to_owned(),
            source: field("source")?.parse().ok()?,
            destination: field("destination")?.parse().ok()?,
        })
    }
}

/// IPv4 as IPv4, also where a socket of IPv6 shows it as `::ffff:a.b.c.d`.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The category of a result.
pub(super) fn outcome(result: Result<Reply, Outcome>) -> Outcome {
    result.map_or_else(|other| other, |reply| Outcome::Answered { source: reply.source.ip() })
}

/// The category of an error before anybody took the connection.
pub(super) fn failed(error: &io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Outcome::Refused,
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Outcome::TimedOut,
        // No route, a route that forbids, ICMP, or no address of the family to ask from.
        _ => Outcome::Unreachable,
    }
}
