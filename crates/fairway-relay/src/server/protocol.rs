//! The relay's side of the protocol between daemon and relay: the control socket, requests and responses.

use std::collections::VecDeque;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use fairway_core::traffic::RelayCounters;
use fairway_model::{Protocol, SandboxId};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::SocketFlags;
use std::net::SocketAddr;

use super::Relay;
use crate::confine::Confinement;
use crate::message::{self, MAX_BYTES, MessageError, Request, Response, SentChange};
use crate::poll::{Kind, Poller, READ, Token};
use crate::proof::Proof;
use crate::slab::SlabKey;
use crate::table::{Hello, OUTGOING_SOCKETS, Record, RecordKey, Refusal};

/// The slab key of sockets that exist once.
const ONLY: SlabKey = SlabKey { slot: 0, generation: 0 };

/// How many messages of the daemon are read before other sockets get their turn.
const MESSAGES_PER_TURN: usize = 16;

/// The most connections that may wait before they prove that a daemon made them.
const MAX_PENDING: usize = 16;

/// Reserve descriptors for a daemon that connects when none are free: for its connection and its proof.
const SPARE_DESCRIPTORS: usize = 2;

/// The record whose sockets are sent with an answer.
#[derive(Debug, Clone, Copy)]
enum AttachedSockets {
    Port(Protocol, SocketAddr),
    Resolver(SandboxId),
    SharedResolver(SocketAddr),
}

/// A queued answer. Its sockets are looked up when it is sent: duplicates would double the number of descriptors.
struct Answer {
    bytes: Vec<u8>,
    attached: Vec<AttachedSockets>,
}

/// The daemon's connection.
struct Daemon {
    socket: OwnedFd,
    /// The key that keeps this connection's events apart from those of earlier connections.
    place: SlabKey,
    /// The parts of an incomplete batch.
    batch: Vec<(SentChange, Vec<OwnedFd>)>,
    answers: VecDeque<Answer>,
    /// The daemon did not take all answers: wait until its socket is writable.
    blocked: bool,
}

impl Daemon {
    fn new(socket: OwnedFd, place: SlabKey) -> Self {
        Self { socket, place, batch: Vec::new(), answers: VecDeque::new(), blocked: false }
    }
}

/// The control socket and the connection of the daemon that connected last.
pub(super) struct ControlSocket {
    listener: Option<OwnedFd>,
    daemon: Option<Daemon>,
    /// Connections without a proof yet, which a process of a sandbox may have made; oldest first.
    pending: VecDeque<Daemon>,
    connections: u32,
    confinement: Confinement,
    proof: Proof,
    buffer: Vec<u8>,
    /// Reserve descriptors, closed when the process has no others, so that a daemon can still connect.
    spare: Vec<OwnedFd>,
}

impl ControlSocket {
    /// The socket is one that listens for daemons, or the connection of the only daemon that the relay serves.
    pub(super) fn new(socket: OwnedFd, confinement: Confinement, proof: Proof) -> Result<Self, Errno> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let (listener, pending) = if rustix::net::sockopt::socket_acceptconn(&socket)? {
            (Some(socket), VecDeque::new())
        } else {
            (None, VecDeque::from([Daemon::new(socket, ONLY)]))
        };
        Ok(Self {
            listener,
            daemon: None,
            pending,
            connections: 0,
            confinement,
            proof,
            buffer: vec![0; MAX_BYTES],
            spare: Vec::new(),
        })
    }

    pub(super) fn watch(&mut self, poller: &Poller) -> Result<(), Errno> {
        for connection in &self.pending {
            poller.add(&connection.socket, Token(Kind::Daemon, connection.place), READ)?;
        }
        let Some(listener) = &self.listener else { return Ok(()) };
        poller.add(listener, Token(Kind::ControlListener, ONLY), READ)?;
        self.keep_spare();
        Ok(())
    }

    fn keep_spare(&mut self) {
        let Some(listener) = &self.listener else { return };
        let missing = SPARE_DESCRIPTORS.saturating_sub(self.spare.len());
        self.spare.extend((0..missing).map_while(|_| rustix::io::fcntl_dupfd_cloexec(listener, 0).ok()));
    }

    /// Whether no daemon is connected and none can connect.
    pub(super) fn is_abandoned(&self) -> bool {
        self.listener.is_none() && self.daemon.is_none() && self.pending.is_empty()
    }

    /// Whether all answers to the daemon were sent.
    pub(super) fn is_quiet(&self) -> bool {
        self.daemon.as_ref().is_none_or(|daemon| daemon.answers.is_empty())
    }

    /// Accepts a connection; it becomes the daemon's when it is [admitted](Self::admit).
    fn accept(&mut self, poller: &Poller) {
        let Some(listener) = &self.listener else { return };
        let accept = || rustix::net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC);
        let mut accepted = accept();
        if let Err(Errno::MFILE | Errno::NFILE) = accepted {
            self.spare.clear();
            accepted = accept();
        }
        let Ok(socket) = accepted else { return self.keep_spare() };
        self.connections = (self.connections + 1) & 0xff_ffff;
        let place = SlabKey { slot: 0, generation: self.connections };
        if poller.add(&socket, Token(Kind::Daemon, place), READ).is_ok() {
            self.pending.push_back(Daemon::new(socket, place));
        }
        if self.pending.len() > MAX_PENDING {
            self.pending.pop_front();
        }
    }

    /// Reads the first message of a connection. A `Hello` with a valid proof replaces the daemon's connection;
    /// anything else closes the new one.
    fn admit(&mut self, place: SlabKey) -> bool {
        let Some(index) = self.pending.iter().position(|connection| connection.place == place) else {
            return false;
        };
        let Some(connection) = self.pending.get(index) else { return false };
        let received = message::receive(&connection.socket, &mut self.buffer);
        if matches!(received, Err(MessageError::Socket(Errno::AGAIN))) {
            return false;
        }
        let connection = self.pending.remove(index);
        let is_daemon = received.is_ok_and(|(length, files)| {
            let greets = matches!(
                serde_json::from_slice(self.buffer.get(..length).unwrap_or_default()),
                Ok(Request::<Record>::Hello)
            );
            greets && files.first().and_then(|file| Proof::of(file).ok()) == Some(self.proof)
        });
        if is_daemon {
            self.daemon = connection;
        }
        self.keep_spare();
        is_daemon
    }

    fn answer(&mut self, answers: Vec<Answer>) {
        if let Some(daemon) = &mut self.daemon {
            daemon.answers.extend(answers);
        }
    }

    /// Sends queued answers with the sockets that `find` returns; `false` when the daemon has disconnected.
    fn flush<'a>(&mut self, poller: &Poller, find: impl Fn(AttachedSockets) -> Vec<BorrowedFd<'a>>) -> bool {
        let Some(daemon) = &mut self.daemon else { return true };
        while let Some(answer) = daemon.answers.front() {
            let sockets: Vec<BorrowedFd<'_>> =
                answer.attached.iter().flat_map(|attached| find(*attached)).collect();
            match message::send(&daemon.socket, &answer.bytes, &sockets) {
                Ok(()) => drop(daemon.answers.pop_front()),
                // TOOMANYREFS: too many sockets are in flight; the daemon must read first.
                Err(Errno::AGAIN | Errno::TOOMANYREFS) => break,
                Err(_) => return false,
            }
        }
        let blocked = !daemon.answers.is_empty();
        if blocked == daemon.blocked {
            return true;
        }
        daemon.blocked = blocked;
        let interest = if blocked { READ | EventFlags::OUT } else { READ };
        poller.modify(&daemon.socket, Token(Kind::Daemon, daemon.place), interest).is_ok()
    }
}

impl Relay {
    /// Handles an event of the control sockets.
    pub(super) fn command(&mut self, token: Token, _flags: EventFlags, now: Instant) {
        match token {
            Token(Kind::ControlListener, _) => self.control.accept(&self.poller),
            Token(_, place) => {
                if self.control.admit(place)
                    && let Ok(hello) = self.hello()
                {
                    self.control.answer(vec![hello]);
                }
                if self.control.daemon.as_ref().is_some_and(|daemon| daemon.place == place)
                    && (self.read().is_err() || !self.flush())
                {
                    // The table stays in force until the next daemon connects.
                    self.control.daemon = None;
                }
            }
        }
        self.hand_over(now);
    }

    fn flush(&mut self) -> bool {
        let Self { control, poller, proxy, resolvers, .. } = self;
        control.flush(poller, |attached| match attached {
            AttachedSockets::Port(protocol, address) => {
                proxy.socket((protocol, address)).into_iter().collect()
            }
            AttachedSockets::Resolver(sandbox) => resolvers.sockets(sandbox).into_iter().flatten().collect(),
            AttachedSockets::SharedResolver(address) => {
                resolvers.shared_sockets(address).into_iter().flatten().collect()
            }
        })
    }

    /// Finishes a hand-over once everything was sent, or cancels it if the daemon has disconnected.
    fn hand_over(&mut self, now: Instant) {
        if self.control.daemon.is_none() {
            self.handing_over = None;
        }
        if let Some(limit) = self.handing_over.take_if(|_| self.control.is_quiet()) {
            self.proxy.drain(&self.poller);
            self.resolvers.drain(&self.poller);
            if let Some(listener) = self.control.listener.take() {
                self.poller.remove(&listener);
                self.control.spare.clear();
                self.control.pending.clear();
            }
            self.ends = Some(now + limit);
        }
    }

    /// Reads and executes the daemon's requests.
    fn read(&mut self) -> Result<(), MessageError> {
        for _ in 0..MESSAGES_PER_TURN {
            let ControlSocket { daemon: Some(daemon), buffer, .. } = &mut self.control else { return Ok(()) };
            let (length, sockets) = match message::receive(&daemon.socket, buffer) {
                Err(MessageError::Socket(Errno::AGAIN)) => return Ok(()),
                other => other?,
            };
            let request = serde_json::from_slice(buffer.get(..length).unwrap_or_default())?;
            let answers = self.handle(request, sockets)?;
            self.control.answer(answers);
        }
        Ok(())
    }

    fn handle(&mut self, request: Request, sockets: Vec<OwnedFd>) -> Result<Vec<Answer>, MessageError> {
        match request {
            Request::Hello => Ok(vec![self.hello()?]),
            Request::Change { changes, last } => {
                let Some(daemon) = &mut self.control.daemon else { return Ok(Vec::new()) };
                let mut sockets = sockets.into_iter();
                for change in changes {
                    let count = if let SentChange::Insert(_, count) = &change { *count } else { 0 };
                    daemon.batch.push((change, sockets.by_ref().take(count).collect()));
                }
                if !last {
                    return Ok(Vec::new());
                }
                let batch = std::mem::take(&mut daemon.batch);
                let refusals = batch.into_iter().filter_map(|(change, sockets)| self.change(change, sockets));
                let refusals: Vec<_> = refusals.collect();
                self.share_descriptors();
                answers(&refusals, |run, last| match last {
                    true => Response::Changed(run),
                    false => Response::Refused(run),
                })
            }
            Request::ProxiedBytes => self.proxied_bytes(),
            Request::Counters => Ok(vec![answer(&Response::Counters(RelayCounters {
                connections: self.proxy.connections_resource(),
                flows: self.proxy.flows_resource(),
                ..self.resolvers.counters()
            }))?]),
            Request::Describe { sockets } => self.describe(sockets),
            Request::HandOver { limit } => {
                let longest = Duration::from_secs(365 * 86_400);
                self.handing_over = Some(Duration::from_millis(limit).min(longest));
                self.describe(true)
            }
        }
    }

    /// Sets the proxy's limits to the descriptors that ports and resolvers leave free.
    fn share_descriptors(&mut self) {
        let table = self.proxy.ports() + (2 + OUTGOING_SOCKETS) * self.resolvers.count();
        let limits = self.limits.within(self.descriptors.saturating_sub(table));
        self.proxy.set_limits(&self.poller, &limits);
    }

    fn hello(&self) -> Result<Answer, MessageError> {
        answer(&Response::Hello(Hello {
            version: self.version.to_owned(),
            pid: std::process::id(),
            confinement: self.control.confinement.in_force.clone(),
            missing: self.control.confinement.missing.clone(),
            counts_bytes: true,
            queries_from_sandbox: true,
            has_counters: true,
        }))
    }

    fn change(&mut self, change: SentChange, sockets: Vec<OwnedFd>) -> Option<Refusal> {
        match change {
            SentChange::Insert(record, _) => {
                let key = record.key();
                self.insert(record, sockets).err().map(|reason| Refusal { key, reason })
            }
            SentChange::Remove(key) => {
                self.remove(&key);
                None
            }
        }
    }

    fn insert(&mut self, record: Record, mut sockets: Vec<OwnedFd>) -> Result<(), String> {
        if !sockets.is_empty() && !record.sockets().contains(&sockets.len()) {
            let (came, needed) = (sockets.len(), *record.sockets().start());
            return Err(format!("{came} sockets came with the record and {needed} are needed"));
        }
        match record {
            Record::Port { protocol, address, purpose } => self
                .proxy
                .insert(&self.poller, (protocol, address), &purpose, sockets.pop())
                .map_err(|error| error.to_string()),
            Record::Resolver(sandbox) => {
                let mut sockets = sockets.into_iter();
                match (sockets.next(), sockets.next()) {
                    (Some(udp), Some(tcp)) => {
                        let outgoing = sockets.collect();
                        self.resolvers.insert(&self.poller, sandbox, [udp, tcp], outgoing).map_err(|errno| {
                            format!(
                                "the kernel refused the resolver's sockets: {errno}; send UDP, bound, TCP, listening, and \
                                 some that are connected to nothing"
                            )
                        })
                    }
                    _ if self.resolvers.sockets(sandbox).is_some() => Ok(()),
                    _ => Err("no sockets came with the record and none exist to keep; send them".to_owned()),
                }
            }
            Record::SharedResolver { address, others } => {
                let tcp = sockets.pop();
                match (sockets.pop(), tcp) {
                    (Some(udp), Some(tcp)) => self
                        .resolvers
                        .insert_shared(&self.poller, address, others, [udp, tcp])
                        .map_err(|errno| format!("the kernel refused the resolver's sockets: {errno}")),
                    _ if self.resolvers.set_others(address, others) => Ok(()),
                    _ => Err("no sockets came with the record and none exist to keep; send them".to_owned()),
                }
            }
            Record::Names(record) => {
                self.resolvers.names.insert(record);
                Ok(())
            }
            Record::View(view) => {
                self.resolvers.set_view(view);
                Ok(())
            }
            Record::HostServers(servers) => {
                self.resolvers.set_host_servers(servers);
                Ok(())
            }
        }
    }

    fn remove(&mut self, key: &RecordKey) {
        match key {
            RecordKey::Port(protocol, address) => {
                self.proxy.remove(&self.poller, (*protocol, *address));
            }
            RecordKey::Resolver(sandbox) => {
                self.resolvers.remove(&self.poller, *sandbox);
            }
            RecordKey::SharedResolver(address) => self.resolvers.remove_shared(&self.poller, *address),
            RecordKey::Names(endpoint) => {
                self.resolvers.names.remove(*endpoint);
            }
            RecordKey::View(sandbox) => {
                self.resolvers.remove_view(&self.poller, *sandbox);
            }
            RecordKey::HostServers => self.resolvers.set_host_servers(Vec::new()),
        }
    }

    /// The number of bytes proxied through each port.
    fn proxied_bytes(&self) -> Result<Vec<Answer>, MessageError> {
        let all: Vec<_> = self.proxy.proxied_bytes().collect();
        answers(&all, |ports, last| Response::ProxiedBytes { ports, last })
    }

    /// Describes the table, with all sockets if asked for.
    fn describe(&self, with_sockets: bool) -> Result<Vec<Answer>, MessageError> {
        let ports = self.proxy.records().map(|record| match record {
            Record::Port { protocol, address, .. } => {
                (record, Some(AttachedSockets::Port(protocol, address)))
            }
            record => (record, None),
        });
        let resolvers = self
            .resolvers
            .sandboxes()
            .map(|sandbox| (Record::Resolver(sandbox), Some(AttachedSockets::Resolver(sandbox))));
        let shared = self.resolvers.shared().map(|(address, others)| {
            (Record::SharedResolver { address, others }, Some(AttachedSockets::SharedResolver(address)))
        });
        let names = self.resolvers.names.records().cloned().map(Record::Names);
        let views = self.resolvers.names.views().cloned().map(Record::View);
        let servers = Record::HostServers(self.resolvers.host_servers().to_vec());
        let plain = names.chain(views).chain([servers]).map(|record| (record, None));
        let all: Vec<(Record, Option<AttachedSockets>)> =
            ports.chain(resolvers).chain(shared).chain(plain).collect();

        let count = |(_, attached): &(Record, Option<AttachedSockets>)| match attached {
            Some(AttachedSockets::Port(..)) if with_sockets => 1,
            Some(AttachedSockets::Resolver(sandbox)) if with_sockets => {
                self.resolvers.sockets(*sandbox).map_or(0, |sockets| sockets.len())
            }
            Some(AttachedSockets::SharedResolver(_)) if with_sockets => 2,
            _ => 0,
        };
        let text = |run: &[(Record, Option<AttachedSockets>)], last| {
            let records = run.iter().map(|item| (&item.0, count(item))).collect();
            serde_json::to_vec(&Response::Records { records, last })
        };
        let mut answers = Vec::new();
        message::packets(&all, count, text, |run, bytes| {
            let attached = if with_sockets {
                run.iter().filter_map(|(_, attached)| *attached).collect()
            } else {
                Vec::new()
            };
            answers.push(Answer { bytes, attached });
            Ok(())
        })?;
        Ok(answers)
    }
}

/// The packets of a long answer without sockets.
fn answers<T: Clone>(
    items: &[T],
    response: impl Fn(Vec<T>, bool) -> Response,
) -> Result<Vec<Answer>, MessageError> {
    let mut answers = Vec::new();
    let text = |run: &[T], last| serde_json::to_vec(&response(run.to_vec(), last));
    message::packets(
        items,
        |_| 0,
        text,
        |_, bytes| {
            answers.push(Answer { bytes, attached: Vec::new() });
            Ok(())
        },
    )?;
    Ok(answers)
}

fn answer(response: &Response) -> Result<Answer, MessageError> {
    Ok(Answer { bytes: serde_json::to_vec(response)?, attached: Vec::new() })
}
