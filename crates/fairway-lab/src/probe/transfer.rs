//! A long transfer that notices when it is cut, or when a byte is lost.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::socket::connect_tcp;
use super::socket_address;
use crate::error::{LabError, Trying};
use crate::place::Place;

/// What is sent at once, and the pause after it: about 16 MB a second, so that a test leaves the machine something.
const CHUNK: usize = 16 * 1024;
const PACE: Duration = Duration::from_millis(1);
/// With no byte for so long, the transfer counts as stalled. As long may it take to connect: a first segment that was
/// lost on a busy machine is sent again only after a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was wrong with a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection was reset, or failed otherwise.
    Cut(io::ErrorKind),
    /// A byte came back other than it was sent.
    Corrupt {
        /// How many bytes had come back right before it.
        at: u64,
    },
    /// The far end closed before this one did, or before all bytes had come back.
    Lost,
    /// Nothing came for ten seconds.
    Stalled,
}

/// How a transfer went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferReport {
    /// Bytes sent.
    pub sent: u64,
    /// Bytes that came back, each as it was sent.
    pub returned: u64,
    /// What was wrong first; none if every byte came back.
    pub fault: Option<Fault>,
}

/// A TCP connection to a server of [`super::serve_echo`] on which bytes go out and come back all the time.
#[derive(Debug)]
pub struct Transfer {
    shared: Arc<Shared>,
    stream: TcpStream,
    writer: Option<JoinHandle<Option<Fault>>>,
    reader: Option<JoinHandle<Option<Fault>>>,
}

#[derive(Debug, Default)]
struct Shared {
    sent: AtomicU64,
    returned: AtomicU64,
    enough: AtomicBool,
    half_closed: AtomicBool,
}

impl Transfer {
    /// Connects from a place and begins.
    ///
    /// # Errors
    /// When `target` is not an address and port, or the connection is not made within ten seconds.
    pub fn start(place: &Place, target: &str) -> Result<Transfer, LabError> {
        let address: SocketAddr = socket_address(target)?;
        let action = || format!("connect to {target} from {}", place.name());
        let stream =
            place.run_in(|| connect_tcp(address, None, Instant::now() + PATIENCE))?.trying(action)?;
        stream.set_read_timeout(Some(PATIENCE)).trying(action)?;
        stream.set_write_timeout(Some(PATIENCE)).trying(action)?;
        let shared = Arc::new(Shared::default());
        let mut half = stream.try_clone().trying(action)?;
        let state = Arc::clone(&shared);
        let writer = thread::spawn(move || send(&mut half, &state).err());
        let mut half = stream.try_clone().trying(action)?;
        let state = Arc::clone(&shared);
        let reader = thread::spawn(move || check(&mut half, &state).err());
        Ok(Transfer { shared, stream, writer: Some(writer), reader: Some(reader) })
    }

    /// How many bytes have come back so far.
    #[must_use]
    pub fn returned(&self) -> u64 {
        self.shared.returned.load(Ordering::Acquire)
    }

    /// Waits until so many more bytes have come back; false if they have not within `patience`.
    #[must_use]
    pub fn moves_on(&self, bytes: u64, patience: Duration) -> bool {
        let (goal, deadline) = (self.returned() + bytes, Instant::now() + patience);
        while self.returned() < goal {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(PACE);
        }
        true
    }

    /// Stops sending, half-closes, waits for the rest to come back and reports the result.
    #[must_use]
    pub fn finish(mut self) -> TransferReport {
        self.shared.enough.store(true, Ordering::Release);
        let written = join(self.writer.take());
        let read = join(self.reader.take());
        TransferReport {
            sent: self.shared.sent.load(Ordering::Acquire),
            returned: self.returned(),
            // Where the connection is cut both notice; the writer knows why.
            fault: written.or(read),
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        // The threads notice; they need not be waited for.
        self.shared.enough.store(true, Ordering::Release);
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn join(half: Option<JoinHandle<Option<Fault>>>) -> Option<Fault> {
    half.and_then(|thread| thread.join().unwrap_or(Some(Fault::Cut(io::ErrorKind::Other))))
}

fn send(stream: &mut TcpStream, shared: &Shared) -> Result<(), Fault> {
    let mut chunk = vec![0; CHUNK];
    while !shared.enough.load(Ordering::Acquire) {
        let start = shared.sent.load(Ordering::Acquire);
        fill(&mut chunk, start);
        // Counted before, so that the reader never meets a byte that was not counted.
        shared.sent.store(start + CHUNK as u64, Ordering::Release);
        stream.write_all(&chunk).map_err(|error| fault(&error))?;
        thread::sleep(PACE);
    }
    shared.half_closed.store(true, Ordering::Release);
    stream.shutdown(Shutdown::Write).map_err(|error| fault(&error))
}

fn check(stream: &mut TcpStream, shared: &Shared) -> Result<(), Fault> {
    let mut buffer = vec![0; CHUNK];
    let mut expected = vec![0; CHUNK];
    loop {
        let at = shared.returned.load(Ordering::Acquire);
        let length = match stream.read(&mut buffer) {
            Ok(0) => {
                let over = shared.half_closed.load(Ordering::Acquire);
                let whole = over && at == shared.sent.load(Ordering::Acquire);
                return if whole { Ok(()) } else { Err(Fault::Lost) };
            }
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(fault(&error)),
        };
        fill(&mut expected[..length], at);
        if let Some(wrong) = (0..length).find(|&index| buffer[index] != expected[index]) {
            return Err(Fault::Corrupt { at: at + wrong as u64 });
        }
        shared.returned.store(at + length as u64, Ordering::Release);
    }
}

/// The bytes of the transfer from a position on: none looks like another a few bytes away.
fn fill(bytes: &mut [u8], start: u64) {
    for (position, byte) in (start..).zip(bytes) {
        *byte = (position.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    }
}

fn fault(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Fault::Stalled,
        kind => Fault::Cut(kind),
    }
}
