//! A packet's way in words.

use super::event::{Captured, Event, Frame, RuleMet, Ruled, What};
use super::fingerprint::ObservedPacket;
use super::output::{FrameBytes, TimelineEntry};
use fairway_ruleset::{Family, Hook, Verdict};
use fairway_walk::{Tuple, changes};

/// What the host is called.
pub const HOST: &str = "host";

/// A packet's way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Way {
    /// What happened, in order.
    pub lines: Vec<TimelineEntry>,
    /// Where it ends.
    pub end: String,
    /// What dropped it, if something did.
    pub dropped: Option<String>,
}

/// Where a packet is in a namespace's hooks.
struct Stay {
    namespace: String,
    id: u32,
    base: Option<(Hook, i32)>,
}

/// Says what happened to a packet, from what was heard in order. `remembered` is whether conntrack rewrites it as it did
/// with an earlier one; `is_ours` tells tables that are there to watch.
pub fn way(events: &[Event], remembered: bool, is_ours: impl Fn(&str) -> bool) -> Way {
    let mut way = Way::default();
    let mut seen: Vec<(String, Tuple)> = Vec::new();
    let mut stays: Vec<Stay> = Vec::new();
    let mut at = events.iter().find_map(captured).map_or(0, |captured| captured.at);
    for event in events {
        let namespace = event.namespace.as_str();
        if let What::Captured(captured) = &event.what {
            at = captured.at;
        }
        let now = match &event.what {
            // By then it has been rewritten, by this or as it was for the first.
            What::Tracked(tracked) => Some(tracked.reply.reversed()),
            _ => observed(event).map(|observed| observed.tuple),
        };
        if let Some(now) = now {
            let before = seen.iter().position(|(other, _)| other == namespace);
            let before = before.map(|at| std::mem::replace(&mut seen[at].1, now));
            match before {
                Some(before) => {
                    let place = if remembered { "conntrack" } else { "translate" };
                    let how = if remembered { " (as it was for the first)" } else { "" };
                    let changed = changes(before, now).into_iter();
                    way.lines.extend(changed.map(|text| line(at, namespace, place, format!("{text}{how}"))));
                }
                None => seen.push((namespace.to_owned(), now)),
            }
        }
        match &event.what {
            What::Captured(captured) => way.lines.push(of_capture(namespace, captured)),
            What::Ruled(ruled) => {
                let base = hook_of(&mut stays, namespace, ruled);
                let words = in_words(ruled).filter(|_| !is_ours(&ruled.table));
                if let Some(words) = words {
                    way.lines.push(line(at, namespace, &place_of(ruled, base), head(ruled, base) + &words));
                }
                if ruled.verdict == Verdict::Drop {
                    way.dropped = Some(dropped_by(namespace, ruled));
                }
            }
            What::Tracked(tracked) => {
                let text = format!("new: {}, answers are expected as {}", tracked.original, tracked.reply);
                way.lines.push(line(at, namespace, "conntrack", text));
            }
        }
    }
    way.end = way.dropped.clone().or_else(|| end(events)).unwrap_or_default();
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

fn line(at: u64, namespace: &str, place: &str, text: String) -> TimelineEntry {
    TimelineEntry {
        at,
        namespace: namespace.to_owned(),
        place: place.to_owned(),
        text,
        ..TimelineEntry::default()
    }
}

fn of_capture(namespace: &str, captured: &Captured) -> TimelineEntry {
    let way = if captured.outgoing { "out" } else { "in " };
    let frame = captured.frame.as_ref().map(|Frame { ethernet, length, bytes }| FrameBytes {
        ethernet: *ethernet,
        outgoing: captured.outgoing,
        length: *length,
        bytes: bytes.clone(),
    });
    let text = format!("{way}  {}", captured.observed);
    TimelineEntry { captured: true, frame, ..line(captured.at, namespace, &captured.interface, text) }
}

/// The base chain that a packet is in: chains that are jumped to do not tell.
fn hook_of(stays: &mut Vec<Stay>, namespace: &str, ruled: &Ruled) -> Option<(Hook, i32)> {
    let known = stays.iter_mut().find(|stay| stay.namespace == namespace && stay.id == ruled.id);
    match (known, ruled.base) {
        (Some(stay), Some(base)) => stay.base = Some(base),
        (Some(stay), None) => return stay.base,
        (None, base) => stays.push(Stay { namespace: namespace.to_owned(), id: ruled.id, base }),
    }
    ruled.base
}

fn place_of(ruled: &Ruled, base: Option<(Hook, i32)>) -> String {
    match (ruled.family, base) {
        (Family::Bridge, Some((hook, _))) => format!("bridge {hook}"),
        (_, Some((hook, _))) => hook.to_string(),
        (family, None) => family.to_string(),
    }
}

fn head(ruled: &Ruled, base: Option<(Hook, i32)>) -> String {
    let Ruled { family, table, chain, .. } = ruled;
    let priority = base.map(|(_, priority)| format!(" {priority}")).unwrap_or_default();
    format!("{family} {table}{priority}: {chain}: ")
}

/// What a rule did; nothing for the ends of chains that let it pass.
fn in_words(ruled: &Ruled) -> Option<String> {
    match &ruled.met {
        RuleMet::Rule { handle, text, .. } => {
            let verdict = ruled.verdict.to_string();
            let text = text.as_deref().unwrap_or("a rule that is gone");
            // What a map decides does not stand in the rule.
            let decides = !matches!(ruled.verdict, Verdict::Continue | Verdict::Break);
            let says = text.contains(&verdict)
                || [" nat", "dnat", "snat", "masquerade", "redirect", "reject"]
                    .iter()
                    .any(|word| text.contains(word));
            let decided = if decides && !says { format!(" -> {verdict}") } else { String::new() };
            Some(format!("{text}{decided}  # handle {handle}"))
        }
        RuleMet::Policy if ruled.verdict == Verdict::Drop => Some("its policy drop".to_owned()),
        RuleMet::Policy | RuleMet::End => None,
    }
}

fn dropped_by(namespace: &str, ruled: &Ruled) -> String {
    let Ruled { family, table, chain, .. } = ruled;
    match &ruled.met {
        RuleMet::Rule { handle, text, comment } => {
            let how = match text {
                Some(text) if text.contains("reject") => "refused",
                _ => "dropped",
            };
            let rule = match (comment, text) {
                (Some(comment), _) => format!(": \"{comment}\""),
                (None, Some(text)) => format!(": {text}"),
                (None, None) => String::new(),
            };
            format!("{how} on {namespace} by {family} {table} {chain}{rule} (handle {handle})")
        }
        RuleMet::Policy | RuleMet::End => {
            format!("dropped on {namespace} by the policy of {family} {table} {chain}")
        }
    }
}

/// Where a packet that nothing dropped was last.
fn end(events: &[Event]) -> Option<String> {
    let last = events.iter().rfind(|event| !matches!(event.what, What::Tracked(_)))?;
    let namespace = &last.namespace;
    Some(match &last.what {
        What::Captured(captured) if captured.interface == "lo" && !captured.outgoing => {
            format!("arrives on {namespace}")
        }
        What::Captured(Captured { outgoing: false, interface, .. }) if namespace != HOST => {
            format!("arrives at {namespace} by {interface}")
        }
        What::Captured(Captured { outgoing: true, interface, .. }) => {
            format!("leaves {namespace} by {interface}")
        }
        What::Captured(Captured { interface, .. }) => format!("last seen at {interface} of {namespace}"),
        What::Ruled(_) => {
            let mut bases =
                events.iter().filter(|event| event.namespace == *namespace).filter_map(|event| match &event
                    .what
                {
                    What::Ruled(ruled) => ruled.base,
                    _ => None,
                });
            match bases.next_back() {
                Some((Hook::Input, _)) => format!("arrives on {namespace}"),
                Some((hook, _)) => format!("last seen on {namespace} at {hook}"),
                None => format!("last seen on {namespace}"),
            }
        }
        What::Tracked(_) => return None,
    })
}
