//! Asking: one question, one outcome.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::datagram::exchange;
use super::outcome::{Outcome, Reply, failed, outcome};
use super::socket::{connect_tcp, connect_udp};
use super::socket_address;
use crate::error::LabError;
use crate::place::Place;

/// How long a question waits for its answer. Everything in a lab is near, but a neighbour's address that was not
/// heard on a busy machine is asked for again only after a second, as is a lost first segment. After three the kernel
/// says that no host has it.
const PATIENCE: Duration = Duration::from_millis(2500);

/// Asks a TCP server from a place, within two and a half seconds.
///
/// # Errors
/// When `target` is not an address and port, or the place cannot be entered.
pub fn ask(place: &Place, target: &str) -> Result<Outcome, LabError> {
    Question::to(target)?.tcp(place)
}

/// Asks a UDP server from a place, from a new port, within two and a half seconds.
///
/// # Errors
/// When `target` is not an address and port, or the place cannot be entered.
pub fn ask_datagram(place: &Place, target: &str) -> Result<Outcome, LabError> {
    Question::to(target)?.udp(place)
}

/// A question, to be asked by TCP or UDP.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    target: SocketAddr,
    source: Option<IpAddr>,
    patience: Duration,
}

impl Question {
    /// To an address and port.
    ///
    /// # Errors
    /// When the text is none.
    pub fn to(target: &str) -> Result<Question, LabError> {
        Ok(Question { target: socket_address(target)?, source: None, patience: PATIENCE })
    }

    /// From one of the place's own addresses.
    #[must_use]
    pub fn from(self, source: IpAddr) -> Question {
        Question { source: Some(source), ..self }
    }

    /// With other patience than a second and a half.
    #[must_use]
    pub fn within(self, patience: Duration) -> Question {
        Question { patience, ..self }
    }

    /// Asks by TCP.
    ///
    /// # Errors
    /// When the place cannot be entered.
    pub fn tcp(self, place: &Place) -> Result<Outcome, LabError> {
        self.tcp_reply(place).map(outcome)
    }

    /// Asks by TCP and returns all that the server said.
    ///
    /// # Errors
    /// When the place cannot be entered; what became of the question is the inner result.
    pub fn tcp_reply(self, place: &Place) -> Result<Result<Reply, Outcome>, LabError> {
        place.run_in(|| self.ask_tcp())
    }

    /// Asks by UDP, from a new port.
    ///
    /// # Errors
    /// When the place cannot be entered.
    pub fn udp(self, place: &Place) -> Result<Outcome, LabError> {
        self.udp_reply(place).map(outcome)
    }

    /// Asks by UDP, from a new port, and returns all that the server said.
    ///
    /// # Errors
    /// When the place cannot be entered; what became of the question is the inner result.
    pub fn udp_reply(self, place: &Place) -> Result<Result<Reply, Outcome>, LabError> {
        place.run_in(|| {
            let socket = connect_udp(self.target, self.bound()).map_err(|error| failed(&error))?;
            exchange(&socket, self.patience)
        })
    }

    fn bound(&self) -> Option<SocketAddr> {
        self.source.map(|source| SocketAddr::new(source, 0))
    }

    fn ask_tcp(&self) -> Result<Reply, Outcome> {
        let deadline = Instant::now() + self.patience;
        let mut stream = connect_tcp(self.target, self.bound(), deadline).map_err(|error| failed(&error))?;
        let request = format!("GET / HTTP/1.0\r\nHost: {}\r\n\r\n", self.target);
        stream.write_all(request.as_bytes()).map_err(|error| after_accept(&error))?;
        let mut received = Vec::new();
        let mut buffer = [0; 1024];
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            stream.set_read_timeout(Some(left)).map_err(|error| after_accept(&error))?;
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => received.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(after_accept(&error)),
            }
        }
        let text = String::from_utf8_lossy(&received);
        text.split_once("\r\n\r\n").and_then(|(_, body)| Reply::read(body)).ok_or(Outcome::Dropped)
    }
}

fn after_accept(error: &io::Error) -> Outcome {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Outcome::AcceptedNeverAnswered,
        _ => Outcome::Dropped,
    }
}
