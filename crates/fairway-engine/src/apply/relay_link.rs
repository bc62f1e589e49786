//! The connection to the relay: finds a running relay, or starts one.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use fairway_core::traffic::RelayCounters;
use fairway_kernel::process::{self, Process};
use fairway_kernel::unix_socket;
use fairway_model::Protocol;
use fairway_relay::client::{ClientError, PendingConnection, RelayClient};
use fairway_relay::table::{Change, Hello, ProxiedBytes, Record, RecordKey, RecordWithSockets};
use rustix::net::SocketType;
use rustix::process::{Resource, getrlimit};

use super::former_relays::{FormerRelays, is_relay};
use crate::ApplyError;
use crate::port_sockets::SPARE_DESCRIPTORS;

/// How long a replaced relay may keep its open connections.
const DRAINING: Duration = Duration::from_secs(24 * 3600);

/// Starts a relay that serves a listening socket. The program gives it: only the program knows how to run itself as a
/// relay.
pub type StartRelay = Box<dyn Fn(OwnedFd) -> io::Result<()> + Send + Sync>;

/// The connection to the relay.
pub(crate) struct RelayLink {
    path: PathBuf,
    start: StartRelay,
    client: RwLock<Arc<RelayClient>>,
    /// The pending connection to a relay that does not answer.
    awaited: Mutex<Option<PendingConnection>>,
    /// Whether the relay was started for an engine that has not started yet.
    is_new: AtomicBool,
}

/// Whether the relay answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// The relay answers.
    Answers,
    /// The relay has just stopped answering.
    Late,
    /// The relay still does not answer.
    Awaited,
    /// The relay answers again; the changes meanwhile have to be sent.
    Back,
    /// The relay has ended.
    Gone,
}

impl RelayLink {
    /// Connects to the relay of the daemon before, or starts one. One that is replaced is recorded. Returns the records
    /// that the relay has, with duplicates of their sockets.
    ///
    /// # Errors
    /// A relay runs and its sockets cannot be adopted: it does not answer, or it has more of them than this process may
    /// have descriptors. Another relay would find all its ports in use.
    pub fn find_or_start(
        path: PathBuf,
        former: &FormerRelays,
        start: StartRelay,
    ) -> Result<(Self, Vec<RecordWithSockets>), ApplyError> {
        let found = RelayClient::connect(&path).and_then(|client| match client.describe_with_sockets() {
            Err(error) if !error.relay_is_alive() => {
                kill(client.hello().pid);
                Err(error)
            }
            described => described.map(|held| (client, held)),
        });
        let mut is_new = false;
        let (client, held) = match found {
            Ok((_, held)) if !fits(&held) => {
                return Err(ApplyError::TakeOver { path, error: ClientError::Descriptors });
            }
            Ok((client, held)) if is_current(client.hello()) => (client, held),
            Ok((earlier, held)) => {
                drop(held);
                let taken_over = replace(&earlier, &path, &start)?;
                former.record(earlier.hello().pid);
                taken_over
            }
            Err(error) if error.relay_is_alive() => return Err(ApplyError::TakeOver { path, error }),
            Err(reason) => {
                tracing::debug!(%reason, "starting a relay: found none to adopt: {reason}");
                is_new = true;
                (start_at(&path, &start)?, Vec::new())
            }
        };
        let client = RwLock::new(Arc::new(client));
        let is_new = AtomicBool::new(is_new);
        Ok((Self { path, start, client, awaited: Mutex::default(), is_new }, held))
    }

    /// Checks whether the relay answers. A relay that did not is asked again each time.
    pub fn look(&self) -> Health {
        match self.client().apply(Vec::new()) {
            Err(ClientError::Timeout(_)) => {}
            Err(ClientError::Connection(_)) => return Health::Gone,
            _ => return Health::Answers,
        }
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = match awaited.take() {
            Some(waiting) if !waiting.is_ready() => {
                *awaited = Some(waiting);
                return Health::Awaited;
            }
            Some(waiting) => waiting.finish().map(|client| {
                *self.client.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(client);
                Health::Back
            }),
            None => RelayClient::start_connect(&self.path).map(|waiting| {
                *awaited = Some(waiting);
                Health::Late
            }),
        };
        match outcome {
            Ok(health) => health,
            Err(ClientError::Connection(_) | ClientError::Unreachable { .. }) => Health::Gone,
            Err(_) => Health::Awaited,
        }
    }

    /// Sends the records of `desired` to a relay that answers again, and removes its other records. Other callers wait
    /// until that is done.
    pub fn catch_up(&self, desired: impl FnOnce() -> Vec<Change>) -> Result<(), ApplyError> {
        let client = self.client.write().unwrap_or_else(PoisonError::into_inner);
        catch_up(&client, desired())
    }

    /// Applies changes to the relay's table.
    pub fn apply(&self, changes: Vec<Change>) -> Result<(), ClientError> {
        self.client().apply(changes)
    }

    /// The bytes that the relay carried through each port.
    pub fn carried(&self) -> Result<Vec<(Protocol, SocketAddr, ProxiedBytes)>, ClientError> {
        self.client().proxied_bytes()
    }

    /// What the relay counts; none from one of an earlier version.
    pub fn counters(&self) -> Result<Option<RelayCounters>, ClientError> {
        self.client().counters()
    }

    /// The version, process and confinement of the relay.
    pub fn hello(&self) -> Hello {
        self.client().hello().clone()
    }

    /// Whether the relay answers.
    pub fn answers(&self) -> bool {
        self.client().apply(Vec::new()).is_ok()
    }

    /// Connects to the relay again, or starts another one if it has ended, and sends it the records of `desired`. Other
    /// callers wait until that is done.
    ///
    /// # Errors
    /// The relay runs and does not answer, no other one can be started, or it refuses records.
    pub fn restart(&self, desired: impl FnOnce() -> Vec<Change>) -> Result<(), ApplyError> {
        let mut client = self.client.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have restarted the relay already.
        if client.apply(Vec::new()).is_err() {
            // A relay outlives its connection, and carries those of the clients.
            let next = match RelayClient::connect(&self.path) {
                Err(error) if !error.relay_is_alive() => {
                    kill(client.hello().pid);
                    start_at(&self.path, &self.start)?
                }
                connected => connected?,
            };
            *client = Arc::new(next);
            *self.awaited.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        catch_up(&client, desired())
    }

    /// Kills the relay, if its process exists.
    pub fn kill(&self) {
        kill(self.hello().pid);
    }

    /// Ends the relay, with all connections that it carries.
    pub fn end(&self) {
        self.keep();
        if let Err(error) = self.client().hand_over(Duration::ZERO) {
            tracing::debug!(%error, "failed to end the relay: {error}");
        }
    }

    /// Has [`RelayLink::end_new`] keep the relay from now on: the engine has started.
    pub fn keep(&self) {
        self.is_new.store(false, Ordering::Relaxed);
    }

    /// Ends a relay that was started for an engine that does not start.
    pub fn end_new(&self) {
        if self.is_new.load(Ordering::Relaxed) {
            self.end();
            let _ = std::fs::remove_file(&self.path);
        }
    }

    fn client(&self) -> Arc<RelayClient> {
        Arc::clone(&self.client.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for RelayLink {
    fn drop(&mut self) {
        self.end_new();
    }
}

/// Inserts records by `changes`, and removes all others.
fn catch_up(client: &RelayClient, mut changes: Vec<Change>) -> Result<(), ApplyError> {
    let known = client.describe()?;
    let kept: HashSet<RecordKey> = changes.iter().filter_map(Change::inserted).collect();
    let gone = known.into_iter().map(|record| record.key()).filter(|key| !kept.contains(key));
    changes.extend(gone.map(Change::Remove));
    Ok(client.apply(changes)?)
}

/// Kills a relay that cannot be reached: with its sockets it would take clients from the next one.
fn kill(pid: u32) {
    // The pid is the one in the relay's own pid namespace, where it may be that of another process.
    if !is_relay(pid) {
        return;
    }
    if let Err(error) = process::identity(pid).and_then(Process::open).and_then(|relay| relay.kill()) {
        tracing::debug!(%error, pid, "failed to kill the relay (process {pid}): {error}");
    }
}

/// Whether the sockets of a relay leave enough descriptors for everything else.
fn fits(held: &[RecordWithSockets]) -> bool {
    let sockets: usize = held.iter().map(|held| held.sockets.len()).sum();
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    u64::try_from(sockets).unwrap_or(u64::MAX).saturating_add(SPARE_DESCRIPTORS) <= limit
}

/// Whether a relay is of this version. One of version 0.1.0 that queries name servers from the host's namespace, whatever
/// the sandbox may reach, is not.
fn is_current(hello: &Hello) -> bool {
    hello.version == fairway_relay::VERSION && hello.queries_from_sandbox
}

/// Replaces a relay of another version, which keeps its open connections.
fn replace(
    earlier: &RelayClient,
    path: &Path,
    start: &StartRelay,
) -> Result<(RelayClient, Vec<RecordWithSockets>), ApplyError> {
    let version = earlier.hello().version.as_str();
    tracing::info!(version, "replacing the relay of version {version}, which keeps its open connections");
    let held = earlier.hand_over(DRAINING);
    let held = held.map_err(|error| ApplyError::TakeOver { path: path.to_owned(), error })?;
    let client = start_at(path, start)?;
    let shared = held.into_iter().map(|held| (held.record, held.sockets.into_iter().map(Arc::new).collect()));
    let shared: Vec<(Record, Vec<Arc<OwnedFd>>)> = shared.collect();
    let changes = shared.iter().cloned().map(|(record, sockets)| Change::Insert { record, sockets });
    client.apply(changes.collect())?;
    let kept = |(record, sockets): (Record, Vec<Arc<OwnedFd>>)| RecordWithSockets {
        record,
        // They were sent: this process has the only other reference.
        sockets: sockets.into_iter().filter_map(Arc::into_inner).collect(),
    };
    Ok((client, shared.into_iter().map(kept).collect()))
}

fn start_at(path: &Path, start: &StartRelay) -> Result<RelayClient, ApplyError> {
    let listener = listen(path).map_err(ApplyError::StartRelay)?;
    start(listener).map_err(ApplyError::StartRelay)?;
    Ok(RelayClient::connect(path)?)
}

/// Listens on the control socket, to which only the daemon's own user may connect.
fn listen(path: &Path) -> io::Result<OwnedFd> {
    let socket = unix_socket::listen(path, SocketType::SEQPACKET, 0o600, 4)?;
    tracing::debug!(descriptor = socket.as_raw_fd(), "listening on the control socket of the relay");
    Ok(socket)
}

#[cfg(test)]
mod tests;
