//! Traced packets as text.

use fairway_inspect::trace::{FlowSummary, Lost, PacketTimeline, TimelineEntry};
use fairway_walk::{EndKind, StepKind};

use crate::command::paint::{Look, Paint};

/// Statements that change a packet or its flow without a verdict, in the words of `nft` and of `iptables-save`.
const STATEMENTS: [&str; 21] = [
    " set ",
    "notrack",
    "queue",
    "tproxy",
    "dup to",
    "fwd to",
    "-j MARK",
    "-j CONNMARK",
    "-j CT",
    "-j TCPMSS",
    "-j TCPOPTSTRIP",
    "-j TOS",
    "-j DSCP",
    "-j ECN",
    "-j TTL",
    "-j HL",
    "-j TEE",
    "-j CLASSIFY",
    "-j SET",
    "-j CHECKSUM",
    "-j SECMARK",
];

/// Prints packets as they come.
pub(super) struct Text {
    paint: Paint,
    /// Whether rules without effect are printed.
    all: bool,
    /// The number of rules that were not printed.
    hidden: u64,
    /// When the first packet was seen.
    began: Option<u64>,
    /// The widest namespace and place so far, so that columns stay.
    widths: (usize, usize),
}

impl Text {
    pub(super) fn new(paint: Paint, all: bool) -> Self {
        Self { paint, all, hidden: 0, began: None, widths: (4, 11) }
    }

    /// A packet: what it is, what happened to it, and where it ends.
    pub(super) fn timeline(&mut self, timeline: &PacketTimeline) -> String {
        let began = *self.began.get_or_insert(timeline.at);
        let (namespace, place) = &mut self.widths;
        let shown: Vec<&TimelineEntry> =
            timeline.entries.iter().filter(|entry| self.all || has_effect(entry)).collect();
        self.hidden += (timeline.entries.len() - shown.len()) as u64;
        for entry in &shown {
            *namespace = (*namespace).max(entry.step.namespace.len());
            *place = (*place).max(entry.step.location().len());
        }
        let (namespace, place) = self.widths;
        let mut text = String::new();
        if !timeline.title.is_empty() {
            let number = timeline.flow.number;
            let carries = match timeline.flow.carries {
                Some(other) => format!(" (the proxy's, for flow {other})"),
                None => String::new(),
            };
            let back = if timeline.back { ", back" } else { "" };
            let title = format!("flow {number}{back}{carries}:  {}", timeline.title);
            text.push_str(&format!("{}\n", self.paint.dress(Look::Title, &title)));
        }
        for entry in shown {
            let seconds = entry.at.saturating_sub(began) as f64 / 1e9;
            let words = entry.text();
            let words = match look(entry) {
                Some(look) => self.paint.dress(look, &words),
                None => words,
            };
            text.push_str(&format!(
                "  {seconds:10.6}  {:namespace$}  {:place$}  {words}\n",
                entry.step.namespace,
                entry.step.location()
            ));
        }
        if !timeline.end.text.is_empty() {
            let end = &timeline.end.text;
            let bad = matches!(timeline.end.kind, EndKind::Dropped | EndKind::Rejected);
            let end = if bad { self.paint.dress(Look::Bad, end) } else { end.clone() };
            text.push_str(&format!("  = {end}\n"));
        }
        text.push('\n');
        text
    }

    /// What came of each flow, and what was missed.
    pub(super) fn summaries<'a>(&self, flows: impl Iterator<Item = &'a FlowSummary>, lost: &Lost) -> String {
        let mut text = String::new();
        for flow in flows {
            let look = match flow.answered {
                Some(true) => Look::Good,
                Some(false) => Look::Bad,
                None => Look::Unsure,
            };
            let rewritten = match &flow.translated {
                Some(translated) => format!(", rewritten to {translated}"),
                None => String::new(),
            };
            let carries = match flow.carries {
                Some(other) => format!(", by which the proxy carries flow {other}"),
                None => String::new(),
            };
            let (forth, back) = flow.packets;
            text.push_str(&format!(
                "flow {}: {}{rewritten}{carries}: {} ({} and {back} back)\n",
                flow.number,
                flow.original.map(|original| original.to_string()).unwrap_or_default(),
                self.paint.dress(look, &flow.outcome),
                counted(forth),
            ));
        }
        if text.is_empty() {
            text.push_str("no packet was seen\n");
        }
        let missed = [
            (self.hidden, "rules without effect on their packets are not shown: --all shows them"),
            (lost.captured, "packets were missed by captures: there were too many"),
            (lost.ruled, "packets met rules that are not shown: more than 1000 came in a second"),
            (lost.unreported, "packets were seen and are not shown: there were too many"),
        ];
        for (count, words) in missed.into_iter().filter(|(count, _)| *count > 0) {
            text.push_str(&format!("{count} {words}\n"));
        }
        text
    }
}

/// Whether a line says more than that a rule counted the packet, or sent it to another chain.
fn has_effect(entry: &TimelineEntry) -> bool {
    let rule = &entry.step.rule;
    if entry.step.kind != StepKind::Rule {
        return true;
    }
    let sets = || rule.rule.as_deref().is_none_or(|text| STATEMENTS.iter().any(|word| text.contains(word)));
    match rule.verdict.as_deref() {
        None => sets(),
        Some(verdict) => !["jump", "goto", "return"].iter().any(|word| verdict.starts_with(word)) || sets(),
    }
}

fn look(entry: &TimelineEntry) -> Option<Look> {
    let verdict = entry.step.rule.verdict.as_deref();
    match entry.step.kind {
        _ if entry.step.is_captured() => Some(Look::Captured),
        StepKind::Rule if matches!(verdict, Some("drop" | "reject")) => Some(Look::Bad),
        _ => None,
    }
}

fn counted(packets: u64) -> String {
    if packets == 1 { "1 packet".to_owned() } else { format!("{packets} packets") }
}

#[cfg(test)]
mod tests;
