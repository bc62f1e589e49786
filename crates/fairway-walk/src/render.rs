//! Paths in words: a line for each step, and a sentence for each end.

use serde::{Deserialize, Serialize};

use super::connection::{ConnectionWalk, Outcome};
use super::evaluate::RuleHit;
use super::packet::Tuple;
use super::step::{End, PacketWalk, Step};
use fairway_ruleset::Verdict;

/// A step in words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Line {
    /// The namespace.
    pub namespace: String,
    /// Where on it: an interface, a hook, `route`.
    pub place: String,
    /// What happens there.
    pub text: String,
    /// Whether a capture on that interface shows it so.
    pub captured: bool,
    /// Whether nothing happened there: a chain without a rule for it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub idle: bool,
    /// Of a rule: what the kernel tells it by, as `nft -a` prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handle: Option<u64>,
    /// Of a rule: its comment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

impl Line {
    fn new(namespace: &str, place: impl Into<String>, text: impl Into<String>) -> Self {
        Self { namespace: namespace.to_owned(), place: place.into(), text: text.into(), ..Self::default() }
    }

    fn capture(namespace: &str, interface: &str, text: String) -> Self {
        Self { captured: true, ..Self::new(namespace, interface, text) }
    }
}

/// What a rewrite changed, in words: the source, the destination, or both.
pub fn changes(from: Tuple, to: Tuple) -> Vec<String> {
    let side = |address: std::net::IpAddr, port: u16| match (address, to.has_ports()) {
        (std::net::IpAddr::V6(address), true) => format!("[{address}]:{port}"),
        (address, true) => format!("{address}:{port}"),
        (address, false) => address.to_string(),
    };
    let source = |tuple: Tuple| side(tuple.source, tuple.source_port);
    let destination = |tuple: Tuple| side(tuple.destination, tuple.destination_port);
    let sides = [("destination", destination(from), destination(to)), ("source", source(from), source(to))];
    let changed = sides.into_iter().filter(|(_, old, new)| old != new);
    changed.map(|(what, old, new)| format!("{what} {old} -> {new}")).collect()
}

fn rule(met: &RuleHit) -> String {
    let mut text = match &met.rule {
        Some(rule) => format!("{}: {rule}", met.chain),
        None => format!("{}: its policy", met.chain),
    };
    if let Some(handle) = met.handle {
        let what = if met.legacy { "number" } else { "handle" };
        text.push_str(&format!("  # {what} {handle}"));
    }
    if let Some(element) = &met.element {
        text.push_str(&format!("  [{element}]"));
    }
    // A rule that only counts or jumps says so itself; what was chosen by a map does not.
    if met.rule.is_none()
        && let Some(verdict @ (Verdict::Drop | Verdict::Accept)) = &met.verdict
    {
        text.push_str(&format!(" {verdict}"));
    }
    text
}

impl Step {
    /// The step in words: a line, or one for each rule.
    pub fn lines(&self) -> Vec<Line> {
        match self {
            Self::Made { namespace, tuple } => {
                vec![Line::new(namespace, "program", format!("makes {tuple}"))]
            }
            Self::Arrives { namespace, interface, tuple } => {
                vec![Line::capture(namespace, interface, format!("in   {tuple}"))]
            }
            Self::Leaves { namespace, interface, tuple } => {
                vec![Line::capture(namespace, interface, format!("out  {tuple}"))]
            }
            Self::Tracked { namespace, state } => vec![Line::new(namespace, "conntrack", *state)],
            Self::Routed { namespace, route, why } => {
                vec![Line::new(namespace, "route", format!("{route} ({why})"))]
            }
            Self::Bridged { namespace, bridge, to } => {
                let to =
                    to.as_ref().map_or("up to the host".to_owned(), |port| format!("to its port {port}"));
                vec![Line::new(namespace, bridge, to)]
            }
            Self::Translated { namespace, from, to, now } => {
                let place = if *now { "translate" } else { "conntrack" };
                let how = if *now { "" } else { " (as it was for the first)" };
                vec![Line::new(namespace, place, format!("{}{how}", changes(*from, *to).join(", ")))]
            }
            Self::Chain { namespace, hook, bridged, priority, table, chain, met } => {
                let place = if *bridged { format!("bridge {hook}") } else { hook.to_string() };
                if met.is_empty() {
                    let text = format!("{table} {priority}: {chain}: no rule is for it");
                    return vec![Line { idle: true, ..Line::new(namespace, place, text) }];
                }
                let head = |met: &RuleHit| format!("{} {priority}: {}", met.table_text(), rule(met));
                let line = |met: &RuleHit| Line {
                    handle: met.handle,
                    comment: met.comment.clone(),
                    ..Line::new(namespace, place.as_str(), head(met))
                };
                met.iter().map(line).collect()
            }
        }
    }
}

impl End {
    /// The end in a sentence.
    pub fn sentence(&self) -> String {
        match self {
            Self::Delivered { namespace, owner, tuple, proxy: None } => {
                format!("delivered on {namespace} to {owner}, which sees {tuple}")
            }
            Self::Delivered { namespace, owner, proxy: Some(target), .. } => {
                format!(
                    "delivered on {namespace} to {owner}, which carries it to {target} by a connection of its own"
                )
            }
            Self::NoListener { namespace, tuple } => {
                format!("refused: nobody on {namespace} listens at {}", destination(tuple))
            }
            Self::Dropped { namespace, by } => format!("dropped on {namespace} by {by}"),
            Self::Rejected { namespace, by, how } => {
                format!("refused on {namespace} by {by}: its sender gets {how}")
            }
            Self::Discarded { namespace, reason } => format!("lost on {namespace}: {reason}"),
            Self::NoRoute { namespace, destination } => {
                format!("refused on {namespace}: there is no route to {destination}")
            }
            Self::NoNeighbor { namespace, interface, next } => {
                format!("lost on {namespace}: nobody behind {interface} has {next}")
            }
            Self::Leaves { namespace, interface, next, tuple } => {
                format!("leaves {namespace} by {interface} for {next}, where a capture sees {tuple}")
            }
            Self::Unknown { namespace, reason } => format!("unknown from here on {namespace}: {reason}"),
        }
    }
}

fn destination(tuple: &Tuple) -> String {
    tuple.to_string().rsplit(" > ").next().unwrap_or_default().to_owned()
}

impl PacketWalk {
    /// All steps in words.
    pub fn lines(&self) -> Vec<Line> {
        self.steps.iter().flat_map(Step::lines).collect()
    }
}

/// A walk of a connection with its title.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Part {
    /// Which walk it is.
    pub title: String,
    /// Its steps.
    pub lines: Vec<Line>,
    /// Its end.
    pub end: String,
}

impl ConnectionWalk {
    /// The walks, in the order in which they happen.
    pub fn parts(&self) -> Vec<Part> {
        self.titled("")
    }

    fn titled(&self, whose: &str) -> Vec<Part> {
        let part = |title: &str, walk: &PacketWalk| Part {
            title: format!("{title}{whose}"),
            lines: walk.lines(),
            end: walk.end.sentence(),
        };
        let mut parts = vec![part("the first packet", &self.first)];
        if let Some(second) = &self.proxied {
            parts.extend(second.titled(" of the proxy's connection"));
        }
        let answers =
            if matches!(self.first.end, End::Delivered { .. }) { "its answer" } else { "its refusal" };
        parts.extend(self.reply.as_ref().map(|walk| part(answers, walk)));
        parts.extend(self.established.as_ref().map(|walk| part("an established one", walk)));
        parts.extend(self.next_reply.as_ref().map(|walk| part("the next one of the answer", walk)));
        parts.extend(self.refusal.as_ref().map(|walk| part("the refusal of that", walk)));
        parts
    }

    /// What comes of it, in a sentence.
    pub fn sentence(&self) -> String {
        match self.outcome() {
            Outcome::Answered(source) => format!("It is answered; the server sees {source}."),
            Outcome::LeavesHost => "It leaves; what answers is not known here.".to_owned(),
            Outcome::Unknown => format!("Not known: {}.", self.last_end().sentence()),
            Outcome::NoReply => format!("No answer: {}.", self.last_end().sentence()),
            Outcome::Closed => {
                format!("Accepted by the proxy, and closed again: {}.", self.last_end().sentence())
            }
            Outcome::Refused | Outcome::Unreachable => {
                let end = self.last_end().sentence();
                format!("{}{}.", end[..1].to_uppercase(), &end[1..])
            }
        }
    }

    /// The end that decided.
    pub fn last_end(&self) -> &End {
        &self.last_walk().end
    }

    /// The walk whose end decided.
    pub fn last_walk(&self) -> &PacketWalk {
        if let Some(second) = &self.proxied {
            return second.last_walk();
        }
        let arrives = |walk: &PacketWalk| matches!(walk.end, End::Delivered { .. } | End::Leaves { .. });
        let delivered = matches!(self.first.end, End::Delivered { .. });
        let is_tcp = matches!(&self.first.end, End::Delivered { tuple, .. } if tuple.protocol == 6);
        if let Some(stuck) = self.stuck().filter(|_| is_tcp) {
            return stuck;
        }
        match &self.reply {
            Some(reply) if delivered || !arrives(reply) => reply,
            _ => &self.first,
        }
    }
}
