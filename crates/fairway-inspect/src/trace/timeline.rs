//! Builds the timeline of one packet from its events in order.

use super::event::{Captured, Event, EventKind, Frame, RuleMet, RuleTrace, TracedNamespace};
use super::fingerprint::ObservedPacket;
use super::output::{FrameBytes, TimelineEntry};
use fairway_ruleset::{Family, Hook, Verdict};
use fairway_walk::{EndKind, EndRecord, RuleRecord, StepKind, StepRecord, Tuple};

/// The path of a packet: its events and its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Way {
    /// The events in order.
    pub entries: Vec<TimelineEntry>,
    /// The end of the path.
    pub end: EndRecord,
    /// The reason why it was dropped, if it was.
    pub dropped: Option<String>,
}

/// The hook that a packet is in, in one namespace.
struct Stay {
    namespace: TracedNamespace,
    id: u32,
    base: Option<(Hook, i32)>,
}

/// Builds the path of a packet from its events in order. `remembered` is whether conntrack rewrites it as an earlier
/// packet of the flow; `is_ours` recognizes the tables that only trace.
pub fn way(events: &[Event], remembered: bool, is_ours: impl Fn(&str) -> bool) -> Way {
    let mut way = Way::default();
    let mut seen: Vec<(&TracedNamespace, Tuple)> = Vec::new();
    let mut stays: Vec<Stay> = Vec::new();
    let mut at = events.iter().find_map(captured).map_or(0, |captured| captured.at);
    for event in events {
        let namespace = &event.namespace;
        if let EventKind::Captured(captured) = &event.kind {
            at = captured.at;
        }
        let now = match &event.kind {
            // Conntrack confirms a flow after NAT, so the packet has its final addresses.
            EventKind::Conntrack(tracked) => Some(tracked.reply.reversed()),
            _ => observed(event).map(|observed| observed.tuple),
        };
        if let Some(now) = now {
            match seen.iter_mut().find(|(other, _)| *other == namespace) {
                Some((_, before)) => {
                    way.entries.extend(rewritten(at, namespace, (*before, now), remembered));
                    *before = now;
                }
                None => seen.push((namespace, now)),
            }
        }
        match &event.kind {
            EventKind::Captured(captured) => way.entries.push(of_capture(namespace, captured)),
            EventKind::Rule(ruled) => {
                let base = hook_of(&mut stays, namespace, ruled);
                if !is_ours(&ruled.table) && decides(ruled) {
                    way.entries.push(of_rule(at, namespace, ruled, base));
                }
                if ruled.verdict == Verdict::Drop {
                    way.end = dropped_by(namespace, ruled);
                    way.dropped = Some(way.end.text.clone());
                }
            }
            EventKind::Conntrack(tracked) => way.entries.push(TimelineEntry {
                expected_reply: Some(tracked.reply),
                ..of_flow(at, namespace, "new", Some(tracked.original))
            }),
        }
    }
    if way.dropped.is_none() {
        way.end = end(events).unwrap_or_default();
    }
    way
}

fn captured(event: &Event) -> Option<&Captured> {
    match &event.kind {
        EventKind::Captured(captured) => Some(captured),
        _ => None,
    }
}

/// The packet of an event; none for conntrack's events and for rules without headers.
pub fn observed(event: &Event) -> Option<&ObservedPacket> {
    match &event.kind {
        EventKind::Captured(captured) => Some(&captured.observed),
        EventKind::Rule(ruled) => ruled.head.as_ref().map(|head| &head.observed),
        EventKind::Conntrack(_) => None,
    }
}

fn entry(at: u64, namespace: &TracedNamespace, kind: StepKind) -> TimelineEntry {
    let step = StepRecord { kind, namespace: namespace.to_string(), ..StepRecord::default() };
    TimelineEntry { at, step, ..TimelineEntry::default() }
}

fn of_flow(at: u64, namespace: &TracedNamespace, state: &str, original: Option<Tuple>) -> TimelineEntry {
    let mut entry = entry(at, namespace, StepKind::Conntrack);
    entry.step.state = Some(state.to_owned());
    entry.step.packet = original;
    entry
}

/// The entry of a flow that conntrack has removed.
pub fn forgotten(at: u64, namespace: &TracedNamespace, original: Option<Tuple>) -> TimelineEntry {
    of_flow(at, namespace, "forgotten", original)
}

/// The entries of a rewrite: of the destination first, then of the source.
fn rewritten(
    at: u64,
    namespace: &TracedNamespace,
    (before, after): (Tuple, Tuple),
    remembered: bool,
) -> Vec<TimelineEntry> {
    let (destination, destination_port) = (after.destination, after.destination_port);
    let middle = Tuple { destination, destination_port, ..before };
    let rewrites = [(before, middle), (middle, after)].into_iter().filter(|(before, after)| before != after);
    let entries = rewrites.map(|(before, after)| {
        let mut entry = entry(at, namespace, StepKind::Translate);
        entry.step.before = Some(before);
        entry.step.after = Some(after);
        entry.step.remembered = remembered;
        entry
    });
    entries.collect()
}

fn of_capture(namespace: &TracedNamespace, captured: &Captured) -> TimelineEntry {
    let kind = if captured.outgoing { StepKind::Out } else { StepKind::In };
    let mut entry = entry(captured.at, namespace, kind);
    entry.step.interface = Some(captured.interface.clone());
    entry.step.packet = Some(captured.observed.tuple);
    entry.segment = Some(captured.observed.segment.to_string());
    entry.about = captured.observed.about;
    entry.frame = captured.frame.as_ref().map(|Frame { ethernet, length, bytes }| FrameBytes {
        ethernet: *ethernet,
        outgoing: captured.outgoing,
        length: *length,
        bytes: bytes.clone(),
    });
    entry
}

/// The base chain that a packet is in: trace messages of other chains do not name it.
fn hook_of(stays: &mut Vec<Stay>, namespace: &TracedNamespace, ruled: &RuleTrace) -> Option<(Hook, i32)> {
    let known = stays.iter_mut().find(|stay| stay.namespace == *namespace && stay.id == ruled.id);
    match (known, ruled.base) {
        (Some(stay), Some(base)) => stay.base = Some(base),
        (Some(stay), None) => return stay.base,
        (None, base) => stays.push(Stay { namespace: namespace.clone(), id: ruled.id, base }),
    }
    ruled.base
}

/// Whether an event gets an entry: ends of chains that accept a packet do not.
fn decides(ruled: &RuleTrace) -> bool {
    match ruled.met {
        RuleMet::Rule { .. } => true,
        RuleMet::Policy => ruled.verdict == Verdict::Drop,
        RuleMet::End => false,
    }
}

fn of_rule(
    at: u64,
    namespace: &TracedNamespace,
    ruled: &RuleTrace,
    base: Option<(Hook, i32)>,
) -> TimelineEntry {
    let mut entry = entry(at, namespace, StepKind::Rule);
    entry.step.hook = Some(match (ruled.family, base) {
        (Family::Bridge, Some((hook, _))) => format!("bridge {hook}"),
        (_, Some((hook, _))) => hook.to_string(),
        (family, None) => family.to_string(),
    });
    entry.step.priority = base.map(|(_, priority)| priority);
    entry.step.rule = record(ruled);
    entry
}

fn record(ruled: &RuleTrace) -> RuleRecord {
    let (handle, rule, comment) = match &ruled.met {
        RuleMet::Rule { handle, text, comment } => (Some(*handle), text.clone(), comment.clone()),
        RuleMet::Policy | RuleMet::End => (None, None, None),
    };
    let verdict = match &ruled.verdict {
        Verdict::Continue | Verdict::Break => None,
        Verdict::Drop if rejects(ruled) => Some("reject".to_owned()),
        verdict => Some(verdict.to_string()),
    };
    RuleRecord {
        family: Some(ruled.family.to_string()),
        table: Some(ruled.table.clone()),
        chain: Some(ruled.chain.clone()),
        rule,
        handle,
        comment,
        verdict,
        ..RuleRecord::default()
    }
}

fn rejects(ruled: &RuleTrace) -> bool {
    matches!(&ruled.met, RuleMet::Rule { text: Some(text), .. } if text.contains("reject"))
}

fn dropped_by(namespace: &TracedNamespace, ruled: &RuleTrace) -> EndRecord {
    let RuleTrace { family, table, chain, .. } = ruled;
    let (kind, how) = match rejects(ruled) {
        true => (EndKind::Rejected, "refused"),
        false => (EndKind::Dropped, "dropped"),
    };
    let by = match &ruled.met {
        RuleMet::Rule { handle, text, comment } => {
            let rule = match (comment, text) {
                (Some(comment), _) => format!(": \"{comment}\""),
                (None, Some(text)) => format!(": {text}"),
                (None, None) => String::new(),
            };
            format!("{family} {table} {chain}{rule} (handle {handle})")
        }
        RuleMet::Policy | RuleMet::End => format!("the policy of {family} {table} {chain}"),
    };
    EndRecord {
        kind,
        namespace: namespace.to_string(),
        rule: record(ruled),
        text: format!("{how} on {namespace} by {by}"),
        ..EndRecord::default()
    }
}

/// The end of a packet that no rule dropped: its last observed place.
fn end(events: &[Event]) -> Option<EndRecord> {
    let last = events.iter().rfind(|event| !matches!(event.kind, EventKind::Conntrack(_)))?;
    let namespace = &last.namespace;
    let (kind, interface, text) = match &last.kind {
        EventKind::Captured(captured) if captured.interface == "lo" && !captured.outgoing => {
            (EndKind::Delivered, Some(captured), format!("arrives on {namespace}"))
        }
        EventKind::Captured(captured) => {
            let interface = &captured.interface;
            let (kind, text) = match (captured.outgoing, namespace) {
                (true, _) => (EndKind::Leaves, format!("leaves {namespace} by {interface}")),
                (false, TracedNamespace::Host) => {
                    (EndKind::Unknown, format!("last seen at {interface} of {namespace}"))
                }
                (false, _) => (EndKind::Delivered, format!("arrives at {namespace} by {interface}")),
            };
            (kind, Some(captured), text)
        }
        EventKind::Rule(_) => {
            let own = events.iter().filter(|event| event.namespace == *namespace);
            let mut bases = own.filter_map(|event| match &event.kind {
                EventKind::Rule(ruled) => ruled.base,
                _ => None,
            });
            let (kind, text) = match bases.next_back() {
                Some((Hook::Input, _)) => (EndKind::Delivered, format!("arrives on {namespace}")),
                Some((hook, _)) => (EndKind::Unknown, format!("last seen on {namespace} at {hook}")),
                None => (EndKind::Unknown, format!("last seen on {namespace}")),
            };
            (kind, None, text)
        }
        EventKind::Conntrack(_) => return None,
    };
    Some(EndRecord {
        kind,
        namespace: namespace.to_string(),
        interface: interface.map(|captured| captured.interface.clone()),
        text,
        ..EndRecord::default()
    })
}
