//! The rules of one hook, done for one packet as the kernel does them.

mod load;
mod registers;

use std::borrow::Cow;
use std::net::IpAddr;

use super::flow::Flow;
use super::holdings::Holdings;
use super::machine::{Interface, Machine};
use super::packet::Packet;
use crate::ruleset::{
    Chain, CtDirection, CtKey, Element, ElementData, Expression, Family, LookupResult, MetaKey, NatKind,
    PayloadBase, RegisterRange, Reject, Rule, Set, SetData, Table, Verdict,
};
use registers::Registers;

/// Where and how a packet meets rules.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The namespace.
    pub machine: &'a Machine,
    /// Where it arrived.
    pub input: Option<&'a Interface>,
    /// Where it will leave.
    pub output: Option<&'a Interface>,
    /// Its flow, once conntrack saw it, and its direction in it.
    pub flow: Option<(&'a Flow, CtDirection)>,
    /// Whether conntrack was told to leave it alone.
    pub untracked: bool,
    /// The user whose socket made it, if one of this machine's did.
    pub user: Option<u32>,
    /// What the sets of the scene hold, and which of its machines this is.
    pub holdings: (&'a Holdings<'a>, usize),
}

impl<'a> Facts<'a> {
    fn element(&self, table: &Table, set: &'a Set, key: &[u8]) -> Result<Option<Cow<'a, Element>>, String> {
        let (holdings, place) = self.holdings;
        holdings.element((place, self.machine), table, set, key)
    }
}

/// What a rule does beside deciding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
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
    /// Translates the destination to this machine.
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
pub struct Met {
    /// The family of its table.
    pub family: Family,
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
    pub effects: Vec<Effect>,
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
    /// Its end is not known.
    Unknown(String),
}

/// The walk through the rules of one base chain.
pub struct Evaluation<'a> {
    facts: Facts<'a>,
    table: &'a Table,
    /// Rules that matched and did something, in order.
    pub met: Vec<Met>,
    effects: Vec<Effect>,
    element: Option<String>,
}

/// How many jumps the kernel allows (`NFT_JUMP_STACK_SIZE`).
const DEEPEST: usize = 16;

impl<'a> Evaluation<'a> {
    /// Begins in a table.
    pub fn new(facts: Facts<'a>, table: &'a Table) -> Self {
        Self { facts, table, met: Vec::new(), effects: Vec::new(), element: None }
    }

    /// Walks a base chain. What rules change is changed in `packet`; what they translate is said in
    /// [`Evaluation::met`].
    pub fn run(&mut self, chain: &'a Chain, packet: &mut Packet) -> End {
        let mut stack: Vec<(&Chain, usize)> = Vec::new();
        let (mut at, mut next) = (chain, 0);
        loop {
            let Some(rule) = at.rules.get(next) else {
                match stack.pop() {
                    Some((chain, place)) => (at, next) = (chain, place),
                    None => return self.policy(chain),
                }
                continue;
            };
            let place = next;
            next += 1;
            let verdict = match self.rule(rule, packet) {
                Outcome::Unknown(reason) => {
                    return End::Unknown(format!("{} {}: {reason}", self.table.name, at.name));
                }
                Outcome::No => continue,
                Outcome::Yes(verdict) => verdict,
            };
            let refused = self.effects.iter().find_map(|effect| match effect {
                Effect::Refuse(how) => Some(*how),
                _ => None,
            });
            self.note(at, Some((place, rule)), verdict.clone());
            if let Some(how) = refused {
                return End::Refused(how);
            }
            let jump = |name: &str| self.table.chain(name);
            match verdict {
                None | Some(Verdict::Continue | Verdict::Break) => {}
                Some(Verdict::Accept) => return End::Accepted,
                Some(Verdict::Drop) => return End::Dropped,
                Some(Verdict::Return) => match stack.pop() {
                    Some((chain, place)) => (at, next) = (chain, place),
                    None => return self.policy(chain),
                },
                Some(Verdict::Jump(name)) => {
                    let Some(chain) = jump(&name).filter(|_| stack.len() < DEEPEST) else {
                        return End::Unknown(format!("{}: a jump to {name}", at.name));
                    };
                    stack.push((at, next));
                    (at, next) = (chain, 0);
                }
                Some(Verdict::Goto(name)) => {
                    let Some(chain) = jump(&name) else {
                        return End::Unknown(format!("{}: a goto to {name}", at.name));
                    };
                    (at, next) = (chain, 0);
                }
            }
        }
    }

    fn policy(&mut self, chain: &Chain) -> End {
        match chain.base.as_ref().map(|base| base.policy) {
            Some(crate::ruleset::Policy::Drop) => {
                self.note(chain, None, Some(Verdict::Drop));
                End::Dropped
            }
            _ => End::Accepted,
        }
    }

    /// Remembers a rule that did something: one that only counted is no news.
    fn note(&mut self, chain: &Chain, rule: Option<(usize, &Rule)>, verdict: Option<Verdict>) {
        let (effects, element) = (std::mem::take(&mut self.effects), self.element.take());
        if effects.is_empty() && verdict.is_none() {
            return;
        }
        self.met.push(Met {
            family: self.table.family,
            table: self.table.name.clone(),
            chain: chain.name.clone(),
            rule: rule.map(|(_, rule)| self.table.rule_text(&uncounted(rule))),
            comment: rule.and_then(|(_, rule)| rule.comment.clone()),
            handle: rule.and_then(|(_, rule)| rule.handle),
            place: rule.map(|(place, _)| place),
            element,
            effects,
            verdict,
        });
    }

    fn rule(&mut self, rule: &Rule, packet: &mut Packet) -> Outcome {
        let mut registers = Registers::default();
        self.effects.clear();
        self.element = None;
        let mut verdict = None;
        for expression in &rule.expressions {
            match self.step(expression, &mut registers, packet, &mut verdict) {
                Step::Next => {}
                Step::No => {
                    self.effects.clear();
                    return Outcome::No;
                }
                Step::Unknown(reason) => return Outcome::Unknown(reason),
            }
            if verdict.is_some() {
                break;
            }
        }
        Outcome::Yes(verdict)
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
            E::Ct { key, direction, to } => registers.load(*to, load::ct(&self.facts, *key, *direction)),
            E::Payload { base, offset, length, to } => match packet.bytes(*base, *offset, *length) {
                Some(bytes) => registers.load(*to, load::Loaded::Value(bytes.to_vec())),
                None => Step::No,
            },
            E::Fib { result, flags, to } => {
                registers.load(*to, load::fib(&self.facts, packet, *result, *flags))
            }
            E::Socket { .. } => Step::Unknown("it asks for a socket of the host".to_owned()),
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
                let address = address.map(|range| registers.address(range.first, packet.family()));
                let effect = Effect::Translate {
                    kind: *kind,
                    address: address.flatten(),
                    port: port_of(registers, *port),
                };
                self.decide(effect, verdict)
            }
            E::Masquerade { .. } => self.decide(Effect::Masquerade, verdict),
            E::Redirect { port, .. } => self.decide(Effect::Redirect(port_of(registers, *port)), verdict),
            E::Reject(how) => self.decide(Effect::Refuse(*how), verdict),
            E::Counter(_) | E::Update { .. } => Step::Next,
            // The first packet of a walk is within any limit.
            E::Limit(rate) if !rate.inverted => Step::Next,
            E::Limit(_) => Step::No,
            E::Notrack => self.effect(Effect::Untrack),
            E::MetaSet { key: MetaKey::Mark, from } => {
                packet.mark = registers.number(*from);
                self.effect(Effect::Mark(packet.mark))
            }
            // They change nothing about where it goes.
            E::MetaSet { key: MetaKey::Trace | MetaKey::Priority, .. } => Step::Next,
            E::CtSet { key: CtKey::Mark, from, .. } => self.effect(Effect::FlowMark(registers.number(*from))),
            E::PayloadSet { from, base, offset, length, .. } => {
                let bytes = registers.bytes(*from, *length as usize);
                packet.replace(*base, *offset, &bytes);
                self.effect(Effect::Rewrite(*base, *offset, bytes))
            }
            E::MetaSet { key, .. } => Step::Unknown(format!("it sets {key}")),
            E::CtSet { key, .. } => Step::Unknown(format!("it sets ct {key}")),
            E::Extension { kind, number, .. } => Step::Unknown(format!("it looks at {kind} {number}")),
            E::Unknown { name, .. } => Step::Unknown(format!("the expression {name:?} is not known here")),
        }
    }

    fn effect(&mut self, effect: Effect) -> Step {
        self.effects.push(effect);
        Step::Next
    }

    fn decide(&mut self, effect: Effect, verdict: &mut Option<Verdict>) -> Step {
        let refuses = matches!(effect, Effect::Refuse(_));
        *verdict = Some(if refuses { Verdict::Drop } else { Verdict::Accept });
        self.effect(effect)
    }

    fn look_up(
        &mut self,
        name: &str,
        registers: &mut Registers,
        from: crate::ruleset::Register,
        result: LookupResult,
        verdict: &mut Option<Verdict>,
    ) -> Step {
        let Some(set) = self.table.set(name) else { return Step::Unknown(format!("there is no set {name}")) };
        if let Some(reason) = registers.unknown() {
            return Step::Unknown(reason);
        }
        if matches!(set.data, SetData::Object(_)) {
            return Step::Unknown(format!("the map {name} leads to objects"));
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

/// A rule without its counters: what passed before is not what it does.
fn uncounted(rule: &Rule) -> Rule {
    let kept = rule.expressions.iter().filter(|expression| !matches!(expression, Expression::Counter(_)));
    Rule { expressions: kept.cloned().collect(), ..rule.clone() }
}

/// What becomes of the rule after an expression.
pub(super) enum Step {
    Next,
    No,
    Unknown(String),
}

fn port_of(registers: &Registers, range: Option<RegisterRange>) -> Option<u16> {
    range.map(|range| u16::from_be_bytes(registers.bytes(range.first, 2).try_into().unwrap_or_default()))
}
