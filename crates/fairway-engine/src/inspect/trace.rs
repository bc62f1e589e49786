//! Traces real packets: joins captures, traced rules and conntrack events of the host and of the sandboxes concerned.

mod rules;
mod station;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fairway_inspect::explain::QueryError;
use fairway_inspect::trace::{Event, Filter, Joiner, Lost, TraceMessage, TraceRequest, TracedNamespace};
use fairway_kernel::iptables::has_legacy_tables;
use fairway_kernel::{conntrack, namespace, nftables};
use fairway_model::{Namespace, NetworkMode, SandboxId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use thiserror::Error;

use super::Inspector;
use crate::ApplyError;
pub(crate) use rules::sweep;
use station::Station;

/// How many traces may run at once.
const AT_ONCE: usize = 8;
/// Inside how many sandboxes packets are captured.
const SANDBOXES: usize = 64;
/// How long to wait for packets before what is known is reported.
const ROUND: Duration = Duration::from_millis(40);
/// How often the list of sandboxes is refreshed, and progress is reported.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How often the names of the request are resolved again.
const RENEWAL: Duration = Duration::from_secs(1);

/// The number of running traces, and the number of the next one.
static RUNNING: AtomicUsize = AtomicUsize::new(0);
static NUMBER: AtomicU64 = AtomicU64::new(1);

/// Receives trace messages; must not block. Returns whether it wants more.
pub type TraceSink = Box<dyn FnMut(TraceMessage) -> bool + Send>;

/// Why packets cannot be traced.
#[derive(Debug, Error)]
pub enum TraceError {
    /// The request is invalid.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Too many traces run already.
    #[error("{AT_ONCE} traces run already: end one of them")]
    TooMany,
    /// A namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
    /// The host's addresses cannot be read.
    #[error(transparent)]
    Host(#[from] ApplyError),
    /// The kernel refuses to capture packets.
    #[error("cannot capture packets: {0}")]
    Capture(#[from] std::io::Error),
    /// The kernel refuses to trace rules.
    #[error("cannot watch rules: {0}")]
    Rules(#[from] nftables::Error),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
}

/// Counts a running trace.
struct Running;

impl Running {
    fn begin() -> Result<Self, TraceError> {
        let running = Self;
        if RUNNING.fetch_add(1, Ordering::AcqRel) < AT_ONCE { Ok(running) } else { Err(TraceError::TooMany) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A running trace.
struct Trace {
    inspector: Weak<Inspector>,
    request: TraceRequest,
    number: u64,
    joiner: Joiner,
    filter: Filter,
    renewed: Instant,
    host: Station,
    sandboxes: Vec<Station>,
    /// Sandboxes that were reported as traced from outside only.
    given_up: BTreeSet<SandboxId>,
    lost: Lost,
    reported: u64,
    sink: TraceSink,
    _running: Running,
}

/// Nanoseconds since 1970.
#[expect(
    clippy::disallowed_methods,
    reason = "packets are dated by the wall clock, as the kernel dates them"
)]
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl Inspector {
    /// Traces packets on a thread of its own, and sends messages to `sink`, until it wants no more or the request is
    /// satisfied. The tables of a trace are deleted then, and also when the daemon dies.
    ///
    /// # Errors
    /// See [`TraceError`].
    pub fn trace(self: &Arc<Self>, request: TraceRequest, sink: TraceSink) -> Result<(), TraceError> {
        let running = Running::begin()?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let filter = self.filter(&request)?;
        let home = self.applier.workers.initial().clone();
        let bytes = request.bytes;
        let mut host =
            self.applier.workers.run(&home, move || Station::open(TracedNamespace::Host, bytes))??;
        let notes = host.trace_rules(number, &filter, self.tracks())?;
        let mut trace = Trace {
            inspector: Arc::downgrade(self),
            request,
            number,
            joiner: Joiner::new(filter.clone()),
            filter: filter.clone(),
            renewed: Instant::now(),
            host,
            sandboxes: Vec::new(),
            given_up: BTreeSet::new(),
            lost: Lost::default(),
            reported: 0,
            sink,
            _running: running,
        };
        let mut notes: Vec<String> = notes.into_iter().chain(self.legacy_note()).collect();
        notes.extend(trace.follow(self));
        let names: Vec<String> = trace.sandboxes.iter().map(|station| station.watched.to_string()).collect();
        notes.insert(0, watching(&names, filter.sandboxes.len()));
        let wants_more = notes.into_iter().all(|note| (trace.sink)(TraceMessage::Note(note)));
        if let Ok(flows) =
            conntrack::matching_flows(|flow| filter.means(flow.original) || filter.means(flow.reply))
        {
            flows.iter().for_each(|flow| trace.joiner.receive(station::tracked(flow, true), now()));
        }
        if wants_more {
            let thread = std::thread::Builder::new().name("trace".to_owned());
            thread.spawn(move || trace.run()).map_err(TraceError::Thread)?;
        }
        Ok(())
    }

    fn filter(&self, request: &TraceRequest) -> Result<Filter, TraceError> {
        let addresses = self.applier.links(|links| links.addresses(0))?;
        let host: Vec<IpAddr> = addresses.iter().map(|it| it.address.addr()).collect();
        let state = self.committer.snapshot();
        Ok(Filter::parse(&state.world, &state.plan, host, request.from.as_deref(), request.to.as_deref())?)
    }

    /// Whether Fairway's own rules enable conntrack.
    fn tracks(&self) -> bool {
        self.committer.read(|world| world.settings().iptables || world.settings().ip6tables)
    }

    fn legacy_note(&self) -> Option<String> {
        (has_legacy_tables(true) || has_legacy_tables(false)).then(|| {
            "rules of iptables-legacy cannot be traced: a packet that they drop is not seen again".to_owned()
        })
    }
}

fn watching(sandboxes: &[String], concerned: usize) -> String {
    let inside = match sandboxes {
        [] => String::new(),
        names => format!(" and inside {}", names.join(", ")),
    };
    let more = match concerned.saturating_sub(sandboxes.len()) {
        more if more > 0 && sandboxes.len() == SANDBOXES => {
            format!("; {more} more sandboxes from outside only")
        }
        _ => String::new(),
    };
    format!("watching the host{inside}{more}")
}

impl Trace {
    fn run(mut self) {
        let began = Instant::now();
        let mut polled = Instant::now();
        loop {
            self.wait();
            self.receive();
            if !self.report(false) {
                break;
            }
            let over = self.request.duration.is_some_and(|duration| began.elapsed() >= duration);
            if over {
                // The last packets are still on their way.
                self.wait();
                self.receive();
                self.report(true);
                break;
            }
            if polled.elapsed() >= POLL_INTERVAL {
                polled = Instant::now();
                if !self.refresh() {
                    break;
                }
            }
        }
        self.count_lost();
        (self.sink)(TraceMessage::Watching(self.lost));
        self.host.forget_rules();
        self.sandboxes.iter_mut().for_each(Station::forget_rules);
    }

    fn wait(&self) {
        let stations = std::iter::once(&self.host).chain(&self.sandboxes);
        let mut descriptors: Vec<PollFd<'_>> = stations
            .flat_map(Station::descriptors)
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
            .collect();
        let patience = Timespec { tv_sec: 0, tv_nsec: ROUND.subsec_nanos().into() };
        // An interrupted wait finds nothing ready, as the next poll does too.
        let _ = poll(&mut descriptors, Some(&patience));
    }

    fn receive(&mut self) {
        let now = now();
        let joiner = &mut self.joiner;
        let mut take = |event: Event| joiner.receive(event, now);
        for station in std::iter::once(&mut self.host).chain(&mut self.sandboxes) {
            self.lost.ruled += station.receive(&mut take);
        }
    }

    /// Sends what is known to the sink; returns whether more is wanted.
    fn report(&mut self, all: bool) -> bool {
        for message in self.joiner.take_messages(now(), all) {
            if self.request.count.is_some_and(|count| self.reported >= count) {
                return false;
            }
            let counts = matches!(&message, TraceMessage::Packet(timeline) if !timeline.title.is_empty());
            self.reported += u64::from(counts);
            if !(self.sink)(message) {
                return false;
            }
        }
        self.request.count.is_none_or(|count| self.reported < count)
    }

    /// Follows sandboxes that start and stop; returns whether more is wanted.
    fn refresh(&mut self) -> bool {
        let Some(inspector) = self.inspector.upgrade() else { return false };
        if self.renewed.elapsed() >= RENEWAL {
            self.renewed = Instant::now();
            self.renew(&inspector);
        }
        let notes = self.follow(&inspector);
        if !notes.into_iter().all(|note| (self.sink)(TraceMessage::Note(note))) {
            return false;
        }
        self.count_lost();
        (self.sink)(TraceMessage::Watching(self.lost))
    }

    /// Resolves the names of the request again. A name that is unknown for a while keeps its addresses.
    fn renew(&mut self, inspector: &Inspector) {
        let Ok(filter) = inspector.filter(&self.request) else { return };
        let differs = filter.patterns != self.filter.patterns;
        if differs && let Err(error) = self.host.trace_rules(self.number, &filter, inspector.tracks()) {
            tracing::warn!(%error, "failed to update the rules of a trace: {error}; tracing the addresses before");
        }
        self.joiner.set_filter(filter.clone());
        self.filter = filter;
    }

    fn count_lost(&mut self) {
        let stations = std::iter::once(&mut self.host).chain(&mut self.sandboxes);
        self.lost.captured += stations.map(Station::lost).sum::<u64>();
        self.lost.ruled += self.host.unmarked();
        self.lost.unreported = self.joiner.unreported();
    }

    /// Traces inside the sandboxes concerned while they run. Returns notes for the user.
    fn follow(&mut self, inspector: &Inspector) -> Vec<String> {
        let wanted = inspector.committer.read(|world| {
            let found = self.filter.sandboxes.iter().filter_map(|id| {
                let sandbox = world.sandbox(*id).filter(|sandbox| sandbox.running())?;
                let own = matches!(sandbox.mode, NetworkMode::Private | NetworkMode::None);
                let namespace = sandbox.namespace().filter(|_| own)?;
                Some((*id, sandbox.name.clone(), namespace.clone()))
            });
            found.take(SANDBOXES).collect::<Vec<(SandboxId, String, Namespace)>>()
        });
        // An open socket keeps a namespace, and its links, alive.
        let is_wanted =
            |station: &Station| wanted.iter().any(|(_, _, it)| station.namespace.as_ref() == Some(it));
        self.sandboxes.retain(is_wanted);
        let mut notes = Vec::new();
        for (id, name, namespace) in wanted {
            let is_known = self.sandboxes.iter().any(|it| it.namespace.as_ref() == Some(&namespace));
            if is_known || self.given_up.contains(&id) {
                continue;
            }
            match open_inside(inspector, &name, namespace, self.request.bytes, self.number) {
                Ok(station) => self.sandboxes.push(station),
                Err(error) => {
                    notes.push(format!("{name} is watched from outside only: {error}"));
                    self.given_up.insert(id);
                }
            }
        }
        notes
    }
}

fn open_inside(
    inspector: &Inspector,
    name: &str,
    namespace: Namespace,
    bytes: Option<usize>,
    number: u64,
) -> Result<Station, TraceError> {
    let handle = namespace::open(&namespace)?;
    let watched = TracedNamespace::Sandbox(name.to_owned());
    let mut station = inspector.applier.workers.run(&handle, move || {
        let mut station = Station::open(watched, bytes)?;
        station.trace_rules_inside(number)?;
        Ok::<_, TraceError>(station)
    })??;
    station.namespace = Some(namespace);
    Ok(station)
}
