//! The daemon's end of the connection to the relay.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fairway_model::Protocol;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType};
use thiserror::Error;

use crate::message::{self, MAX_BYTES, MessageError, Request, Response, SentChange};
use crate::proof;
use crate::table::{Change, Hello, ProxiedBytes, Record, RecordWithSockets, Refusal};

/// Why the relay did not do what it was asked.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The connection failed; the relay is gone or another daemon has taken its place.
    #[error("the relay does not answer; connect to it again, or start it: {0}")]
    Connection(#[source] Arc<MessageError>),
    /// The relay is there and does not answer, as one that is stopped. What was asked may be done later.
    #[error(
        "the relay does not answer within {} s: it is stopped or hangs: let it go on (kill -CONT), or end it (kill -KILL)",
        .0.as_secs_f32()
    )]
    Timeout(Duration),
    /// More sockets came than this process may have descriptors.
    #[error(
        "too many open files: the relay holds more sockets than this process may open: raise its limit (LimitNOFILE= of its \
         unit, or ulimit -Hn)"
    )]
    Descriptors,
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
    UnexpectedResponse,
}

impl ClientError {
    /// Whether a relay is there, and cannot be used all the same.
    #[must_use]
    pub fn relay_is_alive(&self) -> bool {
        matches!(self, Self::Timeout(_) | Self::Descriptors)
    }
}

/// How long a relay that begins may take to answer, and one that says all that it has, on a busy machine.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);

/// How long a relay may take to answer that has answered before. It never takes more than a moment.
const PATIENCE: Duration = Duration::from_secs(2);

/// How much longer it may take for each record that changes.
const PATIENCE_PER_CHANGE: Duration = Duration::from_millis(1);

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
    patience: Duration,
    /// It was given up, for the relay took too long.
    late: bool,
}

/// A connection to a relay that was asked who it is and has not answered yet.
pub struct PendingConnection(Line);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A caller that panicked left a queue or a buffer, both of which are whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RelayClient {
    /// Connects to the control socket at `path`. The relay drops whichever daemon it had before.
    ///
    /// # Errors
    /// No relay listens there, or none that answers.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        Self::start_connect(path)?.finish()
    }

    /// Connects, and does not wait for the relay to answer.
    ///
    /// # Errors
    /// No relay listens there, or too many wait for it already.
    pub fn start_connect(path: &Path) -> Result<PendingConnection, ClientError> {
        let unreachable = |errno: Errno| ClientError::Unreachable {
            path: path.display().to_string(),
            source: errno.into(),
        };
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(unreachable)?;
        let address = SocketAddrUnix::new(path).map_err(unreachable)?;
        let mut line = Line { socket, buffer: vec![0; MAX_BYTES], patience: Duration::MAX, late: false };
        // A relay that accepts nothing keeps those who connect waiting, too.
        line.wait_at_most(FIRST_PATIENCE)?;
        match rustix::net::connect(&line.socket, &address) {
            Ok(()) => {}
            Err(Errno::AGAIN) => return Err(line.broken(Errno::AGAIN.into())),
            Err(errno) => return Err(unreachable(errno)),
        }
        line.greet()?;
        Ok(PendingConnection(line))
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
        lock(&slot).take().unwrap_or(Err(ClientError::UnexpectedResponse))
    }

    /// Says what is in the relay's table.
    pub fn describe(&self) -> Result<Vec<Record>, ClientError> {
        let records = self.records(&Request::Describe { sockets: false })?;
        Ok(records.into_iter().map(|held| held.record).collect())
    }

    fn records(&self, request: &Request) -> Result<Vec<RecordWithSockets>, ClientError> {
        let mut line = lock(&self.line);
        line.wait_at_most(FIRST_PATIENCE)?;
        line.records(request)
    }

    /// What was carried through each port that the relay carries, since it began to; nothing from a relay of an
    /// earlier version.
    ///
    /// # Errors
    /// The connection fails.
    pub fn proxied_bytes(&self) -> Result<Vec<(Protocol, SocketAddr, ProxiedBytes)>, ClientError> {
        if !self.hello.counts_bytes {
            return Ok(Vec::new());
        }
        let mut line = lock(&self.line);
        line.wait_at_most(PATIENCE)?;
        line.ask(&Request::ProxiedBytes)?;
        let mut all = Vec::new();
        loop {
            let Response::ProxiedBytes { ports, last } = line.answer()?.0 else {
                return Err(ClientError::UnexpectedResponse);
            };
            all.extend(ports);
            if last {
                return Ok(all);
            }
        }
    }

    /// Says what is in the relay's table, with duplicates of all sockets.
    pub fn describe_with_sockets(&self) -> Result<Vec<RecordWithSockets>, ClientError> {
        self.records(&Request::Describe { sockets: true })
    }

    /// Takes everything from the relay: from now on it accepts nothing, and it ends with its last
    /// connection or after `limit`.
    pub fn hand_over(&self, limit: Duration) -> Result<Vec<RecordWithSockets>, ClientError> {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self.records(&Request::HandOver { limit })
    }
}

impl PendingConnection {
    /// Whether the relay has answered or the connection has ended, so that [`Self::finish`] does not wait.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let mut socket = [PollFd::new(&self.0.socket, PollFlags::IN)];
        // An interrupted look is as good as one that came too early.
        poll(&mut socket, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// It does not come, or the connection ends.
    pub fn finish(self) -> Result<RelayClient, ClientError> {
        let mut line = self.0;
        let Response::Hello(hello) = line.answer()?.0 else { return Err(ClientError::UnexpectedResponse) };
        Ok(RelayClient { hello, waiting: Mutex::default(), line: Mutex::new(line) })
    }
}

impl Line {
    /// Gives the connection up: an answer that comes late would be taken for that to another
    /// question.
    fn broken(&mut self, error: MessageError) -> ClientError {
        // It fails only if the connection is down already.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        self.late |= matches!(error, MessageError::Socket(Errno::AGAIN));
        match error {
            _ if self.late => ClientError::Timeout(self.patience),
            MessageError::Descriptors => ClientError::Descriptors,
            error => ClientError::Connection(Arc::new(error)),
        }
    }

    /// Sets how long the relay may take for what it is asked next.
    fn wait_at_most(&mut self, patience: Duration) -> Result<(), ClientError> {
        if self.late || self.patience == patience {
            return Ok(());
        }
        self.patience = patience;
        for direction in [Timeout::Recv, Timeout::Send] {
            sockopt::set_socket_timeout(&self.socket, direction, Some(patience))
                .map_err(|errno| self.broken(errno.into()))?;
        }
        Ok(())
    }

    /// Asks the relay who it is, and shows it that a daemon asks.
    fn greet(&mut self) -> Result<(), ClientError> {
        let proof = proof::open().map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            self.broken(errno.into())
        })?;
        self.send(&Request::Hello, &[proof.as_fd()])
    }

    fn ask(&mut self, request: &Request) -> Result<(), ClientError> {
        self.send(request, &[])
    }

    fn send(&mut self, request: &Request, files: &[BorrowedFd<'_>]) -> Result<(), ClientError> {
        let bytes = serde_json::to_vec(request).map_err(|error| self.broken(error.into()))?;
        message::send(&self.socket, &bytes, files).map_err(|errno| self.broken(errno.into()))
    }

    fn answer(&mut self) -> Result<(Response, Vec<OwnedFd>), ClientError> {
        let (length, sockets) =
            message::receive(&self.socket, &mut self.buffer).map_err(|error| self.broken(error))?;
        let response = serde_json::from_slice(self.buffer.get(..length).unwrap_or_default())
            .map_err(|error| self.broken(error.into()))?;
        Ok((response, sockets))
    }

    fn records(&mut self, request: &Request) -> Result<Vec<RecordWithSockets>, ClientError> {
        self.ask(request)?;
        let mut all = Vec::new();
        loop {
            let (response, sockets) = self.answer()?;
            let Response::Records { records, last } = response else {
                return Err(ClientError::UnexpectedResponse);
            };
            let mut sockets = sockets.into_iter();
            all.extend(records.into_iter().map(|(record, count)| RecordWithSockets {
                record,
                sockets: sockets.by_ref().take(count).collect(),
            }));
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
                Err(ClientError::Timeout(patience)) => Err(ClientError::Timeout(*patience)),
                Err(_) => Err(ClientError::UnexpectedResponse),
            };
            *lock(&waiting.slot) = Some(own);
        }
    }

    fn send_batch(&mut self, batch: &[Waiting]) -> Result<Vec<Refusal>, ClientError> {
        let changes: Vec<&Change> = batch.iter().flat_map(|waiting| &waiting.changes).collect();
        let many = u32::try_from(changes.len() / 1024 * 1024).unwrap_or(u32::MAX);
        self.wait_at_most(PATIENCE + PATIENCE_PER_CHANGE * many)?;
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
            _ => Err(ClientError::UnexpectedResponse),
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
