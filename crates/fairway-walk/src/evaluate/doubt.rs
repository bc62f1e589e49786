//! Matches that neither the packet nor the tables decide, and the choices that a walk makes there.

use super::{Action, Evaluation, Outcome, Step};
use crate::choice::{Alternative, Choices, Condition};
use crate::packet::Packet;
use crate::probability::Probability;
use fairway_ruleset::{Element, Expression, LimitRate, NumberSource, Register, Set, UndecidedState};

use super::load::Loaded;
use super::registers::Registers;

/// How many numbers a choice may have.
pub(super) const MOST_NUMBERS: u32 = 1_024;

/// A match that neither the packet nor the tables decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Why that is, where no choice can be made.
    pub reason: String,
    /// The condition on which it depends.
    holds: String,
    /// The opposite of the condition.
    fails: String,
    /// The probability that it matches, if chance decides.
    probability: Option<Probability>,
    /// The question, if others may ask the same; none if it is the rule's own.
    question: Option<String>,
    /// Whether it matches if the condition fails.
    is_inverted: bool,
    /// Whether the condition holds in the first branch.
    expected: bool,
}

impl From<String> for Doubt {
    fn from(reason: String) -> Self {
        let [holds, fails] =
            ["matches", "does not match"].map(|what| format!("if the rule {what} ({reason})"));
        Self { reason, holds, fails, probability: None, question: None, is_inverted: false, expected: true }
    }
}

impl Doubt {
    /// A match that holds for so many packets of so many.
    pub fn chance(probability: Probability) -> Self {
        Self { probability: Some(probability), ..Self::from("the match is random".to_owned()) }
    }

    /// A limit of a rule.
    pub fn limit(limit: LimitRate) -> Self {
        let [holds, fails] = ["below", "above"].map(|side| format!("while {side} the limit of {limit}"));
        Self { holds, fails, is_inverted: limit.inverted, ..Self::from(super::opaque::PASSED.to_owned()) }
    }

    /// Whether a set whose elements come and go has a key, which it has now or not; `is_inverted` is whether the rule
    /// matches what is not in the set.
    pub fn member(question: String, (set, key): (&Set, &[u8]), is_now: bool, is_inverted: bool) -> Self {
        let key = set.element_text(&Element::new(key));
        let text = |is: bool| {
            let not = if is { "" } else { "not " };
            let now = if is == is_now { ", as now" } else { "" };
            let kind = if set.name.starts_with("ipset ") { "" } else { "set " };
            format!("while {key} is {not}in the {kind}{}{now}", set.name)
        };
        Self {
            holds: text(true),
            fails: text(false),
            question: Some(question),
            is_inverted,
            expected: is_now,
            ..Self::from(super::opaque::PASSED.to_owned())
        }
    }

    /// Whether chance decides.
    pub fn is_chance(&self) -> bool {
        self.probability.is_some()
    }

    /// Whether it matches in this walk. `rule` names the rule that asks, and `own` is the question of that rule alone.
    fn decide(&self, choices: &Choices, rule: impl FnOnce() -> String, own: String) -> bool {
        if let Some(probability) = self.probability {
            let rest = probability.denominator() - probability.numerator();
            let taken = choices.take(2, |taken| Alternative {
                probability: Some(match taken {
                    0 => probability,
                    _ => Probability::new(rest, probability.denominator()),
                }),
                condition: None,
            });
            return taken == 0;
        }
        let question = self.question.clone().unwrap_or(own);
        let answer = choices.known(&question).map(|answer| answer != 0).unwrap_or_else(|| {
            let answer = |taken: usize| (taken == 0) == self.expected;
            let taken = choices.take(2, |taken| {
                let text = if answer(taken) { &self.holds } else { &self.fails };
                Alternative {
                    probability: None,
                    condition: Some(Condition { rule: rule(), text: text.clone() }),
                }
            });
            answer(taken)
        });
        choices.know(question, answer.into());
        answer != self.is_inverted
    }
}

/// The effect of the rest of a rule with one number.
#[derive(PartialEq, Eq)]
struct Effect {
    outcome: Outcome,
    actions: Vec<Action>,
    packet: Packet,
}

impl<'a> Evaluation<'a> {
    /// Decides whether a rule matches in this walk, all of whose doubts have to match; none if no choice can be made.
    pub(super) fn decide(&self, doubts: &[Doubt]) -> Option<bool> {
        let choices = self.facts.choices?;
        let all = doubts.iter().enumerate().all(|(number, doubt)| {
            doubt.decide(choices, || self.current_rule(), self.question(&number.to_string()))
        });
        Some(all)
    }

    /// A question about the rule that is evaluated.
    fn question(&self, what: &str) -> String {
        let (_, namespace) = self.facts.lookup;
        let (chain, place, _) =
            self.at.map_or(("", 0, None), |(chain, place, rule)| (chain, place, Some(rule)));
        let legacy = self.is_legacy();
        format!("{namespace:?} {legacy} {} {} {chain} {place} {what}", self.table.family, self.table.name)
    }

    fn current_rule(&self) -> String {
        self.at.map_or(String::new(), |(chain, _, rule)| self.rule_in_words(chain, rule))
    }

    /// The question whether a set has a key.
    pub(super) fn member_question(&self, set: &str, key: &[u8]) -> String {
        let (_, namespace) = self.facts.lookup;
        format!("{namespace:?} {} {} set {set} {key:?}", self.table.family, self.table.name)
    }

    /// The doubt of an undecided match of iptables.
    pub(super) fn undecided(
        &self,
        name: &str,
        (holds, fails): (&str, &str),
        is_inverted: bool,
        state: &UndecidedState,
        packet: &Packet,
    ) -> Doubt {
        let (_, namespace) = self.facts.lookup;
        let tuple = packet.tuple();
        let question = match state {
            UndecidedState::OfRule => None,
            UndecidedState::Member { list, source: true } => {
                Some(format!("{namespace:?} list {list} {}", tuple.source))
            }
            UndecidedState::IpSet { name, sides } if sides == "src" => {
                Some(format!("{namespace:?} ipset {name} {}", tuple.source))
            }
            UndecidedState::IpSet { name, sides } => {
                Some(format!("{namespace:?} ipset {name} {sides} {tuple}"))
            }
            UndecidedState::Member { list, source: false } => {
                Some(format!("{namespace:?} list {list} {tuple}"))
            }
        };
        Doubt {
            holds: holds.to_owned(),
            fails: fails.to_owned(),
            is_inverted,
            // Most addresses are in no list.
            expected: question.is_none(),
            question,
            ..Doubt::from(super::opaque::unknown_match(name))
        }
    }

    /// Draws a number, as far as the rest of the rule depends on it.
    pub(super) fn draw(
        &mut self,
        (source, modulus, offset, to): (NumberSource, u32, u32, Register),
        rest: &[Expression],
        registers: &mut Registers,
        packet: &Packet,
    ) -> Step {
        let lost = "the value is random";
        let Some(choices) = self.facts.choices.filter(|_| (1..=MOST_NUMBERS).contains(&modulus)) else {
            return registers.load(to, Loaded::Unknown(lost.to_owned()));
        };
        let number = |value: u32| Loaded::Value(offset.saturating_add(value).to_ne_bytes().to_vec());
        let mut effects: Vec<(Effect, u32, u64)> = Vec::new();
        for value in 0..modulus {
            let mut scratch = Evaluation::new(super::Facts { choices: None, ..self.facts }, self.table);
            scratch.flow_mark = self.flow_mark;
            let (mut registers, mut packet) = (registers.clone(), packet.clone());
            registers.load(to, number(value));
            let outcome = scratch.expressions(rest, registers, &mut packet);
            let effect = Effect { outcome, actions: scratch.actions, packet };
            let is_known = matches!(effect.outcome, Outcome::No | Outcome::Yes(_));
            match effects.iter_mut().find(|(known, ..)| is_known && *known == effect) {
                Some((.., count)) => *count += 1,
                None => effects.push((effect, value, 1)),
            }
        }
        let drawn = match effects.as_slice() {
            [(_, value, _)] => *value,
            _ if self.is_trial => return Step::Undecided,
            _ => {
                let question =
                    (source == NumberSource::Hash).then(|| self.question(&packet.tuple().to_string()));
                let known = question.as_ref().and_then(|question| choices.known(question));
                let value = known.unwrap_or_else(|| {
                    let of = |taken: usize| {
                        effects.get(taken).map_or((0, 1), |(_, value, count)| (*value, *count))
                    };
                    let taken = choices.take(effects.len(), |taken| Alternative {
                        probability: Some(Probability::new(of(taken).1, modulus.into())),
                        condition: None,
                    });
                    of(taken).0
                });
                if let Some(question) = question {
                    choices.know(question, value);
                }
                value
            }
        };
        registers.load(to, number(drawn))
    }

    /// Takes one of several values of a translation; `probability` is that of each, if they are equally probable, and
    /// `name` says what each is. None if there are too many, or no choice can be made.
    pub(super) fn pick(
        &self,
        count: u32,
        is_chance: bool,
        name: impl Fn(u32) -> String,
    ) -> Result<u32, Step> {
        let several = || Step::Unknown("which one of several values is taken is not known".to_owned());
        let choices =
            self.facts.choices.filter(|_| (1..=MOST_NUMBERS).contains(&count)).ok_or_else(several)?;
        if self.is_trial {
            return Err(Step::Undecided);
        }
        let taken = choices.take(count as usize, |taken| {
            let text = format!("if the kernel takes {}", name(taken as u32));
            Alternative {
                probability: is_chance.then(|| Probability::new(1, count.into())),
                condition: (!is_chance).then(|| Condition { rule: self.current_rule(), text }),
            }
        });
        Ok(taken as u32)
    }

    /// Whether a lookup of a key in a set that changes by itself or by packets may find something else at another
    /// moment: the doubt.
    pub(super) fn doubt_of_set(
        &self,
        set: &Set,
        key: &[u8],
        found: Option<&Element>,
        is_inverted: bool,
    ) -> Option<Doubt> {
        self.facts.choices?;
        let vanishes = found.is_some_and(|it| it.timeout.or(it.expires).or(set.timeout).is_some());
        let changes = if found.is_some() { set.flags.timeout && vanishes } else { set.flags.dynamic };
        let question = self.member_question(&set.name, key);
        changes.then(|| Doubt::member(question, (set, key), found.is_some(), is_inverted))
    }
}
