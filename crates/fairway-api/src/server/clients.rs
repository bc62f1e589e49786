//! Limits of the daemon's clients: connections, memory for request bodies, and streams.
//!
//! When a limit is reached, the client that uses most gives way: its connection, body or stream is closed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fairway_core::world::Requester;
use fairway_inspect::metrics::ApiMeasurements;
use tokio::net::UnixStream;
use tokio::sync::Notify;

use super::shares::{Answer, Holder, Shares};
use crate::engine_api::{Failure, FailureKind};

/// How often it is checked whether requests are still performed.
const GLANCE: Duration = Duration::from_millis(5);

/// The limits of all clients together. When one is reached, the client that uses most gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The number of connections.
    pub connections: usize,
    /// How many of the connections are reserved for root.
    pub root_connections: usize,
    /// The memory for bodies of requests in progress, in bytes.
    pub bodies: usize,
    /// The number of streams of events and packets, and of output and input of containers.
    pub streams: usize,
    /// How long a client may take to send the head of a request, and its body.
    pub reading: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            root_connections: 64,
            bodies: 32 << 20,
            streams: 256,
            reading: Duration::from_secs(30),
        }
    }
}

/// The activity of a connection, in the order in which connections are closed for another client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Activity {
    /// The connection is between two requests.
    Idle,
    /// The client is sending a request.
    Reading,
    /// The reply waits for an event, a packet, or the end of a process.
    Waiting,
    /// The daemon performs a request. The connection is not closed for another client.
    Working,
}

/// The state of an open connection.
#[derive(Debug)]
struct Open {
    activity: Activity,
    since: Instant,
    close: Arc<Notify>,
    /// Whether the body that is being read must be dropped.
    drops_body: bool,
    body_dropped: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    connections: Shares,
    bodies: Shares,
    streams: Shares,
    open: BTreeMap<Holder, Open>,
    next: u64,
    begun: u64,
    /// How many replies were sent, by HTTP status.
    replies: BTreeMap<u16, u64>,
}

impl State {
    /// Sets the activity of a connection.
    fn set_activity(&mut self, holder: Holder, activity: Activity) {
        let Some(open) = self.open.get_mut(&holder) else { return };
        if open.activity == Activity::Idle && activity != Activity::Idle {
            self.begun += 1;
        }
        (open.activity, open.since, open.drops_body) = (activity, Instant::now(), false);
    }

    /// Closes the first connection of `victims` by activity and age; returns whether `may` allowed one.
    fn close_one(&mut self, victims: &[Holder], may: impl Fn(Activity) -> bool) -> bool {
        let open = victims.iter().filter_map(|holder| Some((*holder, self.open.get(holder)?)));
        let spared = open.filter(|(_, open)| may(open.activity));
        let victim = spared.min_by_key(|(_, open)| (open.activity, open.since)).map(|(holder, _)| holder);
        victim.is_some_and(|victim| {
            self.forget(victim);
            true
        })
    }

    /// Closes a connection, and releases its shares of connections and streams.
    fn forget(&mut self, holder: Holder) {
        if let Some(open) = self.open.remove(&holder) {
            open.close.notify_one();
            self.connections.release(holder);
            self.streams.release(holder);
        }
    }
}

/// The requests of all clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Requests {
    /// How many have begun since the server started.
    pub begun: u64,
    /// How many of them have no complete reply.
    pub in_progress: usize,
}

/// All connections of the server, with their limits.
#[derive(Debug, Clone)]
pub struct Clients {
    limits: Limits,
    state: Arc<Mutex<State>>,
}

fn refused(what: &str) -> Failure {
    let message = format!("too many {what}: close some, or try again later");
    Failure::new(FailureKind::Unavailable, message)
}

impl Clients {
    /// No connections yet.
    pub fn new(limits: Limits) -> Self {
        let state = State {
            connections: Shares::new(limits.connections, limits.root_connections),
            bodies: Shares::new(limits.bodies, 0),
            streams: Shares::new(limits.streams, 0),
            open: BTreeMap::new(),
            next: 0,
            begun: 0,
            replies: BTreeMap::new(),
        };
        Self { limits, state: Arc::new(Mutex::new(state)) }
    }

    /// The requests until now. One of which no byte was read is not among them.
    pub fn requests(&self) -> Requests {
        let state = self.lock();
        let in_progress = state.open.values().filter(|open| open.activity != Activity::Idle).count();
        Requests { begun: state.begun, in_progress }
    }

    /// Returns when no request is being performed, and the replies are handed to the connections.
    pub(super) async fn finish_work(&self) {
        let works = || self.lock().open.values().any(|open| open.activity == Activity::Working);
        while works() {
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// What metrics say of the clients.
    pub(super) fn measurements(&self) -> ApiMeasurements {
        let in_progress = self.requests().in_progress;
        let state = self.lock();
        ApiMeasurements {
            replies: state.replies.clone(),
            in_progress,
            connections: state.open.len(),
            connections_limit: self.limits.connections,
        }
    }

    /// How long a client may take to send the head of a request, and its body.
    pub(super) fn reading(&self) -> Duration {
        self.limits.reading
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits a connection. If needed, closes one of a client with more connections, or an idle one of the same process.
    ///
    /// # Errors
    /// There are too many connections.
    pub(super) fn admit(&self, stream: &UnixStream) -> Result<Connection, Failure> {
        let peer = stream.peer_cred().ok();
        let mut state = self.lock();
        state.next += 1;
        let holder = Holder {
            user: peer.as_ref().map_or(u32::MAX, |peer| peer.uid()),
            process: peer.and_then(|peer| peer.pid()).unwrap_or(0),
            connection: state.next,
        };
        while let Answer::After(victims) = state.connections.ask(holder, 1) {
            let own = |other: &&Holder| (other.user, other.process) == (holder.user, holder.process);
            let own: Vec<Holder> = state.open.keys().filter(own).copied().collect();
            if !state.close_one(&victims, |activity| activity != Activity::Working)
                && !state.close_one(&own, |activity| activity == Activity::Idle)
            {
                return Err(refused("connections to the daemon"));
            }
        }
        state.connections.take(holder, 1);
        let (close, body_dropped) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let open = Open {
            activity: Activity::Idle,
            since: Instant::now(),
            close: Arc::clone(&close),
            drops_body: false,
            body_dropped: Arc::clone(&body_dropped),
        };
        state.open.insert(holder, open);
        Ok(Connection {
            clients: self.clone(),
            holder,
            close,
            body_dropped,
            large_body: AtomicBool::new(false),
        })
    }

    /// Closes the connections whose client takes too long to send a request.
    pub(super) fn close_slow(&self) {
        let reading = self.limits.reading;
        self.close_all(|open| open.activity == Activity::Reading && open.since.elapsed() > reading);
    }

    /// Closes the idle connections.
    pub(super) fn close_idle(&self) {
        self.close_all(|open| open.activity == Activity::Idle);
    }

    fn close_all(&self, which: impl Fn(&Open) -> bool) {
        let mut state = self.lock();
        let found: Vec<Holder> =
            state.open.iter().filter(|(_, open)| which(open)).map(|(holder, _)| *holder).collect();
        found.into_iter().for_each(|holder| state.forget(holder));
    }
}

/// A client's connection; dropping it releases its shares.
#[derive(Debug)]
pub(super) struct Connection {
    clients: Clients,
    holder: Holder,
    close: Arc<Notify>,
    body_dropped: Arc<Notify>,
    large_body: AtomicBool,
}

impl Connection {
    /// The process at the other end; none if the kernel does not name it.
    pub fn requester(&self) -> Option<Requester> {
        let Holder { user, process, .. } = self.holder;
        let pid = u32::try_from(process).unwrap_or_default();
        (user != u32::MAX).then_some(Requester { uid: user, pid })
    }

    /// Records that a large body was read.
    pub fn note_large_body(&self) {
        self.large_body.store(true, Ordering::Relaxed);
    }

    /// Whether a large body was read since the last call.
    pub fn take_large_body(&self) -> bool {
        self.large_body.swap(false, Ordering::Relaxed)
    }

    /// Returns when the connection must be closed.
    pub async fn closed(&self) {
        self.close.notified().await;
    }

    /// Returns when the body that is being read must be dropped.
    pub async fn body_dropped(&self) {
        let drops = || self.clients.lock().open.get(&self.holder).is_none_or(|open| open.drops_body);
        while !drops() {
            self.body_dropped.notified().await;
        }
    }

    /// How long a client may take to send the head of a request, and its body.
    pub fn reading(&self) -> Duration {
        self.clients.reading()
    }

    /// Sets the activity of the connection.
    pub fn set_activity(&self, activity: Activity) {
        self.clients.lock().set_activity(self.holder, activity);
    }

    /// Counts a reply with this HTTP status.
    pub fn count_reply(&self, status: u16) {
        *self.clients.lock().replies.entry(status).or_default() += 1;
    }

    /// Records that bytes were read: an idle connection begins to read a request.
    pub fn has_read(&self) {
        let mut state = self.clients.lock();
        if state.open.get(&self.holder).is_some_and(|open| open.activity == Activity::Idle) {
            state.set_activity(self.holder, Activity::Reading);
        }
    }

    /// Takes memory for `bytes` more of a body; drops the body of a client with more memory if needed.
    ///
    /// # Errors
    /// There is not enough memory.
    pub fn take_body(&self, bytes: usize) -> Result<(), Failure> {
        let mut state = self.clients.lock();
        while let Answer::After(victims) = state.bodies.ask(self.holder, bytes) {
            let is_read = |holder: &&Holder| {
                state.open.get(holder).is_some_and(|open| open.activity == Activity::Reading)
            };
            let Some(victim) = victims.iter().find(is_read).copied() else {
                return Err(refused("bytes in requests in progress"));
            };
            if let Some(open) = state.open.get_mut(&victim) {
                open.drops_body = true;
                open.body_dropped.notify_one();
            }
            state.bodies.release(victim);
        }
        state.bodies.take(self.holder, bytes);
        Ok(())
    }

    /// Releases the memory of the body.
    pub fn release_body(&self) {
        self.clients.lock().bodies.release(self.holder);
    }

    /// Takes a stream; ends one of a client with more streams if needed.
    ///
    /// # Errors
    /// There are too many streams.
    pub fn take_stream(&self) -> Result<(), Failure> {
        let mut state = self.clients.lock();
        while let Answer::After(victims) = state.streams.ask(self.holder, 1) {
            if !state.close_one(&victims, |activity| activity == Activity::Waiting) {
                return Err(refused("streams of events, packets and containers"));
            }
        }
        state.streams.take(self.holder, 1);
        Ok(())
    }

    /// Records that the reply was sent, and releases the stream.
    pub fn is_idle(&self) {
        self.clients.lock().streams.release(self.holder);
        self.set_activity(Activity::Idle);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut state = self.clients.lock();
        state.forget(self.holder);
        state.bodies.release(self.holder);
    }
}
