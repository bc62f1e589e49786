//! A running trace: reads the events of all its namespaces, joins them, and follows namespaces that come and go.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fairway_inspect::trace::{Event, Filter, Joiner, Lost, TraceMessage, TraceRequest, TracedNamespace};
use fairway_kernel::clock::SteadyClock;
use fairway_kernel::namespace::{self, Workers};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::TraceError;
use crate::station::{Station, known_flows};
use crate::subject::{Subject, Watched};

/// Inside how many namespaces packets are captured.
const NAMESPACES: usize = 64;
/// How long to wait for packets before what is known is reported.
const ROUND: Duration = Duration::from_millis(40);
/// How often the list of namespaces is refreshed, and progress is reported.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// A running trace, which passes its messages to `F` until that returns false.
pub struct Trace<S, F> {
    subject: S,
    workers: Workers,
    request: TraceRequest,
    /// Part of the names of its tables.
    number: u64,
    joiner: Joiner,
    filter: Filter,
    /// Dates packets, and measures how long one was silent.
    clock: SteadyClock,
    renewed: Instant,
    host: Station,
    others: Vec<Station>,
    /// Namespaces that were reported as traced from outside only, by device and inode.
    given_up: BTreeSet<(u64, u64)>,
    lost: Lost,
    reported: u64,
    sink: F,
}

impl<S: Subject, F: FnMut(TraceMessage) -> bool> Trace<S, F> {
    /// Begins to trace the packets of a filter on the host, whose namespace is that of `workers`, and in the namespaces
    /// concerned. Sends notes about the trace; returns none if the sink wants no more.
    ///
    /// # Errors
    /// See [`TraceError`].
    pub fn begin(
        subject: S,
        workers: Workers,
        filter: Filter,
        request: TraceRequest,
        sink: F,
    ) -> Result<Option<Self>, TraceError> {
        let bytes = request.bytes;
        let mut host = Station::open(&workers, workers.initial(), TracedNamespace::Host, bytes)?;
        // Traces of other processes may have tables in the same namespaces.
        let clock = SteadyClock::start();
        let number = clock.now().unsigned_abs();
        let mut notes: Vec<String> =
            host.trace_rules(number, &filter, subject.tracks(), subject.sweeps())?.into_iter().collect();
        notes.extend(host.legacy.take());
        let mut trace = Self {
            subject,
            workers,
            request,
            number,
            joiner: Joiner::new(filter.clone()),
            filter,
            clock,
            renewed: Instant::now(),
            host,
            others: Vec::new(),
            given_up: BTreeSet::new(),
            lost: Lost::default(),
            reported: 0,
            sink,
        };
        let Some((watched, more)) = trace.watched() else { return Ok(None) };
        notes.extend(trace.follow(watched));
        notes.insert(0, trace.watching(more));
        // Flows that begin when the user knows of the trace are new.
        let meant = trace.filter.clone();
        if let Ok(flows) = trace.workers.run(trace.workers.initial(), move || known_flows(&meant)) {
            flows.into_iter().for_each(|event| trace.joiner.receive(event, clock.now().unsigned_abs()));
        }
        let wants_more = notes.into_iter().all(|note| (trace.sink)(TraceMessage::Note(note)));
        Ok(wants_more.then_some(trace))
    }

    /// Sends a note about the trace; returns whether the sink wants more.
    pub fn note(&mut self, text: String) -> bool {
        (self.sink)(TraceMessage::Note(text))
    }

    fn watching(&self, more: usize) -> String {
        let names: Vec<String> = self.others.iter().map(|station| station.watched.to_string()).collect();
        let inside = match names.as_slice() {
            [] => String::new(),
            names => format!(" and inside {}", names.join(", ")),
        };
        let more = match more {
            0 => String::new(),
            more => format!("; {more} more namespaces from outside only"),
        };
        format!("watching the host{inside}{more}")
    }

    /// Traces until the sink wants no more, the request is satisfied or the subject has ended. The tables of the trace
    /// are deleted then, and also when the process is killed.
    pub fn run(mut self) {
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
        self.others.iter_mut().for_each(Station::forget_rules);
    }

    fn wait(&self) {
        let stations = std::iter::once(&self.host).chain(&self.others);
        let mut descriptors: Vec<PollFd<'_>> = stations
            .flat_map(Station::descriptors)
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
            .collect();
        let patience = Timespec { tv_sec: 0, tv_nsec: ROUND.subsec_nanos().into() };
        // An interrupted wait finds nothing ready, as the next poll does too.
        let _ = poll(&mut descriptors, Some(&patience));
    }

    fn receive(&mut self) {
        let now = self.clock.now().unsigned_abs();
        let joiner = &mut self.joiner;
        let mut take = |event: Event| joiner.receive(event, now);
        for station in std::iter::once(&mut self.host).chain(&mut self.others) {
            self.lost.ruled += station.receive(&mut take);
        }
    }

    /// Sends what is known to the sink; returns whether more is wanted.
    fn report(&mut self, all: bool) -> bool {
        for message in self.joiner.take_messages(self.clock.now().unsigned_abs(), all) {
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

    /// Follows namespaces that come and go; returns whether more is wanted.
    fn refresh(&mut self) -> bool {
        if self.renewed.elapsed() >= self.subject.pause() {
            self.renew();
            self.renewed = Instant::now();
        }
        let Some((watched, _)) = self.watched() else { return false };
        let notes = self.follow(watched);
        if !notes.into_iter().all(|note| (self.sink)(TraceMessage::Note(note))) {
            return false;
        }
        self.count_lost();
        (self.sink)(TraceMessage::Watching(self.lost))
    }

    /// Resolves the names of the request again. A name that is unknown for a while keeps its addresses.
    fn renew(&mut self) {
        let Some(filter) = self.subject.filter() else { return };
        let (tracks, sweeps) = (self.subject.tracks(), self.subject.sweeps());
        let differs = filter.patterns != self.filter.patterns;
        if differs && let Err(error) = self.host.trace_rules(self.number, &filter, tracks, sweeps) {
            tracing::warn!(%error, "failed to update the rules of a trace: {error}; tracing the addresses before");
        }
        self.joiner.set_filter(filter.clone());
        self.filter = filter;
    }

    fn count_lost(&mut self) {
        let stations = std::iter::once(&mut self.host).chain(&mut self.others);
        self.lost.captured += stations.map(Station::lost).sum::<u64>();
        self.lost.ruled += self.host.unmarked();
        self.lost.unreported = self.joiner.unreported();
    }

    /// The namespaces to be traced, and how many more the filter concerns; none if the subject has ended.
    fn watched(&mut self) -> Option<(Vec<Watched>, usize)> {
        let mut watched = self.subject.namespaces(&self.filter)?;
        let more = watched.len().saturating_sub(NAMESPACES);
        watched.truncate(NAMESPACES);
        Some((watched, more))
    }

    /// Traces inside the namespaces that are wanted, and no longer in others. Returns notes for the user.
    fn follow(&mut self, wanted: Vec<Watched>) -> Vec<String> {
        // An open socket keeps a namespace, and its links, alive.
        let is_wanted = |station: &Station| wanted.iter().any(|it| station.is_in(&it.namespace));
        self.others.retain(is_wanted);
        let mut notes = Vec::new();
        for it in wanted {
            let is_known = self.others.iter().any(|station| station.is_in(&it.namespace));
            if is_known || self.given_up.contains(&it.namespace.identity()) {
                continue;
            }
            match self.open_inside(&it) {
                Ok(mut station) => {
                    notes.extend(station.legacy.take());
                    self.others.push(station);
                }
                Err(error) => {
                    notes.push(format!("{} is watched from outside only: {error}", it.label));
                    self.given_up.insert(it.namespace.identity());
                }
            }
        }
        notes
    }

    fn open_inside(&self, it: &Watched) -> Result<Station, TraceError> {
        let handle = namespace::open(&it.namespace)?;
        let (bytes, number) = (self.request.bytes, self.number);
        let watched = TracedNamespace::Container(it.label.clone());
        let mut station = Station::open(&self.workers, &handle, watched, bytes)?;
        station.trace_rules_inside(number)?;
        Ok(station)
    }
}
