//! The daemon's end of the connection to the relay.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fairway_core::traffic::RelayCounters;
use fairway_model::Protocol;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType};
use thiserror::Error;

use crate::message::{self, MAX_BYTES, MessageError, Request, Response, SentChange};
use crate::proof;
use crate::table::{Change, Hello, ProxiedBytes, Record, RecordWithSockets, Refusal};

/// Why a request to the relay failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The connection failed: the relay has ended, or another daemon has connected.
    #[error("the relay does not answer; connect to it again, or start it: {0}")]
    Connection(#[source] Arc<MessageError>),
    /// The relay is alive and does not answer, as when it is stopped. It may execute the request later.
    #[error(
        "the relay does not answer within {} s: it is stopped or hangs: let it go on (kill -CONT), or end it (kill -KILL)",
        .0.as_secs_f32()
    )]
    Timeout(Duration),
    /// The relay has more sockets than this process may have descriptors.
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
    /// The relay refused some changes; the others are in force.
    #[error("the relay refused {}: {}", .0.first().map(|r| r.key.to_string()).unwrap_or_default(), .0.first().map(|r| r.reason.as_str()).unwrap_or_default())]
    Refused(Vec<Refusal>),
    /// The relay's response does not fit the request.
    #[error("cannot understand the relay's response: its version is too different: restart the relay")]
    UnexpectedResponse,
}

impl ClientError {
    /// Whether the relay is alive but cannot be used now.
    #[must_use]
    pub fn relay_is_alive(&self) -> bool {
        matches!(self, Self::Timeout(_) | Self::Descriptors)
    }
}

/// The timeout for a starting relay, and for one that describes its whole table, on a busy machine.
const FIRST_TIMEOUT: Duration = Duration::from_secs(10);

/// The timeout for a relay that has answered before; it normally takes milliseconds.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The addition to the timeout for each changed record.
const TIMEOUT_PER_CHANGE: Duration = Duration::from_millis(1);

/// The outcome of a caller's changes, once it is known.
type Slot = Mutex<Option<Result<(), ClientError>>>;

struct QueuedChanges {
    changes: Vec<Change>,
    slot: Arc<Slot>,
}

/// A connection to the relay, for many threads: changes that are made at the same time are sent as one batch.
pub struct RelayClient {
    hello: Hello,
    waiting: Mutex<Vec<QueuedChanges>>,
    connection: Mutex<Connection>,
}

/// The socket and a buffer for answers.
struct Connection {
    socket: OwnedFd,
    buffer: Vec<u8>,
    timeout: Duration,
    /// The connection was closed because the relay took too long.
    late: bool,
}

/// A connection to a relay that has not answered the `Hello` yet.
pub struct PendingConnection(Connection);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // After a panic the queue and the buffer are still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RelayClient {
    /// Connects to the control socket at `path`. The relay drops its former daemon.
    ///
    /// # Errors
    /// No relay listens at `path`, or it does not answer.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        Self::start_connect(path)?.finish()
    }

    /// Connects without waiting for the relay's answer.
    ///
    /// # Errors
    /// No relay listens at `path`, or too many connections wait already.
    pub fn start_connect(path: &Path) -> Result<PendingConnection, ClientError> {
        let unreachable = |errno: Errno| ClientError::Unreachable {
            path: path.display().to_string(),
            source: errno.into(),
        };
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(unreachable)?;
        let address = SocketAddrUnix::new(path).map_err(unreachable)?;
        let mut connection = Connection::new(socket);
        // Connecting blocks too if the relay accepts nothing.
        connection.set_timeout(FIRST_TIMEOUT)?;
        match rustix::net::connect(&connection.socket, &address) {
            Ok(()) => {}
            Err(Errno::AGAIN) => return Err(connection.broken(Errno::AGAIN.into())),
            Err(errno) => return Err(unreachable(errno)),
        }
        connection.greet()?;
        Ok(PendingConnection(connection))
    }

    /// Greets the relay at the other end of a connected socket, which then ends with this client.
    ///
    /// # Errors
    /// The relay does not answer.
    pub fn greet(socket: OwnedFd) -> Result<Self, ClientError> {
        let mut connection = Connection::new(socket);
        connection.set_timeout(FIRST_TIMEOUT)?;
        connection.greet()?;
        PendingConnection(connection).finish()
    }

    /// The relay's description of itself.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Changes the table; returns when the changes are in force.
    ///
    /// # Errors
    /// With [`ClientError::Refused`] the changes that it names were not made and all others were.
    pub fn apply(&self, changes: Vec<Change>) -> Result<(), ClientError> {
        let slot = Arc::new(Slot::default());
        lock(&self.waiting).push(QueuedChanges { changes, slot: Arc::clone(&slot) });
        let mut connection = lock(&self.connection);
        // The thread that held the connection before may have sent these changes.
        if let Some(outcome) = lock(&slot).take() {
            return outcome;
        }
        let batch = std::mem::take(&mut *lock(&self.waiting));
        connection.exchange(&batch);
        drop(connection);
        lock(&slot).take().unwrap_or(Err(ClientError::UnexpectedResponse))
    }

    /// Reads the relay's table.
    pub fn describe(&self) -> Result<Vec<Record>, ClientError> {
        let records = self.records(&Request::Describe { sockets: false })?;
        Ok(records.into_iter().map(|held| held.record).collect())
    }

    fn records(&self, request: &Request) -> Result<Vec<RecordWithSockets>, ClientError> {
        let mut connection = lock(&self.connection);
        connection.set_timeout(FIRST_TIMEOUT)?;
        connection.records(request)
    }

    /// Reads the number of bytes proxied through each port since it was opened; empty from a relay of an earlier
    /// version.
    ///
    /// # Errors
    /// The connection fails.
    pub fn proxied_bytes(&self) -> Result<Vec<(Protocol, SocketAddr, ProxiedBytes)>, ClientError> {
        if !self.hello.counts_bytes {
            return Ok(Vec::new());
        }
        let mut connection = lock(&self.connection);
        connection.set_timeout(TIMEOUT)?;
        connection.request(&Request::ProxiedBytes)?;
        let mut all = Vec::new();
        loop {
            let Response::ProxiedBytes { ports, last } = connection.answer()?.0 else {
                return Err(connection.unexpected());
            };
            all.extend(ports);
            if last {
                return Ok(all);
            }
        }
    }

    /// Reads what the relay counts; none from a relay of an earlier version.
    ///
    /// # Errors
    /// The connection fails.
    pub fn counters(&self) -> Result<Option<RelayCounters>, ClientError> {
        if !self.hello.has_counters {
            return Ok(None);
        }
        let mut connection = lock(&self.connection);
        connection.set_timeout(TIMEOUT)?;
        connection.request(&Request::Counters)?;
        match connection.answer()?.0 {
            Response::Counters(counters) => Ok(Some(counters)),
            _ => Err(connection.unexpected()),
        }
    }

    /// Reads the relay's table with duplicates of all sockets.
    pub fn describe_with_sockets(&self) -> Result<Vec<RecordWithSockets>, ClientError> {
        self.records(&Request::Describe { sockets: true })
    }

    /// Takes all records and sockets from the relay. It accepts nothing from then on, and exits with its last
    /// connection or after `limit`.
    pub fn hand_over(&self, limit: Duration) -> Result<Vec<RecordWithSockets>, ClientError> {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self.records(&Request::HandOver { limit })
    }
}

impl PendingConnection {
    /// Whether [`Self::finish`] returns at once: the relay has answered or the connection has ended.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let mut socket = [PollFd::new(&self.0.socket, PollFlags::IN)];
        // Interrupted: reported as not ready.
        poll(&mut socket, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// The relay does not answer, or the connection ends.
    pub fn finish(self) -> Result<RelayClient, ClientError> {
        let mut connection = self.0;
        let Response::Hello(hello) = connection.answer()?.0 else {
            return Err(ClientError::UnexpectedResponse);
        };
        Ok(RelayClient { hello, waiting: Mutex::default(), connection: Mutex::new(connection) })
    }
}

impl Connection {
    fn new(socket: OwnedFd) -> Self {
        Self { socket, buffer: vec![0; MAX_BYTES], timeout: Duration::MAX, late: false }
    }

    /// Closes the connection: a late answer would be taken for the answer to the next request.
    fn broken(&mut self, error: MessageError) -> ClientError {
        // This fails only if the connection is down already.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        self.late |= matches!(error, MessageError::Socket(Errno::AGAIN));
        match error {
            _ if self.late => ClientError::Timeout(self.timeout),
            MessageError::Descriptors => ClientError::Descriptors,
            error => ClientError::Connection(Arc::new(error)),
        }
    }

    /// Closes the connection after a response that does not fit its request: the next one would not fit either.
    fn unexpected(&mut self) -> ClientError {
        // This fails only if the connection is down already.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
        ClientError::UnexpectedResponse
    }

    /// Sets the timeout of the next request.
    fn set_timeout(&mut self, timeout: Duration) -> Result<(), ClientError> {
        if self.late || self.timeout == timeout {
            return Ok(());
        }
        self.timeout = timeout;
        for direction in [Timeout::Recv, Timeout::Send] {
            sockopt::set_socket_timeout(&self.socket, direction, Some(timeout))
                .map_err(|errno| self.broken(errno.into()))?;
        }
        Ok(())
    }

    /// Sends `Hello` with the proof that a daemon sent it.
    fn greet(&mut self) -> Result<(), ClientError> {
        let proof = proof::open().map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            self.broken(errno.into())
        })?;
        self.send(&Request::Hello, &[proof.as_fd()])
    }

    fn request(&mut self, request: &Request) -> Result<(), ClientError> {
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
        self.request(request)?;
        let mut all = Vec::new();
        loop {
            let (response, sockets) = self.answer()?;
            let Response::Records { records, last } = response else {
                return Err(self.unexpected());
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

    /// Sends the changes of all waiting callers as one batch and gives each its outcome.
    fn exchange(&mut self, batch: &[QueuedChanges]) {
        let outcome = self.send_batch(batch);
        for waiting in batch {
            let own = match &outcome {
                Ok(refusals) => own_outcome(&waiting.changes, refusals),
                Err(ClientError::Connection(source)) => Err(ClientError::Connection(Arc::clone(source))),
                Err(ClientError::Timeout(timeout)) => Err(ClientError::Timeout(*timeout)),
                Err(_) => Err(ClientError::UnexpectedResponse),
            };
            *lock(&waiting.slot) = Some(own);
        }
    }

    fn send_batch(&mut self, batch: &[QueuedChanges]) -> Result<Vec<Refusal>, ClientError> {
        let changes: Vec<&Change> = batch.iter().flat_map(|waiting| &waiting.changes).collect();
        let many = u32::try_from(changes.len() / 1024 * 1024).unwrap_or(u32::MAX);
        self.set_timeout(TIMEOUT + TIMEOUT_PER_CHANGE * many)?;
        let text = |run: &[&Change], last| {
            let changes = run.iter().map(|change| sent(change)).collect();
            serde_json::to_vec(&Request::Change { changes, last })
        };
        let too_long = message::packets(
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
        let mut refusals: Vec<_> = too_long.into_iter().map(|change| refusal_of_length(change)).collect();
        loop {
            match self.answer()?.0 {
                Response::Refused(more) => refusals.extend(more),
                Response::Changed(last) => {
                    refusals.extend(last);
                    return Ok(refusals);
                }
                _ => return Err(self.unexpected()),
            }
        }
    }
}

/// The refusal of a change that is not sent, since no message can hold it.
fn refusal_of_length(change: &Change) -> Refusal {
    let reason =
        format!("its text is longer than a message to the relay may be ({MAX_BYTES} bytes): shorten it");
    Refusal { key: change.key(), reason }
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

/// The outcome of one caller's changes, from the refusals of the whole batch.
fn own_outcome(changes: &[Change], refusals: &[Refusal]) -> Result<(), ClientError> {
    if refusals.is_empty() {
        return Ok(());
    }
    let own: Vec<Refusal> = refusals
        .iter()
        .filter(|refusal| changes.iter().any(|change| change.key() == refusal.key))
        .cloned()
        .collect();
    if own.is_empty() { Ok(()) } else { Err(ClientError::Refused(own)) }
}
