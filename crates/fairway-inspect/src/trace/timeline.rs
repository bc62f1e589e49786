//! The timeline of one packet: what happened to it, from what was heard of it in order.

use super::event::{Captured, Event, Frame, RuleMet, Ruled, TracedNamespace, What};
use super::fingerprint::ObservedPacket;
use super::output::{FrameBytes, TimelineEntry};
use fairway_ruleset::{Family, Hook, Verdict};
use fairway_walk::{EndKind, EndRecord, RuleRecord, StepKind, StepRecord, Tuple};

/// What happened to a packet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Way {
    /// What happened, in order.
    pub entries: Vec<TimelineEntry>,
    /// Where it ends.
    pub end: EndRecord,
    /// What dropped it, if something did.
    pub dropped: Option<String>,
}

/// The hook that a packet is in, in one namespace.
struct Stay {
    namespace: TracedNamespace,
    id: u32,
    base: Option<(Hook, i32)>,
}

/// Says what happened to a packet, from what was heard in order. `remembered` is whether conntrack rewrites it as it did
/// with an earlier one; `is_ours` finds the tables that are there to watch.
pub fn way(events: &[Event], remembered: bool, is_ours: impl Fn(&str) -> bool) -> Way {
    let mut way = Way::default();
    let mut seen: Vec<(&TracedNamespace, Tuple)> = Vec::new();
    let mut stays: Vec<Stay> = Vec::new();
    let mut at = events.iter().find_map(captured).map_or(0, |captured| captured.at);
    for event in events {
        let namespace = &event.namespace;
        if let What::Captured(captured) = &event.what {
            at = captured.at;
        }
        let now = match &event.what {
            // By then it has been rewritten, by this or as it was for the first.
            What::Tracked(tracked) => Some(tracked.reply.reversed()),
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
        match &event.what {
            What::Captured(captured) => way.entries.push(of_capture(namespace, captured)),
            What::Ruled(ruled) => {
                let base = hook_of(&mut stays, namespace, ruled);
                if !is_ours(&ruled.table) && decides(ruled) {
                    way.entries.push(of_rule(at, namespace, ruled, base));
                }
                if ruled.verdict == Verdict::Drop {
                    way.end = dropped_by(namespace, ruled);
                    way.dropped = Some(way.end.text.clone());
                }
            }
            What::Tracked(tracked) => way.entries.push(TimelineEntry {
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
    match &event.what {
        What::Captured(captured) => Some(captured),
        _ => None,
    }
}

/// The packet as an event shows it.
pub fn observed(event: &Event) -> Option<&ObservedPacket> {
    match &event.what {
        What::Captured(captured) => Some(&captured.observed),
        What::Ruled(ruled) => ruled.head.as_ref().map(|head| &head.observed),
        What::Tracked(_) => None,
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

/// That conntrack has forgotten a flow.
pub fn forgotten(at: u64, namespace: &TracedNamespace, original: Option<Tuple>) -> TimelineEntry {
    of_flow(at, namespace, "forgotten", original)
}

/// The rewrites of the destination and of the source, one after the other.
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

/// The base chain that a packet is in: the kernel does not say it of chains that are jumped to.
fn hook_of(stays: &mut Vec<Stay>, namespace: &TracedNamespace, ruled: &Ruled) -> Option<(Hook, i32)> {
    let known = stays.iter_mut().find(|stay| stay.namespace == *namespace && stay.id == ruled.id);
    match (known, ruled.base) {
        (Some(stay), Some(base)) => stay.base = Some(base),
        (Some(stay), None) => return stay.base,
        (None, base) => stays.push(Stay { namespace: namespace.clone(), id: ruled.id, base }),
    }
    ruled.base
}

/// Whether it is worth an entry: the ends of chains that let a packet pass are not.
fn decides(ruled: &Ruled) -> bool {
    match ruled.met {
        RuleMet::Rule { .. } => true,
        RuleMet::Policy => ruled.verdict == Verdict::Drop,
        RuleMet::End => false,
    }
}

fn of_rule(at: u64, namespace: &TracedNamespace, ruled: &Ruled, base: Option<(Hook, i32)>) -> TimelineEntry {
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

fn record(ruled: &Ruled) -> RuleRecord {
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

fn rejects(ruled: &Ruled) -> bool {
    matches!(&ruled.met, RuleMet::Rule { text: Some(text), .. } if text.contains("reject"))
}

fn dropped_by(namespace: &TracedNamespace, ruled: &Ruled) -> EndRecord {
    let Ruled { family, table, chain, .. } = ruled;
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

/// Where a packet that no rule dropped was last.
fn end(events: &[Event]) -> Option<EndRecord> {
    let last = events.iter().rfind(|event| !matches!(event.what, What::Tracked(_)))?;
    let namespace = &last.namespace;
    let (kind, interface, text) = match &last.what {
        What::Captured(captured) if captured.interface == "lo" && !captured.outgoing => {
            (EndKind::Delivered, Some(captured), format!("arrives on {namespace}"))
        }
        What::Captured(captured) => {
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
        What::Ruled(_) => {
            let own = events.iter().filter(|event| event.namespace == *namespace);
            let mut bases = own.filter_map(|event| match &event.what {
                What::Ruled(ruled) => ruled.base,
                _ => None,
            });
            let (kind, text) = match bases.next_back() {
                Some((Hook::Input, _)) => (EndKind::Delivered, format!("arrives on {namespace}")),
                Some((hook, _)) => (EndKind::Unknown, format!("last seen on {namespace} at {hook}")),
                None => (EndKind::Unknown, format!("last seen on {namespace}")),
            };
            (kind, None, text)
        }
        What::Tracked(_) => return None,
    };
    Some(EndRecord {
        kind,
        namespace: namespace.to_string(),
        interface: interface.map(|captured| captured.interface.clone()),
        text,
        ..EndRecord::default()
    })
}
