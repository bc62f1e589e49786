//! Asking by UDP, once or again and again from one socket.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::outcome::{Outcome, Reply, failed, outcome};
use super::socket::connect_udp;
use super::socket_address;
use crate::error::{LabError, Trying};
use crate::place::Place;

/// Distinguishes late answers from the awaited one.
static NUMBER: AtomicU64 = AtomicU64::new(1);

/// A UDP client that keeps its socket, so that its questions are one flow to connection tracking. It takes answers
/// only from the address that it asks.
#[derive(Debug)]
pub struct DatagramFlow {
    socket: UdpSocket,
}

impl DatagramFlow {
    /// Opens the socket; nothing is sent yet.
    ///
    /// # Errors
    /// When `target` is not an address and port, or there is no route to it.
    pub fn open(place: &Place, target: &str) -> Result<DatagramFlow, LabError> {
        let address = socket_address(target)?;
        let socket = place
            .run_in(|| connect_udp(address, None))?
            .trying(|| format!("open a UDP socket to {target} in {}", place.name()))?;
        Ok(DatagramFlow { socket })
    }

    /// The client's own address and port.
    ///
    /// # Errors
    /// When the kernel does not report it.
    pub fn local_address(&self) -> Result<SocketAddr, LabError> {
        self.socket.local_addr().trying(|| "read the address of a UDP socket".to_owned())
    }

    /// Asks once and waits at most so long.
    #[must_use]
    pub fn ask(&self, patience: Duration) -> Outcome {
        outcome(self.ask_reply(patience))
    }

    /// Asks once and returns all that the server said.
    ///
    /// # Errors
    /// What became of the question, if it was not answered.
    pub fn ask_reply(&self, patience: Duration) -> Result<Reply, Outcome> {
        exchange(&self.socket, patience)
    }
}

/// Sends a numbered question and waits for the answer that has the number.
pub(super) fn exchange(socket: &UdpSocket, patience: Duration) -> Result<Reply, Outcome> {
    let deadline = Instant::now() + patience;
    let question = format!("number {}\n", NUMBER.fetch_add(1, Ordering::Relaxed));
    socket.send(question.as_bytes()).map_err(|error| failed(&error))?;
    let mut buffer = [0; 2048];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Outcome::TimedOut);
        }
        socket.set_read_timeout(Some(left)).map_err(|error| failed(&error))?;
        match socket.recv(&mut buffer) {
            Ok(length) => {
                let text = String::from_utf8_lossy(&buffer[..length]);
                if let Some(reply) = text.strip_prefix(&question).and_then(Reply::read) {
                    return Ok(reply);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(&error)),
        }
    }
}
