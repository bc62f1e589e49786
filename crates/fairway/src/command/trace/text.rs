//! What was seen, for people.

use fairway_inspect::trace::{FlowSummary, Lost, PacketTimeline};
use fairway_walk::EndKind;

/// Colours (ECMA-48, 8.3.117).
const BOLD: &str = "1";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const CYAN: &str = "36";

/// Prints packets as they come.
pub(super) struct Text {
    colours: bool,
    /// When the first packet was seen.
    began: Option<u64>,
    /// The widest namespace and place so far, so that columns stay.
    widths: (usize, usize),
}

impl Text {
    pub(super) fn new(colours: bool) -> Self {
        Self { colours, began: None, widths: (4, 11) }
    }

    fn dress(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A packet: what it is, what happened to it, and where it ends.
    pub(super) fn timeline(&mut self, timeline: &PacketTimeline) -> String {
        let began = *self.began.get_or_insert(timeline.at);
        let (namespace, place) = &mut self.widths;
        for entry in &timeline.entries {
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
            text.push_str(&format!("{}\n", self.dress(BOLD, &title)));
        }
        for entry in &timeline.entries {
            let seconds = entry.at.saturating_sub(began) as f64 / 1e9;
            let words = entry.text();
            let words = if entry.step.is_captured() { self.dress(CYAN, &words) } else { words };
            text.push_str(&format!(
                "  {seconds:10.6}  {:namespace$}  {:place$}  {words}\n",
                entry.step.namespace,
                entry.step.location()
            ));
        }
        if !timeline.end.text.is_empty() {
            let end = &timeline.end.text;
            let bad = matches!(timeline.end.kind, EndKind::Dropped | EndKind::Rejected);
            let end = if bad { self.dress(RED, end) } else { end.clone() };
            text.push_str(&format!("  = {end}\n"));
        }
        text.push('\n');
        text
    }

    /// What came of each flow, and what was missed.
    pub(super) fn summaries<'a>(&self, flows: impl Iterator<Item = &'a FlowSummary>, lost: &Lost) -> String {
        let mut text = String::new();
        for flow in flows {
            let code = match flow.answered {
                Some(true) => GREEN,
                Some(false) => RED,
                None => YELLOW,
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
                self.dress(code, &flow.outcome),
                counted(forth),
            ));
        }
        if text.is_empty() {
            text.push_str("no packet was seen\n");
        }
        let missed = [
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

fn counted(packets: u64) -> String {
    if packets == 1 { "1 packet".to_owned() } else { format!("{packets} packets") }
}
