//! Walks as records: the fields of each step and end, as the API shows them, and the texts that are printed from them.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::evaluate::{Action, RuleHit};
use super::packet::Tuple;
use super::step::{End, PacketWalk, Step};
use super::topology::{RouteKind, Topology};

/// A rule that a packet matched, or the policy of a chain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RuleRecord {
    /// The family of the table: `ip`, `inet`, `bridge`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// The table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Whether the table is one of iptables-legacy, which counts rules instead of giving them handles.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub legacy: bool,
    /// The chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// The rule as `nft` prints it; none for the policy of the chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The rule's handle, as `nft -a` prints it; of iptables-legacy the rule's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handle: Option<u64>,
    /// The rule's comment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The element of a set or map that matched, with the name of the set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub element: Option<String>,
    /// `accept`, `drop`, `reject`, or `jump` and `goto` with their chain; none when the next rule is tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
}

impl RuleRecord {
    fn of(hit: &RuleHit) -> Self {
        let rejects = hit.actions.iter().any(|action| matches!(action, Action::Refuse(_)));
        let verdict = hit.verdict.as_ref().map(ToString::to_string);
        Self {
            family: Some(hit.family.to_string()),
            table: Some(hit.table.clone()),
            legacy: hit.legacy,
            chain: Some(hit.chain.clone()),
            rule: hit.rule.clone(),
            handle: hit.handle,
            comment: hit.comment.clone(),
            element: hit.element.clone(),
            verdict: if rejects { Some("reject".to_owned()) } else { verdict },
        }
    }

    /// Family and name of the table, as `ip filter` or `legacy ip filter`.
    pub fn table_text(&self) -> String {
        let legacy = if self.legacy { "legacy " } else { "" };
        let [family, table] = [&self.family, &self.table].map(|it| it.as_deref().unwrap_or_default());
        format!("{legacy}{family} {table}")
    }
}

/// The kind of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepKind {
    /// A program sends the packet.
    #[default]
    Program,
    /// The packet arrives at an interface, as a capture there shows it.
    In,
    /// The packet leaves by an interface, as a capture there shows it.
    Out,
    /// The packet passes a base chain in which no rule matches.
    Chain,
    /// The packet matches a rule, or the policy of a chain decides.
    Rule,
    /// Conntrack finds or begins the packet's flow.
    Conntrack,
    /// NAT rewrites addresses or ports.
    Translate,
    /// A route is chosen.
    Route,
    /// A bridge forwards the frame to a port, or up to the host.
    Bridge,
    /// The packet meets a program at an interface, which may change or drop it.
    LinkProgram,
}

/// One step of a packet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct StepRecord {
    /// The kind of the step.
    pub kind: StepKind,
    /// The name of the namespace: `host`, or a sandbox's.
    pub namespace: String,
    /// The interface, or the bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The port that a bridge forwards to; none for the host itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// The hook, such as `prerouting` or `bridge forward`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
    /// The priority of the base chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// The rule with its table and chain.
    #[serde(flatten)]
    pub rule: RuleRecord,
    /// The packet's addresses and ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet: Option<Tuple>,
    /// Addresses and ports before NAT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Tuple>,
    /// Addresses and ports after NAT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Tuple>,
    /// Whether conntrack repeats the translation of the first packet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub remembered: bool,
    /// Conntrack's state of the packet: `new`, `established`, `related`, `invalid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// The route, as `ip route` prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Why the route was chosen; of a program at an interface which it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The changes of a rewrite as text: of the destination, the source, or both.
pub fn changes(from: Tuple, to: Tuple) -> Vec<String> {
    let sides = [
        ("destination", from.destination_text(), to.destination_text()),
        ("source", from.source_text(), to.source_text()),
    ];
    let changed = sides.into_iter().filter(|(_, old, new)| old != new);
    changed.map(|(what, old, new)| format!("{what} {old} -> {new}")).collect()
}

impl StepRecord {
    /// Whether a capture at the interface shows the packet of the step.
    pub fn is_captured(&self) -> bool {
        matches!(self.kind, StepKind::In | StepKind::Out)
    }

    /// Where the step happens in its namespace: an interface, a hook, `route`.
    pub fn location(&self) -> &str {
        match self.kind {
            StepKind::Program => "program",
            StepKind::In | StepKind::Out | StepKind::Bridge | StepKind::LinkProgram => {
                self.interface.as_deref().unwrap_or_default()
            }
            StepKind::Chain | StepKind::Rule => self.hook.as_deref().unwrap_or_default(),
            StepKind::Translate if !self.remembered => "translate",
            StepKind::Conntrack | StepKind::Translate => "conntrack",
            StepKind::Route => "route",
        }
    }

    /// The step as one line of text.
    pub fn text(&self) -> String {
        let packet = || self.packet.map(|packet| packet.to_string()).unwrap_or_default();
        match self.kind {
            StepKind::Program => format!("makes {}", packet()),
            StepKind::In => format!("in   {}", packet()),
            StepKind::Out => format!("out  {}", packet()),
            StepKind::Conntrack => self.state.clone().unwrap_or_default(),
            StepKind::Route => {
                let [route, why] = [&self.route, &self.reason].map(|it| it.as_deref().unwrap_or_default());
                format!("{route} ({why})")
            }
            StepKind::Bridge => match &self.port {
                Some(port) => format!("to its port {port}"),
                None => "up to the host".to_owned(),
            },
            StepKind::LinkProgram => {
                format!("{} may change or drop it here", self.reason.as_deref().unwrap_or("a program"))
            }
            StepKind::Translate => {
                let changed = self.before.zip(self.after).map(|(before, after)| changes(before, after));
                let how = if self.remembered { " (as it was for the first)" } else { "" };
                format!("{}{how}", changed.unwrap_or_default().join(", "))
            }
            StepKind::Chain => format!("{}: no rule is for it", self.chain_text()),
            StepKind::Rule => self.rule_text(),
        }
    }

    /// Table, priority and chain: `inet fairway -100: prerouting`.
    fn chain_text(&self) -> String {
        let priority = self.priority.map(|priority| format!(" {priority}")).unwrap_or_default();
        let chain = self.rule.chain.as_deref().unwrap_or_default();
        format!("{}{priority}: {chain}", self.rule.table_text())
    }

    fn rule_text(&self) -> String {
        let RuleRecord { rule, handle, element, verdict, legacy, .. } = &self.rule;
        let shown = match (rule, handle) {
            (Some(rule), _) => rule.as_str(),
            (None, Some(_)) => "a rule that is gone",
            (None, None) => "its policy",
        };
        let mut text = format!("{}: {shown}", self.chain_text());
        let by_map = rule.as_ref().is_some_and(|rule| !names_verdict(rule, verdict.as_deref()));
        if let Some(verdict) = verdict.as_ref().filter(|_| by_map && element.is_none()) {
            text.push_str(&format!(" -> {verdict}"));
        }
        if let Some(handle) = handle {
            let what = if *legacy { "number" } else { "handle" };
            text.push_str(&format!("  # {what} {handle}"));
        }
        if let Some(element) = element {
            text.push_str(&format!("  [{element}]"));
        }
        if let (None, None, Some(verdict)) = (rule, handle, verdict) {
            text.push_str(&format!(" {verdict}"));
        }
        text
    }
}

/// Whether the text of a rule contains its verdict; the verdict of a map is not in the rule.
fn names_verdict(rule: &str, verdict: Option<&str>) -> bool {
    let statements = [" nat", "dnat", "snat", "masquerade", "redirect", "reject", "-j ", "-g "];
    verdict.is_none_or(|verdict| rule.contains(verdict)) || statements.iter().any(|it| rule.contains(it))
}

impl Step {
    /// The step as records: one, or one for each rule that matched.
    pub fn records(&self, topology: &Topology) -> Vec<StepRecord> {
        let new = |kind| StepRecord {
            kind,
            namespace: topology.name(self.namespace()).to_owned(),
            ..StepRecord::default()
        };
        let at = |kind, interface: &str| StepRecord { interface: Some(interface.to_owned()), ..new(kind) };
        let record = match self {
            Self::Made { tuple, .. } => StepRecord { packet: Some(*tuple), ..new(StepKind::Program) },
            Self::Arrives { interface, tuple, .. } => {
                StepRecord { packet: Some(*tuple), ..at(StepKind::In, interface) }
            }
            Self::Leaves { interface, tuple, .. } => {
                StepRecord { packet: Some(*tuple), ..at(StepKind::Out, interface) }
            }
            Self::Tracked { state, .. } => {
                StepRecord { state: Some((*state).to_owned()), ..new(StepKind::Conntrack) }
            }
            Self::Routed { route, why, .. } => {
                StepRecord { route: Some(route.clone()), reason: Some(why.clone()), ..new(StepKind::Route) }
            }
            Self::Bridged { bridge, to, .. } => {
                StepRecord { port: to.clone(), ..at(StepKind::Bridge, bridge) }
            }
            Self::Program { interface, what, .. } => {
                StepRecord { reason: Some(what.clone()), ..at(StepKind::LinkProgram, interface) }
            }
            Self::Translated { from, to, now, .. } => StepRecord {
                before: Some(*from),
                after: Some(*to),
                remembered: !now,
                ..new(StepKind::Translate)
            },
            Self::Chain { hook, bridged, priority, family, table, legacy, chain, hits, .. } => {
                let hook = if *bridged { format!("bridge {hook}") } else { hook.to_string() };
                let at_hook = |kind, rule| StepRecord {
                    hook: Some(hook.clone()),
                    priority: Some(*priority),
                    rule,
                    ..new(kind)
                };
                if !hits.is_empty() {
                    return hits.iter().map(|hit| at_hook(StepKind::Rule, RuleRecord::of(hit))).collect();
                }
                let passed = RuleRecord {
                    family: Some(family.to_string()),
                    table: Some(table.clone()),
                    legacy: *legacy,
                    chain: Some(chain.clone()),
                    ..RuleRecord::default()
                };
                at_hook(StepKind::Chain, passed)
            }
        };
        vec![record]
    }
}

/// How a walk ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndKind {
    /// A socket gets the packet.
    Delivered,
    /// No socket listens at the port.
    NoListener,
    /// A rule or policy drops the packet.
    Dropped,
    /// A rule rejects the packet.
    Rejected,
    /// The kernel itself discards the packet.
    Discarded,
    /// There is no route.
    NoRoute,
    /// No neighbor has the address of the next hop.
    NoNeighbor,
    /// The packet leaves the topology.
    Leaves,
    /// The packet goes on in one of several branches.
    Branches,
    /// The end is not known.
    #[default]
    Unknown,
}

/// The end of a walk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EndRecord {
    /// How the walk ends.
    pub kind: EndKind,
    /// The name of the namespace where it ends.
    pub namespace: String,
    /// The interface that the packet leaves by, or behind which no neighbor answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The rule or policy that drops or rejects the packet.
    #[serde(flatten)]
    pub rule: RuleRecord,
    /// The packet's addresses and ports at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet: Option<Tuple>,
    /// The program or service that has the socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The address and port that the proxy connects to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxied_to: Option<SocketAddr>,
    /// The next hop, or the destination without a route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<IpAddr>,
    /// The refusal that the sender of a rejected packet gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reject_with: Option<String>,
    /// Why the packet is discarded, or why the end is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The end in a sentence.
    pub text: String,
}

impl End {
    /// The end as a record.
    pub fn record(&self, topology: &Topology) -> EndRecord {
        let new = |kind| EndRecord {
            kind,
            namespace: topology.name(self.namespace()).to_owned(),
            text: self.sentence(topology),
            ..EndRecord::default()
        };
        match self {
            Self::Delivered { owner, tuple, proxy, .. } => EndRecord {
                packet: Some(*tuple),
                owner: Some(owner.clone()),
                proxied_to: *proxy,
                ..new(EndKind::Delivered)
            },
            Self::NoListener { tuple, .. } => EndRecord { packet: Some(*tuple), ..new(EndKind::NoListener) },
            Self::Dropped { by, .. } => EndRecord { rule: RuleRecord::of(by), ..new(EndKind::Dropped) },
            Self::Rejected { by, how, .. } => EndRecord {
                rule: RuleRecord::of(by),
                reject_with: Some(how.to_string()),
                ..new(EndKind::Rejected)
            },
            Self::Discarded { reason, .. } => {
                EndRecord { reason: Some(reason.to_string()), ..new(EndKind::Discarded) }
            }
            Self::NoRoute { destination, .. } => {
                EndRecord { next_hop: Some(*destination), ..new(EndKind::NoRoute) }
            }
            Self::NoNeighbor { interface, next, silence, .. } => EndRecord {
                interface: Some(interface.clone()),
                next_hop: Some(*next),
                reason: silence.as_ref().map(|it| it.in_words(topology)),
                ..new(EndKind::NoNeighbor)
            },
            Self::Leaves { interface, next, tuple, .. } => EndRecord {
                interface: Some(interface.clone()),
                next_hop: Some(*next),
                packet: Some(*tuple),
                ..new(EndKind::Leaves)
            },
            Self::Unknown { reason, .. } => {
                EndRecord { reason: Some(reason.clone()), ..new(EndKind::Unknown) }
            }
        }
    }

    /// The end in a sentence.
    pub fn sentence(&self, topology: &Topology) -> String {
        let namespace = topology.name(self.namespace());
        match self {
            Self::Delivered { owner, tuple, proxy: None, .. } => {
                format!("delivered on {namespace} to {owner}, which sees {tuple}")
            }
            Self::Delivered { owner, proxy: Some(target), .. } => {
                format!(
                    "delivered on {namespace} to {owner}, which forwards it to {target} by a connection of its own"
                )
            }
            Self::NoListener { tuple, .. } => {
                format!("refused: no socket on {namespace} listens at {}", tuple.destination_text())
            }
            Self::Dropped { by, .. } => format!("dropped on {namespace} by {}", by.in_words()),
            Self::Rejected { by, how, .. } => {
                format!("refused on {namespace} by {}: its sender gets {how}", by.in_words())
            }
            Self::Discarded { reason, .. } => format!("lost on {namespace}: {reason}"),
            Self::NoRoute { destination, by, .. } => format!(
                "refused on {namespace}: {}",
                match by {
                    None => format!("there is no route to {destination}"),
                    Some(RouteKind::Broadcast | RouteKind::Multicast) =>
                        format!("no connection leads to {destination}, an address of many"),
                    Some(kind) => format!("the route to {destination} is of the type {}", kind.name()),
                }
            ),
            Self::NoNeighbor { interface, next, silence: None, .. } => {
                format!("lost on {namespace}: no neighbor on {interface} has {next}")
            }
            Self::NoNeighbor { interface, next, silence: Some(silence), .. } => format!(
                "lost on {namespace}: no neighbor on {interface} answers for {next}: {}",
                silence.in_words(topology)
            ),
            Self::Leaves { namespace: place, interface, next, tuple } => {
                let carrier = topology.namespaces.get(place.0).and_then(|it| it.interface_named(interface));
                let carrier = carrier.map(|it| it.carrier.as_str()).filter(|it| !it.is_empty());
                let by = carrier.map_or(String::new(), |carrier| format!(" ({carrier})"));
                format!("leaves {namespace} by {interface}{by} for {next}, where a capture sees {tuple}")
            }
            Self::Unknown { reason, .. } => format!("unknown from here on {namespace}: {reason}"),
        }
    }
}

/// The walk of one packet with its title.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WalkRecord {
    /// Which packet of the connection it is.
    pub title: String,
    /// Its steps, in order.
    pub steps: Vec<StepRecord>,
    /// Its end.
    pub end: EndRecord,
}

impl PacketWalk {
    /// The walk as a record.
    pub fn record(&self, title: String, topology: &Topology) -> WalkRecord {
        let steps = self.steps.iter().flat_map(|step| step.records(topology)).collect();
        WalkRecord { title, steps, end: self.end.record(topology) }
    }
}
