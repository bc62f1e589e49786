//! The walk of a sample packet through the chains of a foreign table.

use super::extension::{Effect, effect};
use super::packet::Packet;
use super::registers::{Answer, Registers};
use super::{Cause, ForeignTable};
use fairway_ruleset::{Chain, ChainKind, Expression, Family, Policy, Rule, Verdict};

/// How deep chains may jump into one another (`NFT_JUMP_STACK_SIZE`).
const DEPTH: usize = 16;
/// How many rules are evaluated in the walk through one base chain. Later rules are not evaluated.
const MOST_RULES: usize = 200_000;

/// The end of a walk through a chain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// A rule decided.
    Ended,
    /// The walk returns to the rule after the jump.
    Falls,
}

struct Walk<'a> {
    foreign: &'a ForeignTable,
    packet: &'a Packet,
    /// Whether a rule that may match accepts.
    may_be_accepted: bool,
    /// How many rules were evaluated.
    tried: usize,
    /// Chain, cause, and whether the drop is certain.
    found: Vec<(String, Cause, bool)>,
}

/// Where a table drops a packet: chain, cause, and whether the drop is certain.
pub(super) fn drops(foreign: &ForeignTable, packet: &Packet) -> Vec<(String, Cause, bool)> {
    let table = &foreign.table;
    let sees = table.family == Family::Inet || table.family == packet.family;
    if !sees || table.flags.dormant {
        return Vec::new();
    }
    let mut all = Vec::new();
    for chain in &table.chains {
        all.extend(drops_in(foreign, chain, packet));
    }
    all
}

/// Where one base chain drops a packet.
pub(super) fn drops_in(foreign: &ForeignTable, chain: &Chain, packet: &Packet) -> Vec<(String, Cause, bool)> {
    let family = foreign.table.family;
    let sees = family == Family::Inet || family == packet.family;
    let Some(base) = chain.base.as_ref().filter(|base| base.hook == packet.hook) else { return Vec::new() };
    if !sees || base.kind == ChainKind::Nat {
        return Vec::new();
    }
    let mut walk = Walk { foreign, packet, may_be_accepted: false, tried: 0, found: Vec::new() };
    if walk.through(chain, true, 0) == Fate::Falls && base.policy == Policy::Drop {
        walk.found.push((chain.name.clone(), Cause::Policy, !walk.may_be_accepted));
    }
    walk.found
}

impl Walk<'_> {
    /// Walks through a chain; `sure` is whether the packet certainly enters it.
    fn through(&mut self, chain: &Chain, sure: bool, depth: usize) -> Fate {
        let mut sure = sure;
        for rule in &chain.rules {
            self.tried += 1;
            if self.tried > MOST_RULES {
                return Fate::Ended;
            }
            let (answer, ends) = self.try_rule(rule);
            let certain = sure && answer == Answer::Yes && ends.len() == 1;
            for end in ends {
                match self.follow(chain, rule, &end, certain, depth) {
                    Some(fate) if certain => return fate,
                    // Packets that leave the chain here do not meet the rules that follow.
                    Some(_) if leaves(&end) => sure = false,
                    _ => {}
                }
            }
        }
        Fate::Falls
    }

    /// Follows a verdict; none if the chain goes on after it.
    fn follow(&mut self, chain: &Chain, rule: &Rule, end: &End, certain: bool, depth: usize) -> Option<Fate> {
        match end {
            End::Verdict(Verdict::Accept) | End::Anything => {
                self.may_be_accepted |= !certain || *end == End::Anything;
                Some(Fate::Ended)
            }
            End::Verdict(Verdict::Drop) | End::Refused => {
                let cause = Cause::Rule(rule.handle.unwrap_or_default());
                self.found.push((chain.name.clone(), cause, certain && !self.may_be_accepted));
                Some(Fate::Ended)
            }
            End::Verdict(Verdict::Return) => Some(Fate::Falls),
            End::Verdict(Verdict::Jump(name)) => {
                (self.enter(name, certain, depth) == Fate::Ended).then_some(Fate::Ended)
            }
            End::Verdict(Verdict::Goto(name)) => Some(self.enter(name, certain, depth)),
            End::Verdict(Verdict::Continue | Verdict::Break) => None,
        }
    }

    fn enter(&mut self, name: &str, sure: bool, depth: usize) -> Fate {
        match self.foreign.table.chain(name) {
            Some(chain) if depth < DEPTH => self.through(chain, sure, depth + 1),
            _ => Fate::Falls,
        }
    }

    /// Whether a rule matches, and its possible ends; none if the rule only counts or logs.
    fn try_rule(&self, rule: &Rule) -> (Answer, Vec<End>) {
        self.try_all(&rule.expressions)
    }

    fn try_all(&self, expressions: &[Expression]) -> (Answer, Vec<End>) {
        let mut registers = Registers::empty();
        let mut answer = Answer::Yes;
        for expression in expressions {
            if registers.load(expression, self.packet).is_some() {
                continue;
            }
            let matched = match expression {
                Expression::Compare { from, operator, value } => registers.compare(*from, *operator, value),
                Expression::Range { from, inverted, first, last } => {
                    let within = registers.within(*from, first, last);
                    match (inverted, within) {
                        (true, Answer::Yes) => Answer::No,
                        (true, Answer::No) => Answer::Yes,
                        (_, within) => within,
                    }
                }
                Expression::Lookup { set, from, result } => {
                    let (found, verdicts) = registers.look_up(self.foreign.table.set(set), *from, *result);
                    if !verdicts.is_empty() {
                        let ends = verdicts.into_iter().map(End::Verdict).collect();
                        return (answer.min(found), if found == Answer::No { Vec::new() } else { ends });
                    }
                    found
                }
                Expression::Verdict(verdict) => return (answer, vec![End::Verdict(verdict.clone())]),
                Expression::Reject(_) => return (answer, vec![End::Refused]),
                Expression::Limit(_) => Answer::Maybe,
                Expression::OneOf { ways, inverted } => {
                    let best = ways.iter().map(|way| self.try_all(way).0).max().unwrap_or(Answer::No);
                    if *inverted { best.not() } else { best }
                }
                Expression::Unknown { name, attributes } => match effect(name, attributes) {
                    Effect::Match(matched) => matched,
                    Effect::Drop => return (answer, vec![End::Refused]),
                    Effect::Unknown => return (answer, vec![End::Anything]),
                },
                _ => Answer::Yes,
            };
            answer = answer.min(matched);
            if answer == Answer::No {
                return (Answer::No, Vec::new());
            }
        }
        (answer, Vec::new())
    }
}

/// The end that a rule has for packets that it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Verdict(Verdict),
    /// The packet is rejected.
    Refused,
    /// The verdict is not known.
    Anything,
}

/// Whether a packet with this end does not meet the rules that follow.
fn leaves(end: &End) -> bool {
    matches!(end, End::Verdict(Verdict::Return | Verdict::Goto(_)))
}
