//! One traced namespace: its capture sockets, and the events read from them.

use std::os::fd::{AsFd, BorrowedFd};

use fairway_inspect::trace::{
    Captured, Change, ConntrackEvent, Event, EventKind, Filter, Frame, Head, ObservedPacket, RuleTrace,
    TracedNamespace, sandbox_table, tables,
};
use fairway_kernel::capture::{self, Capture};
use fairway_kernel::conntrack::{FlowEvent, FlowEvents, matching_flows};
use fairway_kernel::iptables::legacy_tables;
use fairway_kernel::namespace::{Handle, Workers};
use fairway_kernel::nftables::{TraceEvent, Tracer};
use fairway_model::Namespace;
use fairway_walk::NetworkNamespace;

use crate::error::TraceError;
use crate::rules::Rules;

/// How many bytes of a packet are read if its bytes are not requested: all headers.
const HEADERS: usize = 256;
/// How many packets of one namespace are read in a row.
const IN_A_ROW: usize = 2048;

/// A traced namespace.
pub struct Station {
    /// Which namespace it is.
    pub watched: TracedNamespace,
    /// Its namespace.
    pub namespace: Namespace,
    /// A note about rules of iptables-legacy, until it is taken.
    pub legacy: Option<String>,
    capture: Capture,
    with_frames: bool,
    tracer: Option<Tracer>,
    flows: Option<FlowEvents>,
    rules: Rules,
}

impl Station {
    /// Starts to capture in a namespace.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the kernel refuses.
    pub fn open(
        workers: &Workers,
        handle: &Handle,
        watched: TracedNamespace,
        bytes: Option<usize>,
    ) -> Result<Self, TraceError> {
        let most = bytes.unwrap_or(HEADERS).max(HEADERS);
        let open = move || (Capture::open(most), legacy_note(&watched), watched);
        let (capture, legacy, watched) = workers.run(handle, open)?;
        Ok(Self {
            watched,
            namespace: handle.namespace().clone(),
            legacy,
            capture: capture?,
            with_frames: bytes.is_some(),
            tracer: None,
            flows: None,
            rules: Rules::open(workers, handle)?,
        })
    }

    /// Makes the kernel trace the rules of the host that packets of a filter meet; returns a note for the user. `tracks`
    /// and `sweeps` are those of the subject.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn trace_rules(
        &mut self,
        number: u64,
        filter: &Filter,
        tracks: bool,
        sweeps: bool,
    ) -> Result<Option<String>, TraceError> {
        self.rules.read();
        let tracks = tracks
            || NetworkNamespace { tables: self.rules.tables(), ..NetworkNamespace::default() }.tracks();
        self.listen()?;
        let wanted = |flags| tables(number, filter, tracks, flags);
        if self.rules.install_owned(wanted)? {
            return Ok(None);
        }
        let note = if sweeps {
            self.rules.install_unowned(wanted)?;
            "this kernel knows no owners of tables: should the daemon be killed, the rules that watch stay until it is \
             started again"
        } else {
            "rules are not traced: this kernel knows no owners of tables (Linux 5.12 does), and what traces rules could \
             outlive this program"
        };
        Ok(Some(note.to_owned()))
    }

    /// Makes the kernel trace the rules of a container's namespace, if it has rules that could drop.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn trace_rules_inside(&mut self, number: u64) -> Result<(), TraceError> {
        self.rules.read();
        if self.rules.decide() {
            self.listen()?;
            // A later daemon would not find a table without an owner in there.
            self.rules.install_owned(|flags| vec![sandbox_table(number, flags)])?;
        }
        Ok(())
    }

    /// Starts to receive traced rules, and the events of conntrack.
    fn listen(&mut self) -> Result<(), TraceError> {
        if self.tracer.is_none() {
            // A kernel without conntrack events reports no connections.
            let open = || (Tracer::open(), FlowEvents::open().ok());
            let (tracer, flows) = self.rules.run_inside(open)?;
            (self.tracer, self.flows) = (Some(tracer?), flows);
        }
        Ok(())
    }

    /// Whether this is a namespace.
    pub fn is_in(&self, namespace: &Namespace) -> bool {
        self.namespace.identity() == namespace.identity()
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
        flows.iter().for_each(|flow| take(tracked(&self.watched, flow, false)));
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
        let (base, met) = self.rules.look_up(&traced);
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
        self.rules.unmarked()
    }

    /// Deletes the rules of the trace.
    pub fn forget_rules(&mut self) {
        self.rules.remove();
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

/// The event for a conntrack entry of a namespace.
fn tracked(namespace: &TracedNamespace, flow: &FlowEvent, known: bool) -> Event {
    let FlowEvent { is_gone, id, original, reply } = *flow;
    let change = match (known, is_gone) {
        (true, _) => Change::Known,
        (false, true) => Change::Forgotten,
        (false, false) => Change::New,
    };
    let tracked = ConntrackEvent { change, id, original, reply };
    Event { namespace: namespace.clone(), kind: EventKind::Conntrack(tracked) }
}

/// The flows of the calling thread's namespace, which is the host's, that existed before the trace.
pub fn known_flows(filter: &Filter) -> Vec<Event> {
    // Without conntrack there are none.
    let flows = matching_flows(|flow| filter.means(flow.original) || filter.means(flow.reply));
    flows.unwrap_or_default().iter().map(|flow| tracked(&TracedNamespace::Host, flow, true)).collect()
}

/// What is not seen because tables of iptables-legacy are in use in the calling thread's namespace.
fn legacy_note(watched: &TracedNamespace) -> Option<String> {
    let programs = [("iptables", true), ("ip6tables", false)];
    let used = programs.map(|(program, ipv4)| (program, legacy_tables(ipv4)));
    let named: Vec<String> = used
        .iter()
        .filter(|(_, tables)| !tables.is_empty())
        .map(|(program, tables)| format!("{program} ({})", tables.join(", ")))
        .collect();
    let of = (!named.is_empty()).then(|| named.join(" and "))?;
    Some(format!(
        "rules of iptables-legacy cannot be traced: {watched} has tables of {of}: a packet that they drop is not seen \
         again, and one that they change is seen behind them"
    ))
}
