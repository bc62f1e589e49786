//! One traced namespace: its capture sockets, and the events read from them.

use std::os::fd::{AsFd, BorrowedFd};

use fairway_inspect::trace::{
    Captured, Change, ConntrackEvent, Event, EventKind, Filter, Frame, Head, ObservedPacket, RuleTrace,
    TracedNamespace, sandbox_table, tables,
};
use fairway_kernel::capture::{self, Capture};
use fairway_kernel::conntrack::{FlowEvent, FlowEvents};
use fairway_kernel::nftables::{TraceEvent, Tracer};
use fairway_model::Namespace;
use fairway_walk::NetworkNamespace;

use super::TraceError;
use super::rules::Rules;

/// How many bytes of a packet are read if its bytes are not requested: all headers.
const HEADERS: usize = 256;
/// How many packets of one namespace are read in a row.
const IN_A_ROW: usize = 2048;

/// A traced namespace.
pub struct Station {
    /// Which namespace it is.
    pub watched: TracedNamespace,
    /// Its namespace, if it is a sandbox.
    pub namespace: Option<Namespace>,
    capture: Capture,
    with_frames: bool,
    tracer: Option<Tracer>,
    flows: Option<FlowEvents>,
    rules: Option<Rules>,
}

impl Station {
    /// Starts to capture in the namespace of the calling thread.
    pub fn open(watched: TracedNamespace, bytes: Option<usize>) -> Result<Self, TraceError> {
        let is_host = watched == TracedNamespace::Host;
        Ok(Self {
            watched,
            namespace: None,
            capture: Capture::open(bytes.unwrap_or(HEADERS).max(HEADERS))?,
            with_frames: bytes.is_some(),
            tracer: is_host.then(Tracer::open).transpose()?,
            // A kernel without conntrack events reports no connections.
            flows: is_host.then(|| FlowEvents::open().ok()).flatten(),
            rules: is_host.then(Rules::open).transpose()?,
        })
    }

    /// Makes the kernel trace the rules of the host; returns a note for the user.
    pub fn trace_rules(
        &mut self,
        number: u64,
        filter: &Filter,
        tracks: bool,
    ) -> Result<Option<String>, TraceError> {
        let Some(rules) = &mut self.rules else { return Ok(None) };
        rules.read();
        let tracks =
            tracks || NetworkNamespace { tables: rules.tables(), ..NetworkNamespace::default() }.tracks();
        rules.install(|flags| tables(number, filter, tracks, flags))?;
        let note = "this kernel knows no owners of tables: should the daemon be killed, the rules that watch stay until \
                    it is started again";
        Ok((!rules.vanish()).then(|| note.to_owned()))
    }

    /// Makes the kernel trace the rules of the calling thread's namespace, if it has rules that could drop.
    pub fn trace_rules_inside(&mut self, number: u64) -> Result<(), TraceError> {
        let mut rules = Rules::open()?;
        rules.read();
        if rules.decide() {
            self.tracer = Some(Tracer::open()?);
            rules.install(|flags| vec![sandbox_table(number, flags)])?;
            if rules.vanish() {
                self.rules = Some(rules);
            } else {
                // A later daemon would not find the table in there.
                rules.remove();
                self.tracer = None;
            }
        }
        Ok(())
    }

    /// The descriptors that become readable with an event.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let tracer = self.tracer.as_ref().map(AsFd::as_fd);
        let flows = self.flows.as_ref().map(AsFd::as_fd);
        [Some(self.capture.as_fd()), tracer, flows].into_iter().flatten()
    }

    /// Passes all waiting events to `take`, and returns how many were lost.
    pub fn receive(&mut self, take: &mut dyn FnMut(Event)) -> u64 {
        let mut lost = 0;
        let mut flows = Vec::new();
        if let Some(events) = &self.flows {
            lost += u64::from(!events.drain(&mut |flow| flows.push(flow)).unwrap_or(true));
        }
        flows.iter().for_each(|flow| take(tracked(flow, false)));
        let mut traced = Vec::new();
        if let Some(tracer) = &self.tracer {
            lost += u64::from(!tracer.drain(&mut |event| traced.push(event)).unwrap_or(true));
        }
        traced.into_iter().filter_map(|event| self.ruled(event)).for_each(&mut *take);
        let mut seen = Vec::new();
        let with_frames = self.with_frames;
        let drained = self.capture.drain(IN_A_ROW, &mut |frame| {
            if let Some(observed) = ObservedPacket::of_packet(frame.packet()) {
                seen.push((frame.interface, captured(&frame, observed, with_frames)));
            }
        });
        if let Err(error) = drained {
            tracing::debug!(%error, namespace = %self.watched, "failed to read captured packets in {}: {error}", self.watched);
        }
        for (interface, captured) in seen {
            let captured = Captured { interface: self.capture.name(interface), ..captured };
            take(Event { namespace: self.watched.clone(), kind: EventKind::Captured(captured) });
        }
        lost
    }

    fn ruled(&mut self, traced: TraceEvent) -> Option<Event> {
        let rules = self.rules.as_mut()?;
        let (base, met) = rules.look_up(&traced);
        let mut name = |index: Option<u32>| index.map(|index| self.capture.name(index));
        let head = match &traced.headers {
            Some((network, transport)) => Some(Head {
                observed: ObservedPacket::of_headers(network, transport)?,
                input: name(traced.input),
                output: name(traced.output),
            }),
            None => None,
        };
        let TraceEvent { id, family, table, chain, verdict, .. } = traced;
        let ruled = RuleTrace { id, head, family, table, chain, base, met, verdict };
        Some(Event { namespace: self.watched.clone(), kind: EventKind::Rule(ruled) })
    }

    /// How many packets the capture lost since the last call. Forgets the names of interfaces.
    pub fn lost(&mut self) -> u64 {
        self.capture.forget_names();
        self.capture.lost().unwrap_or_default().into()
    }

    /// How many more packets than at the last call exceeded the rate limit of the rules.
    pub fn unmarked(&mut self) -> u64 {
        self.rules.as_mut().map(Rules::unmarked).unwrap_or_default()
    }

    /// Deletes the rules of the trace.
    pub fn forget_rules(&mut self) {
        if let Some(rules) = &mut self.rules {
            rules.remove();
        }
    }
}

fn captured(frame: &capture::Frame<'_>, observed: ObservedPacket, with_frames: bool) -> Captured {
    let bytes = with_frames.then(|| Frame {
        ethernet: frame.ethernet,
        length: u32::try_from(frame.length).unwrap_or(u32::MAX),
        bytes: frame.bytes.to_vec(),
    });
    Captured { at: frame.at, interface: String::new(), outgoing: frame.outgoing, observed, frame: bytes }
}

/// The event for a conntrack entry of the host.
pub fn tracked(flow: &FlowEvent, known: bool) -> Event {
    let FlowEvent { is_gone, id, original, reply } = *flow;
    let change = match (known, is_gone) {
        (true, _) => Change::Known,
        (false, true) => Change::Forgotten,
        (false, false) => Change::New,
    };
    let tracked = ConntrackEvent { change, id, original, reply };
    Event { namespace: TracedNamespace::Host, kind: EventKind::Conntrack(tracked) }
}
