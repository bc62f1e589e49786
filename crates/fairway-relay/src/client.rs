//! The daemon's end of the connection to the relay.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fairway_core::model::Protocol;
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType};
use thiserror::Error;

use crate::message::{self, MAX_BYTES, MessageError, Request, Response, SentChange};
use crate::table::{Carried, Change, Held, Hello, Record, Refusal};

/// Why the relay did not do what it was asked.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The connection failed; the relay is gone or another daemon has taken its place.
    #[error("the relay does not answer; connect to it again, or start it: {0}")]
    Connection(#[source] Arc<MessageError>),
    /// No relay listens there.
    #[error("no relay listens at {path}; start it: {source}")]
    Unreachable {
        /// The path of its control socket.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Some changes were refused; the others are in force.
    #[error("the relay refused {}: {}", .0.first().map(|r| r.key.to_string()).unwrap_or_default(), .0.first().map(|r| r.reason.as_str()).unwrap_or_default())]
    Refused(Vec<Refusal>),
    /// The relay answered something else than what was asked.
    #[error(
        "the relay answered another question than was asked: its version is too different; hand over to a new one"
    )]
    Confused,
}

/// How long the relay may take to answer; it never takes more than a moment, but for a large table
/// on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a caller waits for: its changes, then their outcome.
type Slot = Mutex<Option<Result<(), ClientError>>>;

struct Waiting {
    changes: Vec<Change>,
    slot: Arc<Slot>,
}

/// A connection to the relay, for many threads: what they ask at the same time travels as one
/// batch.
pub struct RelayClient {
    hello: Hello,
    waiting: Mutex<Vec<Waiting>>,
    line: Mutex<Line>,
}

/// The socket and a buffer for answers.
struct Line {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A caller that panicked left a queue or a buffer, both of which are whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RelayClient {
    /// Connects to the control socket at `path`. The relay drops whichever daemon it had before.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let unreachable = |errno: Errno| ClientError::Unreachable {
            path: path.display().to_string(),
            source: errno.into(),
        };
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(unreachable)?;
        let address = SocketAddrUnix::new(path).map_err(unreachable)?;
        rustix::net::connect(&socket, &address).map_err(unreachable)?;
        Self::over(socket)
    }

    /// Talks to the relay over a connected SOCK_SEQPACKET socket that blocks.
    pub fn over(socket: OwnedFd) -> Result<Self, ClientError> {
        for direction in [Timeout::Recv, Timeout::Send] {
            sockopt::set_socket_timeout(&socket, direction, Some(PATIENCE))
                .map_err(|errno| ClientError::Connection(Arc::new(errno.into())))?;
        }
        let mut line = Line { socket, buffer: vec![0; MAX_BYTES] };
        line.ask(&Request::Hello)?;
        let Response::Hello(hello) = line.answer()?.0 else { return Err(ClientError::Confused) };
        Ok(Self { hello, waiting: Mutex::default(), line: Mutex::new(line) })
    }

    /// What the relay said of itself.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Changes the table; returns when the changes are in force.
    ///
    /// # Errors
    /// With [`ClientError::Refused`] the changes that it names were not made and all others were.
    pub fn apply(&self, changes: Vec<Change>) -> Result<(), ClientError> {
        let slot = Arc::new(Slot::default());
        lock(&self.waiting).push(Waiting { changes, slot: Arc::clone(&slot) });
        let mut line = lock(&self.line);
        // Whoever had the line before may have taken these changes along.
        if let Some(outcome) = lock(&slot).take() {
            return outcome;
        }
        let batch = std::mem::take(&mut *lock(&self.waiting));
        line.exchange(&batch);
        drop(line);
        lock(&slot).take().unwrap_or(Err(ClientError::Confused))
    }

    /// Says what is in the relay's table.
    pub fn describe(&self) -> Result<Vec<Record>, ClientError> {
        let records = lock(&self.line).records(&Request::Describe { sockets: false })?;
        Ok(records.into_iter().map(|held| held.record).collect())
    }

    /// What was carried through each port that the relay carries, since it began to; nothing from a relay of an
    /// earlier version.
    ///
    /// # Errors
    /// The connection fails.
    pub fn carried(&self) -> Result<Vec<(Protocol, SocketAddr, Carried)>, ClientError> {
        if !self.hello.counts {
            return Ok(Vec::new());
        }
        let mut line = lock(&self.line);
        line.ask(&Request::Carried)?;
        let mut all = Vec::new();
        loop {
            let Response::Carried { ports, last } = line.answer()?.0 else {
                return Err(ClientError::Confused);
            };
            all.extend(ports);
            if last {
                return Ok(all);
            }
        }
    }

    /// Says what is in the relay's table, with duplicates of all sockets.
    pub fn recover(&self) -> Result<Vec<Held>, ClientError> {
        lock(&self.line).records(&Request::Describe { sockets: true })
    }

    /// Takes everything from the relay: from now on it accepts nothing, and it ends with its last
    /// connection or after `limit`.
    pub fn hand_over(&self, limit: Duration) -> Result<Vec<Held>, ClientError> {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        lock(&self.line).records(&Request::HandOver { limit })
    }
}

impl Line {
    /// Gives the connection up: an answer that comes late would be taken for that to another
    /// question.
    fn broken(&self, error: MessageError) -> ClientError {
        // It fails only if the connection is down already.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        ClientError::Connection(Arc::new(error))
    }

    fn ask(&mut self, request: &Request) -> Result<(), ClientError> {
        let bytes = serde_json::to_vec(request).map_err(|error| self.broken(error.into()))?;
        message::send(&self.socket, &bytes, &[]).map_err(|errno| self.broken(errno.into()))
    }

    fn answer(&mut self) -> Result<(Response, Vec<OwnedFd>), ClientError> {
        let (length, sockets) =
            message::receive(&self.socket, &mut self.buffer).map_err(|error| self.broken(error))?;
        let response =
            serde_json::from_slice(&self.buffer[..length]).map_err(|error| self.broken(error.into()))?;
        Ok((response, sockets))
    }

    fn records(&mut self, request: &Request) -> Result<Vec<Held>, ClientError> {
        self.ask(request)?;
        let mut all = Vec::new();
        loop {
            let (response, sockets) = self.answer()?;
            let Response::Records { records, last } = response else { return Err(ClientError::Confused) };
            let mut sockets = sockets.into_iter();
            all.extend(
                records
                    .into_iter()
                    .map(|(record, count)| Held { record, sockets: sockets.by_ref().take(count).collect() }),
            );
            if last {
                return Ok(all);
            }
        }
    }

    /// Sends the changes of all that wait as one batch and gives each its outcome.
    fn exchange(&mut self, batch: &[Waiting]) {
        let outcome = self.send_batch(batch);
        for waiting in batch {
            let own = match &outcome {
                Ok(refusals) => own_outcome(&waiting.changes, refusals),
                Err(ClientError::Connection(source)) => Err(ClientError::Connection(Arc::clone(source))),
                Err(_) => Err(ClientError::Confused),
            };
            *lock(&waiting.slot) = Some(own);
        }
    }

    fn send_batch(&mut self, batch: &[Waiting]) -> Result<Vec<Refusal>, ClientError> {
        let changes: Vec<&Change> = batch.iter().flat_map(|waiting| &waiting.changes).collect();
        let text = |run: &[&Change], last| {
            let changes = run.iter().map(|change| sent(change)).collect();
            serde_json::to_vec(&Request::Change { changes, last })
        };
        message::packets(
            &changes,
            |change| sockets(change).len(),
            text,
            |run, bytes| {
                let sockets: Vec<_> =
                    run.iter().flat_map(|change| sockets(change)).map(|fd| fd.as_fd()).collect();
                Ok(message::send(&self.socket, &bytes, &sockets)?)
            },
        )
        .map_err(|error| self.broken(error))?;
        match self.answer()?.0 {
            Response::Changed(refusals) => Ok(refusals),
            _ => Err(ClientError::Confused),
        }
    }
}

fn sockets(change: &Change) -> &[Arc<OwnedFd>] {
    match change {
        Change::Insert { sockets, .. } => sockets,
        Change::Remove(_) => &[],
    }
}

fn sent(change: &Change) -> SentChange<&Record> {
    match change {
        Change::Insert { record, sockets } => SentChange::Insert(record, sockets.len()),
        Change::Remove(key) => SentChange::Remove(key.clone()),
    }
}

/// The refusals that are about one caller's changes.
fn own_outcome(changes: &[Change], refusals: &[Refusal]) -> Result<(), ClientError> {
    if refusals.is_empty() {
        return Ok(());
    }
    let own: Vec<Refusal> = refusals
        .iter()
        .filter(|refusal| {
            changes.iter().any(|change| match change {
                Change::Insert { record, .. } => record.key() == refusal.key,
                Change::Remove(key) => *key == refusal.key,
            })
        })
        .cloned()
        .collect();
    if own.is_empty() { Ok(()) } else { Err(ClientError::Refused(own)) }
}
