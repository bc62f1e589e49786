//! A small DNS client, written apart from the resolver so that it does not share its mistakes.

mod message;

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

pub use message::{Data, DnsAnswer, Kind, Record};

use crate::error::LabError;
use crate::place::Place;
use crate::probe::{connect_tcp, connect_udp, socket_address};

/// Largest UDP answer that is read, also what EDNS offers where it is asked for.
const LARGEST: u16 = 4096;

/// By what the question travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP with the classic 512 bytes (RFC 1035).
    Udp,
    /// UDP with EDNS and 4,096 bytes (RFC 6891).
    Edns,
    /// TCP.
    Tcp,
}

/// Why there was no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsFailure {
    /// Nobody listens there.
    #[error("nobody listens there")]
    Refused,
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The connection, or the way there, failed.
    #[error("the question could not be asked: {0}")]
    Failed(String),
    /// What came back is not an answer to the question.
    #[error("what came back is no answer: {0}")]
    Malformed(&'static str),
}

impl From<io::Error> for DnsFailure {
    fn from(error: io::Error) -> DnsFailure {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => DnsFailure::Refused,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => DnsFailure::TimedOut,
            _ => DnsFailure::Failed(error.to_string()),
        }
    }
}

/// A question to a name server.
#[derive(Clone, Copy, Debug)]
pub struct DnsQuestion<'a> {
    name: &'a str,
    kind: Kind,
    transport: Transport,
    patience: Duration,
}

impl<'a> DnsQuestion<'a> {
    /// For records of a kind, by UDP, within two seconds.
    #[must_use]
    pub fn new(name: &'a str, kind: Kind) -> DnsQuestion<'a> {
        DnsQuestion { name, kind, transport: Transport::Udp, patience: Duration::from_secs(2) }
    }

    /// By another transport.
    #[must_use]
    pub fn by(self, transport: Transport) -> DnsQuestion<'a> {
        DnsQuestion { transport, ..self }
    }

    /// With other patience.
    #[must_use]
    pub fn within(self, patience: Duration) -> DnsQuestion<'a> {
        DnsQuestion { patience, ..self }
    }

    /// Asks a server (`"127.0.0.11:53"`) from a place.
    ///
    /// # Errors
    /// When `server` is not an address and port, or the place cannot be entered; whether there was an answer is the
    /// inner result.
    pub fn ask(self, place: &Place, server: &str) -> Result<Result<DnsAnswer, DnsFailure>, LabError> {
        let server = socket_address(server)?;
        place.run_in(|| self.exchange(server))
    }

    fn exchange(&self, server: SocketAddr) -> Result<DnsAnswer, DnsFailure> {
        let deadline = Instant::now() + self.patience;
        // Nobody here guesses: any number does that differs from question to question.
        let id = next_number();
        let offer = (self.transport == Transport::Edns).then_some(LARGEST);
        let question = message::question(id, self.name, self.kind, offer)
            .ok_or(DnsFailure::Malformed("the name has an empty label, or one of more than 63 bytes"))?;
        if self.transport == Transport::Tcp {
            return exchange_tcp(server, id, &question, deadline);
        }
        let socket = connect_udp(server, None)?;
        socket.send(&question)?;
        let mut buffer = vec![0; usize::from(LARGEST)];
        loop {
            socket.set_read_timeout(Some(left(deadline)?))?;
            let length = socket.recv(&mut buffer)?;
            // A late answer to somebody else's question is passed over.
            if buffer[..length].starts_with(&id.to_be_bytes()) {
                return message::read(id, &buffer[..length]);
            }
        }
    }
}

fn exchange_tcp(
    server: SocketAddr,
    id: u16,
    question: &[u8],
    deadline: Instant,
) -> Result<DnsAnswer, DnsFailure> {
    let mut stream = connect_tcp(server, None, deadline)?;
    let length = u16::try_from(question.len()).unwrap_or(u16::MAX);
    stream.write_all(&[&length.to_be_bytes(), question].concat())?;
    stream.set_read_timeout(Some(left(deadline)?))?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer)?;
    message::read(id, &answer)
}

fn next_number() -> u16 {
    static NUMBER: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(1);
    NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

fn left(deadline: Instant) -> Result<Duration, DnsFailure> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(DnsFailure::TimedOut) } else { Ok(left) }
}

/// Asks for the addresses of a name, by UDP: A or AAAA records, in the order of the answer.
///
/// # Errors
/// As [`DnsQuestion::ask`]; a name that does not exist has no addresses, and is no failure.
pub fn look_up(
    place: &Place,
    server: &str,
    name: &str,
    kind: Kind,
) -> Result<Result<Vec<IpAddr>, DnsFailure>, LabError> {
    Ok(DnsQuestion::new(name, kind).ask(place, server)?.map(|answer| answer.addresses()))
}
