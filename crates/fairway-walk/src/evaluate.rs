//! The rules of one hook, done for one packet as the kernel does them.

mod chain;
mod load;
mod opaque;
mod registers;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::IpAddr;

use super::flow::Flow;
use super::lookup::Lookup;
use super::packet::Packet;
use super::topology::{Interface, NamespaceId, NetworkNamespace};
use fairway_ruleset::{
    CtDirection, CtKey, Element, ElementData, Expression, ExtensionKind, Family, LookupResult, MetaKey,
    NatKind, PayloadBase, RegisterRange, Reject, Rule, Set, SetData, Table, Verdict,
};
use registers::Registers;

/// Where and how a packet meets rules.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The namespace.
    pub namespace: &'a NetworkNamespace,
    /// Where it arrived.
    pub input: Option<&'a Interface>,
    /// Where it will leave.
    pub output: Option<&'a Interface>,
    /// Its flow, once conntrack saw it, and its direction in it.
    pub flow: Option<(&'a Flow, CtDirection)>,
    /// Whether it is no packet of its flow, but about one: an ICMP error, or a reset by a rule.
    pub related: bool,
    /// Whether conntrack was told to leave it alone.
    pub untracked: bool,
    /// The user whose socket made it, if one of this namespace's did.
    pub user: Option<u32>,
    /// The ports between which a bridge forwards it, where it meets the IP hooks on that way.
    pub ports: Option<(&'a Interface, &'a Interface)>,
    /// What the sets of the topology hold, and which of its namespaces this is.
    pub lookup: (&'a Lookup<'a>, NamespaceId),
}

impl<'a> Facts<'a> {
    fn element(&self, table: &Table, set: &'a Set, key: &[u8]) -> Result<Option<Cow<'a, Element>>, String> {
        let (lookup, place) = self.lookup;
        lookup.element((place, self.namespace), table, set, key)
    }
}

/// What a rule does beside deciding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Translates the flow.
    Translate {
        /// What of it.
        kind: NatKind,
        /// The new address.
        address: Option<IpAddr>,
        /// The new port.
        port: Option<u16>,
    },
    /// Translates the source to the address of the interface that it leaves by.
    Masquerade,
    /// Translates the destination to this namespace.
    Redirect(Option<u16>),
    /// Gives the packet a mark.
    Mark(u32),
    /// Gives the flow a mark.
    FlowMark(u32),
    /// Keeps conntrack from it.
    Untrack,
    /// Replaces bytes of it.
    Rewrite(PayloadBase, u32, Vec<u8>),
    /// Answers that it was refused, and drops it.
    Refuse(Reject),
}

/// A rule that matched and did something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleHit {
    /// The family of its table.
    pub family: Family,
    /// Whether the table is one of iptables' older kind.
    pub legacy: bool,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The rule as `nft` prints it; none for the policy of the chain.
    pub rule: Option<String>,
    /// What the rule is for, as whoever made it wrote.
    pub comment: Option<String>,
    /// What the kernel tells the rule by; none for the policy, and for what is not in the kernel.
    pub handle: Option<u64>,
    /// Which rule of the chain, from 0 on; none for the policy.
    pub place: Option<usize>,
    /// The element of a set or map that was found.
    pub element: Option<String>,
    /// What it did.
    pub actions: Vec<Action>,
    /// Where the packet went; none for on to the next rule.
    pub verdict: Option<Verdict>,
}

/// What came of a base chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It goes on.
    Accepted,
    /// It was dropped.
    Dropped,
    /// It was dropped, and its sender is told.
    Refused(Reject),
    /// What happens here is not known, and why.
    Unknown(String),
}

/// What a rule came to.
enum Outcome {
    /// It does not match.
    No,
    /// It matches, with what it leaves.
    Yes(Option<Verdict>),
    /// Nobody knows whether it matches, and why; with what it would leave, and the packet as it is if it does not.
    MayMatch(Option<Verdict>, String, Box<Packet>),
    /// What it does is not known.
    Unknown(String),
}

/// The walk through the rules of one base chain.
pub struct Evaluation<'a> {
    facts: Facts<'a>,
    table: &'a Table,
    /// Rules that matched and did something, in order.
    pub hits: Vec<RuleHit>,
    /// The keys that rules put into dynamic sets, with the sets' names, in order.
    pub counted: Vec<(String, Vec<u8>)>,
    actions: Vec<Action>,
    element: Option<String>,
    /// The mark that rules of this chain gave the flow.
    flow_mark: Option<u32>,
    /// How often the walk went on both ways.
    forks: usize,
    /// How many rules were tried, on all ways.
    tried: usize,
    /// How often the walk went into another chain.
    ways: usize,
}

impl<'a> Evaluation<'a> {
    /// Begins in a table.
    pub fn new(facts: Facts<'a>, table: &'a Table) -> Self {
        Self {
            facts,
            table,
            hits: Vec::new(),
            counted: Vec::new(),
            actions: Vec::new(),
            element: None,
            flow_mark: None,
            forks: 0,
            tried: 0,
            ways: 0,
        }
    }

    fn rule(&mut self, rule: &Rule, packet: &mut Packet) -> Outcome {
        let mut registers = Registers::default();
        self.actions.clear();
        self.element = None;
        let (mut verdict, mut perhaps) = (None, None);
        for expression in &rule.expressions {
            match self.step(expression, &mut registers, packet, &mut verdict) {
                Step::Next => {}
                Step::No => {
                    self.actions.clear();
                    return Outcome::No;
                }
                Step::MayMatch(reason) => {
                    perhaps.get_or_insert_with(|| (reason, Box::new(packet.clone())));
                }
                Step::Unknown(reason) => return Outcome::Unknown(reason),
            }
            if verdict.is_some() {
                break;
            }
        }
        match perhaps {
            Some((reason, otherwise)) => Outcome::MayMatch(verdict, reason, otherwise),
            None => Outcome::Yes(verdict),
        }
    }

    fn step(
        &mut self,
        expression: &Expression,
        registers: &mut Registers,
        packet: &mut Packet,
        verdict: &mut Option<Verdict>,
    ) -> Step {
        use Expression as E;
        match expression {
            E::Meta { key, to } => registers.load(*to, load::meta(&self.facts, packet, *key)),
            E::Ct { key: CtKey::Mark, to, .. } if self.flow_mark.is_some() => {
                let mark = self.flow_mark.unwrap_or_default().to_ne_bytes();
                registers.load(*to, load::Loaded::Value(mark.to_vec()))
            }
            E::Ct { key, direction, to } => registers.load(*to, load::ct(&self.facts, *key, *direction)),
            E::Payload { base: PayloadBase::Link, offset, to, .. }
                if (6..12).contains(offset) && packet.sender_is_unknown() =>
            {
                registers.load(*to, load::Loaded::Unknown("the sender's MAC is not known".to_owned()))
            }
            E::Payload { base, offset, length, to } => match packet.bytes(*base, *offset, *length) {
                Some(bytes) => registers.load(*to, load::Loaded::Value(bytes.to_vec())),
                None => Step::No,
            },
            E::Fib { result, flags, to } => {
                registers.load(*to, load::fib(&self.facts, packet, *result, *flags))
            }
            E::Socket { to, .. } => {
                registers.load(*to, load::Loaded::Unknown("it asks for a socket of the host".to_owned()))
            }
            E::Immediate { to, value } => registers.load(*to, load::Loaded::Value(value.clone())),
            E::Compare { from, operator, value } => registers.compare(*from, *operator, value),
            E::Range { from, inverted, first, last } => registers.range(*from, *inverted, first, last),
            E::Bitwise { from, to, mask, xor } => registers.bitwise(*from, *to, mask, xor),
            E::Byteorder { from, to, length, size, .. } => registers.turn(*from, *to, *length, *size),
            E::Lookup { set, from, result } => self.look_up(set, registers, *from, *result, verdict),
            E::Verdict(to) => {
                *verdict = Some(to.clone());
                Step::Next
            }
            E::Nat { kind, address, port, .. } => {
                let length = if packet.family() == Family::Ip6 { 16 } else { 4 };
                if let Some(reason) = registers.one_of(*address, length).or(registers.one_of(*port, 2)) {
                    return Step::Unknown(reason);
                }
                let address = address.map(|range| registers.address(range.first, packet.family()));
                let action = Action::Translate {
                    kind: *kind,
                    address: address.flatten(),
                    port: port_of(registers, *port),
                };
                self.decide(action, verdict)
            }
            E::Masquerade { .. } => self.decide(Action::Masquerade, verdict),
            E::Redirect { port, .. } => match registers.one_of(*port, 2) {
                Some(reason) => Step::Unknown(reason),
                None => self.decide(Action::Redirect(port_of(registers, *port)), verdict),
            },
            E::Reject(how) => self.decide(Action::Refuse(*how), verdict),
            E::Counter(_) => Step::Next,
            E::Update { set, from } => self.count(set, registers, *from),
            E::Limit(_) => Step::MayMatch(opaque::PASSED.to_owned()),
            E::Notrack => self.action(Action::Untrack),
            E::MetaSet { key: MetaKey::Mark, from } => match registers.unknown(*from, 4) {
                Some(reason) => Step::Unknown(reason),
                None => {
                    packet.mark = registers.number(*from);
                    self.action(Action::Mark(packet.mark))
                }
            },
            // They change nothing about where it goes.
            E::MetaSet { key: MetaKey::Trace | MetaKey::Priority, .. } => Step::Next,
            E::CtSet { key: CtKey::Mark, from, .. } => match registers.unknown(*from, 4) {
                Some(reason) => Step::Unknown(reason),
                None => {
                    let mark = registers.number(*from);
                    self.flow_mark = Some(mark);
                    self.action(Action::FlowMark(mark))
                }
            },
            E::PayloadSet { from, base, offset, length, .. } => {
                if let Some(reason) = registers.unknown(*from, *length as usize) {
                    return Step::Unknown(reason);
                }
                let bytes = registers.bytes(*from, *length as usize);
                packet.replace(*base, *offset, &bytes);
                self.action(Action::Rewrite(*base, *offset, bytes))
            }
            E::MetaSet { key, .. } => Step::Unknown(format!("it sets {key}")),
            E::CtSet { key, .. } => Step::Unknown(format!("it sets ct {key}")),
            E::Extension { kind, number, present, to, .. } => registers.load(
                *to,
                match kind {
                    // What systems put into the first segment differs.
                    ExtensionKind::Tcp => load::Loaded::Unknown(format!("it looks at {kind} {number}")),
                    _ if *present => load::Loaded::Value(vec![0]),
                    _ => load::Loaded::Absent,
                },
            ),
            E::OneOf { ways, inverted } => self.one_of(ways, *inverted, packet),
            E::BridgePort { output, to } => registers.load(*to, load::port(&self.facts, *output)),
            E::ExclusiveOr { one, other, to, length } => {
                registers.exclusive_or(*one, *other, *to, *length as usize)
            }
            E::Unknown { name, attributes } => match opaque::classify(name, attributes) {
                opaque::Opaque::Nothing => Step::Next,
                opaque::Opaque::MayMatch(reason) => Step::MayMatch(reason),
                opaque::Opaque::Anything(reason) => Step::Unknown(reason),
                opaque::Opaque::Loads(reason) => {
                    registers.lose(reason);
                    Step::Next
                }
            },
        }
    }

    /// What several ways come to. They only ask.
    fn one_of(&mut self, ways: &[Vec<Expression>], inverted: bool, packet: &mut Packet) -> Step {
        let mut perhaps = None;
        for way in ways {
            let (mut registers, mut verdict) = (Registers::default(), None);
            let mut steps = way.iter().map(|it| self.step(it, &mut registers, packet, &mut verdict));
            match steps.find(|step| !matches!(step, Step::Next)) {
                None if inverted => return Step::No,
                None => return Step::Next,
                Some(Step::MayMatch(reason) | Step::Unknown(reason)) => perhaps = Some(reason),
                Some(_) => {}
            }
        }
        match perhaps {
            Some(reason) => Step::MayMatch(reason),
            None if inverted => Step::Next,
            None => Step::No,
        }
    }

    fn action(&mut self, action: Action) -> Step {
        self.actions.push(action);
        Step::Next
    }

    fn decide(&mut self, action: Action, verdict: &mut Option<Verdict>) -> Step {
        let refuses = matches!(action, Action::Refuse(_));
        *verdict = Some(if refuses { Verdict::Drop } else { Verdict::Accept });
        self.action(action)
    }

    fn count(&mut self, name: &str, registers: &Registers, from: fairway_ruleset::Register) -> Step {
        let length = self.table.set(name).map_or(0, Set::key_length);
        // What is put there is looked at by nobody on this walk.
        if registers.unknown(from, length).is_none() {
            self.counted.push((name.to_owned(), registers.bytes(from, length)));
        }
        Step::Next
    }

    fn look_up(
        &mut self,
        name: &str,
        registers: &mut Registers,
        from: fairway_ruleset::Register,
        result: LookupResult,
        verdict: &mut Option<Verdict>,
    ) -> Step {
        let Some(set) = self.table.set(name) else { return Step::Unknown(format!("there is no set {name}")) };
        if matches!(set.data, SetData::Object(_)) {
            return Step::Unknown(format!("the map {name} leads to objects"));
        }
        let empty = set.elements.is_empty() && !self.facts.namespace.on_demand;
        match (registers.unknown(from, set.key_length()), result) {
            (None, _) => {}
            (Some(_), LookupResult::NoMatch) if empty => return Step::Next,
            (Some(_), _) if empty => return Step::No,
            (Some(reason), LookupResult::Match | LookupResult::NoMatch) => return Step::MayMatch(reason),
            (Some(reason), LookupResult::Value(to)) => {
                registers.load(to, load::Loaded::Unknown(reason.clone()));
                return Step::MayMatch(reason);
            }
            (Some(reason), LookupResult::Verdict) => return Step::Unknown(reason),
        }
        let key = registers.bytes(from, set.key_length());
        let found = match self.facts.element(self.table, set, &key) {
            Ok(found) => found,
            Err(reason) => return Step::Unknown(reason),
        };
        if let Some(element) = &found {
            self.element = Some(format!("{name} {}", set.element_text(element)));
        }
        match (found, result) {
            (Some(_), LookupResult::Match) | (None, LookupResult::NoMatch) => Step::Next,
            (None, _) | (Some(_), LookupResult::NoMatch) => Step::No,
            (Some(element), LookupResult::Value(to)) => match &element.data {
                ElementData::Value(bytes) => registers.load(to, load::Loaded::Value(bytes.clone())),
                _ => Step::Unknown(format!("the map {name} leads nowhere")),
            },
            (Some(element), LookupResult::Verdict) => {
                if let ElementData::Verdict(to) = &element.data {
                    *verdict = Some(to.clone());
                }
                Step::Next
            }
        }
    }
}

/// What becomes of the rule after an expression.
pub(super) enum Step {
    /// On to the next expression.
    Next,
    /// It does not match.
    No,
    /// Nobody knows whether it matches, and why.
    MayMatch(String),
    /// Nobody knows what it does, and why.
    Unknown(String),
}

fn port_of(registers: &Registers, range: Option<RegisterRange>) -> Option<u16> {
    range.map(|range| u16::from_be_bytes(registers.bytes(range.first, 2).try_into().unwrap_or_default()))
}
