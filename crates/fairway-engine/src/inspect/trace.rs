//! Watching real packets: captures, rules and conntrack of the host and of the sandboxes concerned, told as one.

mod rules;
mod station;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fairway_inspect::explain::QueryError;
use fairway_inspect::trace::{Event, Filter, HOST, Joiner, Lost, TraceMessage, TraceRequest};
use fairway_kernel::iptables::has_legacy_tables;
use fairway_kernel::{conntrack, namespace, nftables};
use fairway_model::{Namespace, NetworkMode, SandboxId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use thiserror::Error;

use crate::{ApplyError, Engine};
pub(crate) use rules::sweep;
use station::Station;

/// How many traces may run at once.
const AT_ONCE: usize = 8;
/// Inside how many sandboxes packets are captured.
const SANDBOXES: usize = 64;
/// How long a wait for packets may last: what is known is told then.
const ROUND: Duration = Duration::from_millis(40);
/// How often it is looked which sandboxes are there still, and told that packets are watched.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How often it is found out anew who is meant.
const RENEWAL: Duration = Duration::from_secs(1);

/// The traces that run, and the number of the next one.
static RUNNING: AtomicUsize = AtomicUsize::new(0);
static NUMBER: AtomicU64 = AtomicU64::new(1);

/// Is told what is seen, and must not block. It says whether it wants to be told more.
pub type TraceSink = Box<dyn FnMut(TraceMessage) -> bool + Send>;

/// Why nothing can be watched.
#[derive(Debug, Error)]
pub enum TraceError {
    /// What is asked for makes no sense.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Too many watch already.
    #[error("{AT_ONCE} traces run already: end one of them")]
    TooMany,
    /// A namespace cannot be entered.
    #[error(transparent)]
    Namespace(#[from] namespace::Error),
    /// The host's addresses cannot be read.
    #[error(transparent)]
    Host(#[from] ApplyError),
    /// The kernel lets nobody capture.
    #[error("cannot capture packets: {0}")]
    Capture(#[from] std::io::Error),
    /// Rules cannot be watched.
    #[error("cannot watch rules: {0}")]
    Rules(#[from] nftables::Error),
    /// No thread can be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] std::io::Error),
}

/// Counts a trace that runs.
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

/// A trace that runs.
struct Trace {
    engine: Weak<Engine>,
    request: TraceRequest,
    number: u64,
    joiner: Joiner,
    filter: Filter,
    renewed: Instant,
    host: Station,
    sandboxes: Vec<Station>,
    /// Sandboxes of which it was told that they cannot be watched.
    given_up: BTreeSet<SandboxId>,
    lost: Lost,
    told: u64,
    sink: TraceSink,
    _running: Running,
}

/// Nanoseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

impl Engine {
    /// Watches packets from now on, on a thread of its own, and tells `tell` of each, until that wants no more or
    /// what is asked for has been seen. What it puts into the kernel is gone then, and also when the daemon is.
    ///
    /// # Errors
    /// See [`TraceError`].
    pub fn trace(self: &Arc<Self>, request: TraceRequest, sink: TraceSink) -> Result<(), TraceError> {
        let running = Running::begin()?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let filter = self.filter(&request)?;
        let home = self.workers.initial().clone();
        let bytes = request.bytes;
        let mut host = self.workers.run(&home, move || Station::open(HOST, bytes))??;
        let notes = host.trace_rules(number, &filter, self.tracks())?;
        let mut trace = Trace {
            engine: Arc::downgrade(self),
            request,
            number,
            joiner: Joiner::new(filter.clone()),
            filter: filter.clone(),
            renewed: Instant::now(),
            host,
            sandboxes: Vec::new(),
            given_up: BTreeSet::new(),
            lost: Lost::default(),
            told: 0,
            sink,
            _running: running,
        };
        let mut notes: Vec<String> = notes.into_iter().chain(self.legacy_note()).collect();
        notes.extend(trace.follow(self));
        let names: Vec<&str> = trace.sandboxes.iter().map(|station| station.name.as_str()).collect();
        notes.insert(0, watching(&names, filter.sandboxes.len()));
        let wants_more = notes.into_iter().all(|note| (trace.sink)(TraceMessage::Note(note)));
        if let Ok(flows) =
            conntrack::matching_flows(|flow| filter.means(flow.original) || filter.means(flow.reply))
        {
            flows.iter().for_each(|flow| trace.joiner.hear(station::tracked(flow, true), now()));
        }
        if wants_more {
            let thread = std::thread::Builder::new().name("trace".to_owned());
            thread.spawn(move || trace.run()).map_err(TraceError::Thread)?;
        }
        Ok(())
    }

    fn filter(&self, request: &TraceRequest) -> Result<Filter, TraceError> {
        let addresses = self.links(|links| links.addresses(0))?;
        let host: Vec<IpAddr> = addresses.iter().map(|it| it.address.addr()).collect();
        let state = self.state();
        Ok(Filter::parse(&state.world, &state.plan, host, request.from.as_deref(), request.to.as_deref())?)
    }

    /// Whether our own rules have conntrack on.
    fn tracks(&self) -> bool {
        self.read(|world| world.settings().iptables || world.settings().ip6tables)
    }

    fn legacy_note(&self) -> Option<String> {
        (has_legacy_tables(true) || has_legacy_tables(false)).then(|| {
            "the rules of legacy iptables tell nothing of the packets that they meet: what they drop is seen no further"
                .to_owned()
        })
    }
}

fn watching(sandboxes: &[&str], concerned: usize) -> String {
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
            self.hear();
            if !self.tell(false) {
                break;
            }
            let over = self.request.duration.is_some_and(|duration| began.elapsed() >= duration);
            if over {
                // What has just been sent is still on its way.
                self.wait();
                self.hear();
                self.tell(true);
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
        // An interrupted wait finds nothing ready, which is what the next look finds too.
        let _ = poll(&mut descriptors, Some(&patience));
    }

    fn hear(&mut self) {
        let now = now();
        let joiner = &mut self.joiner;
        let mut take = |event: Event| joiner.hear(event, now);
        for station in std::iter::once(&mut self.host).chain(&mut self.sandboxes) {
            self.lost.ruled += station.hear(&mut take);
        }
    }

    /// Tells what is known; whether more is wanted.
    fn tell(&mut self, all: bool) -> bool {
        for told in self.joiner.tell(now(), all) {
            if self.request.count.is_some_and(|count| self.told >= count) {
                return false;
            }
            let counts = matches!(&told, TraceMessage::Packet(timeline) if !timeline.title.is_empty());
            self.told += u64::from(counts);
            if !(self.sink)(told) {
                return false;
            }
        }
        self.request.count.is_none_or(|count| self.told < count)
    }

    /// Follows what changes; whether more is wanted.
    fn refresh(&mut self) -> bool {
        let Some(engine) = self.engine.upgrade() else { return false };
        if self.renewed.elapsed() >= RENEWAL {
            self.renewed = Instant::now();
            self.renew(&engine);
        }
        let notes = self.follow(&engine);
        if !notes.into_iter().all(|note| (self.sink)(TraceMessage::Note(note))) {
            return false;
        }
        self.count_lost();
        (self.sink)(TraceMessage::Watching(self.lost))
    }

    /// Finds out who is meant now. A name may mean nobody for a while: then it means whom it meant.
    fn renew(&mut self, engine: &Engine) {
        let Ok(filter) = engine.filter(&self.request) else { return };
        let differs = filter.patterns != self.filter.patterns;
        if differs && let Err(error) = self.host.trace_rules(self.number, &filter, engine.tracks()) {
            tracing::warn!(%error, "rules are traced as before");
        }
        self.joiner.ask(filter.clone());
        self.filter = filter;
    }

    fn count_lost(&mut self) {
        let stations = std::iter::once(&mut self.host).chain(&mut self.sandboxes);
        self.lost.captured += stations.map(Station::lost).sum::<u64>();
        self.lost.ruled += self.host.unmarked();
        self.lost.unreported = self.joiner.unreported();
    }

    /// Watches inside the sandboxes that are concerned, as long as they run. What is to be known of it.
    fn follow(&mut self, engine: &Engine) -> Vec<String> {
        let wanted = engine.read(|world| {
            let found = self.filter.sandboxes.iter().filter_map(|id| {
                let sandbox = world.sandbox(*id).filter(|sandbox| sandbox.running())?;
                let own = matches!(sandbox.mode, NetworkMode::Private | NetworkMode::None);
                let namespace = sandbox.namespace().filter(|_| own)?;
                Some((*id, sandbox.name.clone(), namespace.clone()))
            });
            found.take(SANDBOXES).collect::<Vec<(SandboxId, String, Namespace)>>()
        });
        // An open socket keeps a namespace, and its links, from going.
        let is_wanted =
            |station: &Station| wanted.iter().any(|(_, _, it)| station.namespace.as_ref() == Some(it));
        self.sandboxes.retain(is_wanted);
        let mut notes = Vec::new();
        for (id, name, namespace) in wanted {
            let is_known = self.sandboxes.iter().any(|it| it.namespace.as_ref() == Some(&namespace));
            if is_known || self.given_up.contains(&id) {
                continue;
            }
            match open_inside(engine, &name, namespace, self.request.bytes, self.number) {
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
    engine: &Engine,
    name: &str,
    namespace: Namespace,
    bytes: Option<usize>,
    number: u64,
) -> Result<Station, TraceError> {
    let handle = namespace::open(&namespace)?;
    let name = name.to_owned();
    let mut station = engine.workers.run(&handle, move || {
        let mut station = Station::open(&name, bytes)?;
        station.trace_rules_inside(number)?;
        Ok::<_, TraceError>(station)
    })??;
    station.namespace = Some(namespace);
    Ok(station)
}
