//! Evaluates the rules of one hook for one packet, as the kernel does.

pub mod chain;
mod doubt;
mod load;
mod nat;
pub mod opaque;
mod registers;
mod set_lookup;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::IpAddr;

use super::choice::Choices;
use super::flow::Flow;
use super::lookup::Lookup;
use super::packet::Packet;
use super::probability::Probability;
use super::topology::{Interface, NamespaceId, NetworkNamespace};
use doubt::Doubt;
use fairway_ruleset::{
    CtDirection, CtKey, CtState, Element, Expression, ExtensionKind, Family, MetaKey, NatKind, PayloadBase,
    Reject, Rule, Set, Table, Verdict,
};
use registers::Registers;

/// The facts about a packet that rules can match besides its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The namespace.
    pub namespace: &'a NetworkNamespace,
    /// The interface where the packet arrived.
    pub input: Option<&'a Interface>,
    /// The interface by which the packet will leave.
    pub output: Option<&'a Interface>,
    /// The packet's flow, once conntrack saw the packet, and its direction in the flow.
    pub flow: Option<(&'a Flow, CtDirection)>,
    /// Whether the packet is related to its flow: an ICMP error about a packet of it, or a reset by a rule.
    pub related: bool,
    /// Whether a `notrack` rule matched the packet.
    pub untracked: bool,
    /// The user whose socket sent the packet, if a socket of this namespace did.
    pub user: Option<u32>,
    /// The bridge ports between which the packet is forwarded, if br_netfilter passes it to the IP hooks.
    pub ports: Option<(&'a Interface, &'a Interface)>,
    /// Whether values that are not given here, or are marked in the packet, are not known.
    pub is_sample: bool,
    /// The lookup of set elements, and the position of this namespace in the topology.
    pub lookup: (&'a Lookup<'a>, NamespaceId),
    /// Decides what chance or the state of a moment decides; none if that ends the walk.
    pub choices: Option<&'a Choices>,
}

impl<'a> Facts<'a> {
    fn element(&self, table: &Table, set: &'a Set, key: &[u8]) -> Result<Option<Cow<'a, Element>>, String> {
        let (lookup, place) = self.lookup;
        lookup.element((place, self.namespace), table, set, key)
    }
}

/// What a rule does besides its verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Translates the flow.
    Translate {
        /// Source or destination.
        kind: NatKind,
        /// The new address.
        address: Option<IpAddr>,
        /// The new port.
        port: Option<u16>,
    },
    /// Translates the source to an address of the output interface (`masquerade`), and to a port if one is given.
    Masquerade(Option<u16>),
    /// Translates the destination to this namespace (`redirect`).
    Redirect(Option<u16>),
    /// Gives the packet a mark.
    Mark(u32),
    /// Gives the flow a mark.
    FlowMark(u32),
    /// Exempts the packet from conntrack (`notrack`).
    Untrack,
    /// Replaces bytes of the packet.
    Rewrite(PayloadBase, u32, Vec<u8>),
    /// Drops the packet and sends its sender a refusal (`reject`).
    Refuse(Reject),
}

/// A rule that matched and had an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleHit {
    /// The family of its table.
    pub family: Family,
    /// Whether the table is one of iptables-legacy.
    pub legacy: bool,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The rule as `nft` prints it; none for the policy of the chain.
    pub rule: Option<String>,
    /// The rule's comment.
    pub comment: Option<String>,
    /// The rule's handle; none for the policy, and for rules that are not in the kernel.
    pub handle: Option<u64>,
    /// The position of the rule in its chain, from 0; none for the policy.
    pub place: Option<usize>,
    /// The element of a set or map that matched.
    pub element: Option<String>,
    /// The actions of the rule.
    pub actions: Vec<Action>,
    /// The verdict; none if the next rule is evaluated.
    pub verdict: Option<Verdict>,
}

/// The result of a base chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The packet goes on.
    Accepted,
    /// The packet is dropped.
    Dropped,
    /// The packet is dropped, and its sender gets a refusal.
    Refused(Reject),
    /// The result is not known, for this reason.
    Unknown(String),
    /// In a trial alone: a choice follows, at this rule, with the rules after jumps, each by its chain and place.
    Undecided(Vec<(String, usize)>),
}

/// The result of a rule.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// The rule does not match.
    No,
    /// The rule matches, with its effects.
    Yes(Option<Verdict>),
    /// The rule matches if all these doubts do; with its effects if it does, and the packet if it does not.
    MayMatch(Option<Verdict>, Vec<Doubt>, Box<Packet>),
    /// The rule matches, or may match, with one of several verdicts; which one is not known, for this reason.
    OneOf(Vec<Verdict>, String),
    /// The effect of the rule is not known.
    Unknown(String),
    /// In a trial alone: chance decides about the effect of the rule.
    Undecided,
}

/// The evaluation of one base chain.
pub struct Evaluation<'a> {
    facts: Facts<'a>,
    table: &'a Table,
    /// Rules that matched and had an effect, in order.
    pub hits: Vec<RuleHit>,
    /// The keys that rules added to dynamic sets, with the sets' names, in order.
    pub counted: Vec<(String, Vec<u8>)>,
    actions: Vec<Action>,
    element: Option<String>,
    /// The conntrack mark that rules of this chain set.
    flow_mark: Option<u32>,
    /// The rule that is evaluated: its chain, its place there, and itself.
    at: Option<(&'a str, usize, &'a Rule)>,
    /// Whether both ways of a rule are tried, and no choice is made.
    is_trial: bool,
    /// How often the evaluation forked.
    forks: usize,
    /// How many rules were evaluated, in all forks.
    pub tried: usize,
    /// How often the evaluation entered another chain.
    ways: usize,
}

impl<'a> Evaluation<'a> {
    /// Creates an evaluation of a chain of `table`.
    pub fn new(facts: Facts<'a>, table: &'a Table) -> Self {
        Self {
            facts,
            table,
            hits: Vec::new(),
            counted: Vec::new(),
            actions: Vec::new(),
            element: None,
            flow_mark: None,
            at: None,
            is_trial: false,
            forks: 0,
            tried: 0,
            ways: 0,
        }
    }

    fn rule(&mut self, rule: &Rule, packet: &mut Packet) -> Outcome {
        self.actions.clear();
        self.element = None;
        self.expressions(&rule.expressions, Registers::default(), packet)
    }

    fn expressions(
        &mut self,
        expressions: &[Expression],
        mut registers: Registers,
        packet: &mut Packet,
    ) -> Outcome {
        let (mut verdict, mut doubts, mut otherwise) = (None, Vec::new(), None);
        for (place, expression) in expressions.iter().enumerate() {
            let step = match expression {
                Expression::NumberGenerator { source, modulus, offset, to } => {
                    let rest = expressions.get(place + 1..).unwrap_or_default();
                    self.draw((*source, *modulus, *offset, *to), rest, &mut registers, packet)
                }
                other => self.step(other, &mut registers, packet, &mut verdict),
            };
            match step {
                Step::Next => {}
                Step::No => {
                    self.actions.clear();
                    return Outcome::No;
                }
                Step::MayMatch(doubt) => {
                    doubts.push(*doubt);
                    otherwise.get_or_insert_with(|| Box::new(packet.clone()));
                }
                Step::OneOf(verdicts, reason) => return Outcome::OneOf(verdicts, reason),
                Step::Unknown(reason) => return Outcome::Unknown(reason),
                Step::Undecided => return Outcome::Undecided,
            }
            match &verdict {
                // An element may say so (`nft_do_chain` in net/netfilter/nf_tables_core.c).
                Some(Verdict::Continue) => verdict = None,
                Some(_) => break,
                None => {}
            }
        }
        match otherwise {
            Some(otherwise) => Outcome::MayMatch(verdict, doubts, otherwise),
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
            E::Payload { base, offset, length, to } => {
                registers.load(*to, load::payload(&self.facts, packet, *base, *offset, *length))
            }
            E::Fib { result, flags, to } => {
                registers.load(*to, load::fib(&self.facts, packet, *result, *flags))
            }
            E::Socket { to, .. } => registers.load(*to, load::socket(&self.facts, packet)),
            E::Immediate { to, value } => registers.load(*to, load::Loaded::Value(value.clone())),
            E::Compare { from, operator, value } => registers.compare(*from, *operator, value),
            E::Range { from, inverted, first, last } => registers.range(*from, *inverted, first, last),
            E::Bitwise { from, to, mask, xor } => registers.bitwise(*from, *to, mask, xor),
            E::Byteorder { from, to, length, size, .. } => registers.swap_bytes(*from, *to, *length, *size),
            E::Lookup { set, from, result } => self.look_up(set, registers, *from, *result, verdict),
            E::Verdict(to) => {
                *verdict = Some(to.clone());
                Step::Next
            }
            E::Nat { kind, address, port, flags, .. } => {
                match self.translation(*kind, *address, *port, *flags, registers, packet) {
                    Ok(action) => self.end_with(action, verdict),
                    Err(step) => step,
                }
            }
            E::Masquerade { port, .. } => match nat::new_source_port(*port, registers) {
                Ok(port) => self.end_with(Action::Masquerade(port), verdict),
                Err(step) => step,
            },
            E::Redirect { port, flags } => match self.new_port(*port, *flags, registers, packet) {
                Ok(port) => self.end_with(Action::Redirect(port), verdict),
                Err(step) => step,
            },
            E::Reject(how) => self.end_with(Action::Refuse(*how), verdict),
            E::Counter(_) => Step::Next,
            E::Update { set, from } => self.count(set, registers, *from),
            E::Limit(limit) => Step::may_match(Doubt::limit(*limit)),
            E::Chance { numerator: 0, .. } => Step::No,
            E::Chance { numerator, denominator } if numerator >= denominator => Step::Next,
            E::Chance { numerator, denominator } => {
                let probability = Probability::new((*numerator).into(), (*denominator).into());
                Step::may_match(Doubt::chance(probability))
            }
            E::Undecided { name, holds, fails, inverted, state } => {
                Step::may_match(self.undecided(name, (holds, fails), *inverted, state, packet))
            }
            E::NumberGenerator { to, .. } => {
                registers.load(*to, load::Loaded::Unknown("the value is random".to_owned()))
            }
            E::MovedPort { base, first, last, to } => {
                let size = u32::from(last.saturating_sub(*first)) + 1;
                let offset = u32::from(packet.tuple().destination_port.wrapping_sub(*base)) % size;
                let port = first.saturating_add(offset as u16);
                registers.load(*to, load::Loaded::Value(port.to_be_bytes().to_vec()))
            }
            E::Notrack => self.action(Action::Untrack),
            // Whether a sample comes to the rule may not be known: what it sets is not known after it.
            E::PayloadSet { base, offset, length, .. } if self.facts.is_sample => {
                packet.forget(*base, *offset..offset.saturating_add(*length));
                Step::Next
            }
            E::MetaSet { .. } | E::CtSet { .. } if self.facts.is_sample => Step::Next,
            E::MetaSet { key: MetaKey::Mark, from } => match registers.unknown(*from, 4) {
                Some(reason) => Step::Unknown(reason),
                None => {
                    packet.mark = registers.number(*from);
                    self.action(Action::Mark(packet.mark))
                }
            },
            // They have no influence on the way of the packet.
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
            E::MetaSet { key, .. } => Step::Unknown(format!("the rule sets {key}")),
            E::CtSet { key, .. } => Step::Unknown(format!("the rule sets ct {key}")),
            E::Extension { kind, number, present, to, .. } => registers.load(
                *to,
                match kind {
                    // The TCP options of a first segment depend on its sender's system.
                    ExtensionKind::Tcp => load::Loaded::Unknown(format!("the rule looks at {kind} {number}")),
                    _ if *present => load::Loaded::Value(vec![0]),
                    _ => load::Loaded::Absent,
                },
            ),
            E::OneOf { ways, inverted } => self.one_of(ways, *inverted, packet),
            E::BridgePort { output, to } => registers.load(*to, load::port(&self.facts, *output)),
            E::ExclusiveOr { one, other, to, length } => {
                registers.exclusive_or(*one, *other, *to, *length as usize)
            }
            E::Unknown { name, attributes }
                if name == "objref" && opaque::object_map(attributes).is_some() =>
            {
                self.refer(attributes, registers)
            }
            E::Unknown { name, attributes } => match opaque::classify(name, attributes) {
                opaque::Opaque::Nothing => Step::Next,
                opaque::Opaque::MayMatch(reason) => Step::may_match(reason),
                opaque::Opaque::Changes(_) if self.facts.is_sample => Step::Next,
                opaque::Opaque::Refuses(_) if self.facts.is_sample => {
                    *verdict = Some(Verdict::Drop);
                    Step::Next
                }
                // The packet may be accepted, and no later rule sees it.
                opaque::Opaque::Decides(_) if self.facts.is_sample => {
                    *verdict = Some(Verdict::Accept);
                    Step::Next
                }
                opaque::Opaque::States { states, inverted } => self.in_state(states, inverted),
                opaque::Opaque::Changes(reason)
                | opaque::Opaque::Refuses(reason)
                | opaque::Opaque::Decides(reason)
                | opaque::Opaque::Anything(reason) => Step::Unknown(reason),
                opaque::Opaque::Loads(reason) => {
                    registers.lose(reason);
                    Step::Next
                }
            },
        }
    }

    /// Evaluates alternatives, whose expressions only match.
    fn one_of(&mut self, ways: &[Vec<Expression>], inverted: bool, packet: &mut Packet) -> Step {
        let mut perhaps = None;
        for way in ways {
            let (mut registers, mut verdict) = (Registers::default(), None);
            let mut steps = way.iter().map(|it| self.step(it, &mut registers, packet, &mut verdict));
            match steps.find(|step| !matches!(step, Step::Next)) {
                None if inverted => return Step::No,
                None => return Step::Next,
                Some(Step::MayMatch(doubt)) => perhaps = Some(doubt),
                Some(Step::OneOf(_, reason) | Step::Unknown(reason)) => {
                    perhaps = Some(Box::new(reason.into()))
                }
                Some(Step::Undecided) => return Step::Undecided,
                Some(_) => {}
            }
        }
        match perhaps {
            Some(doubt) => Step::MayMatch(doubt),
            None if inverted => Step::Next,
            None => Step::No,
        }
    }

    /// Whether conntrack's state is among those of a match of iptables: `conntrack_mt` in net/netfilter/xt_conntrack.c.
    fn in_state(&self, states: u32, inverted: bool) -> Step {
        // `IPS_SRC_NAT` and `IPS_DST_NAT`, and the states that stand for them.
        const TRANSLATED: [(u32, u32); 2] = [(16, 64), (32, 128)];
        const UNTRACKED: u32 = 256;
        let load::Loaded::Value(state) = load::ct(&self.facts, CtKey::State, None) else { return Step::No };
        let state = u32::from_ne_bytes(state.try_into().unwrap_or_default());
        let state = if state == CtState::Untracked.number() { UNTRACKED } else { state };
        let status = self.facts.flow.map_or(0, |(flow, _)| flow.status());
        let translated = TRANSLATED.into_iter().filter(|(bit, _)| status & bit != 0);
        let state = translated.fold(state, |all, (_, bit)| all | bit);
        if (state & states != 0) != inverted { Step::Next } else { Step::No }
    }

    fn action(&mut self, action: Action) -> Step {
        self.actions.push(action);
        Step::Next
    }

    fn end_with(&mut self, action: Action, verdict: &mut Option<Verdict>) -> Step {
        let refuses = matches!(action, Action::Refuse(_));
        *verdict = Some(if refuses { Verdict::Drop } else { Verdict::Accept });
        self.action(action)
    }

    fn count(&mut self, name: &str, registers: &Registers, from: fairway_ruleset::Register) -> Step {
        let length = self.table.set(name).map_or(0, Set::key_length);
        if registers.unknown(from, length).is_none() {
            let key = registers.bytes(from, length);
            if let Some(choices) = self.facts.choices.filter(|_| !self.is_trial) {
                choices.know(self.member_question(name, &key), 1);
            }
            self.counted.push((name.to_owned(), key));
        }
        Step::Next
    }
}

/// The state of a rule after an expression.
pub(super) enum Step {
    /// The next expression is evaluated.
    Next,
    /// The rule does not match.
    No,
    /// The rule matches if this doubt does.
    MayMatch(Box<Doubt>),
    /// The rule may end with one of these verdicts; which one is not known, for this reason.
    OneOf(Vec<Verdict>, String),
    /// The effect of the rule is not known, for this reason.
    Unknown(String),
    /// In a trial alone: chance decides about the effect of the rule.
    Undecided,
}

impl Step {
    fn may_match(doubt: impl Into<Doubt>) -> Self {
        Self::MayMatch(Box::new(doubt.into()))
    }
}
