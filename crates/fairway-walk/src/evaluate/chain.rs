//! Control flow of chains: rules in order, jumps, gotos and returns.

pub mod possible;

use super::doubt::Doubt;
use super::{Action, End, Evaluation, Outcome, RuleHit};
use crate::packet::Packet;
use fairway_ruleset::{Chain, Expression, Policy, Rule, Table, Verdict};

/// How deep chains may lead into one another by jumps and gotos (`nft_chain_validate` in
/// net/netfilter/nf_tables_api.c).
const DEEPEST: usize = 16;
/// How many rules an evaluation of one base chain tries, and how many of them may jump to another chain.
const MOST_RULES: usize = 2_000_000;
pub(super) const MOST_WAYS: usize = 2_000;
/// How often an evaluation may fork into two, with and without a rule whose match is not known.
const MOST_FORKS: usize = 64;

/// The position of an evaluation.
#[derive(Clone)]
struct Cursor<'a> {
    base: &'a Chain,
    at: &'a Chain,
    /// The next rule.
    next: usize,
    /// The depth: the number of jumps and gotos between the base chain and here.
    depth: usize,
    /// Whether the packet certainly comes here.
    sure: bool,
    /// Where the evaluation continues after each jump.
    stack: Vec<Frame<'a>>,
}

impl<'a> Cursor<'a> {
    fn new(base: &'a Chain) -> Self {
        Self { base, at: base, next: 0, depth: 0, sure: true, stack: Vec::new() }
    }
}

/// Where the evaluation continues after a jump.
#[derive(Clone, Copy)]
struct Frame<'a> {
    chain: &'a Chain,
    next: usize,
    depth: usize,
    sure: bool,
    /// The position of the jump among the hits.
    jump: usize,
}

impl<'a> Frame<'a> {
    fn of(cursor: &Cursor<'a>, jump: usize) -> Self {
        Self { chain: cursor.at, next: cursor.next, depth: cursor.depth, sure: cursor.sure, jump }
    }
}

/// The result of trying both ways of a rule.
enum Forked {
    /// Both end alike.
    Same(End),
    /// Both lead, alike, to one rule that is undecided.
    Joins,
    /// They differ, or were too many to try.
    Differs,
}

/// What follows from a rule that may match.
enum Settled {
    /// The evaluation ends.
    End(End),
    /// The rule matches.
    Matches,
    /// The rule does not match, or it makes no difference.
    Otherwise,
}

impl RuleHit {
    /// The policy of a base chain.
    pub(crate) fn policy(table: &Table, legacy: bool, chain: &Chain, verdict: Verdict) -> Self {
        Self {
            family: table.family,
            legacy,
            table: table.name.clone(),
            chain: chain.name.clone(),
            rule: None,
            comment: None,
            handle: None,
            place: None,
            element: None,
            actions: Vec::new(),
            verdict: Some(verdict),
        }
    }

    /// Table, chain and rule as text: the rule by its comment, if it has one.
    pub fn in_words(&self) -> String {
        let legacy = if self.legacy { "legacy " } else { "" };
        let chain = format!("{legacy}{} {} {}", self.family, self.table, self.chain);
        let what = if self.legacy { "number" } else { "handle" };
        let handle = self.handle.map(|handle| format!(" ({what} {handle})")).unwrap_or_default();
        match (&self.comment, &self.rule) {
            (Some(comment), _) => format!("{chain}: \"{comment}\"{handle}"),
            (None, Some(rule)) => format!("{chain}: {rule}{handle}"),
            (None, None) => format!("the policy of {chain}"),
        }
    }
}

impl<'a> Evaluation<'a> {
    /// Evaluates a base chain. Rules change `packet`, except for address translations, which are actions of
    /// [`Evaluation::hits`].
    pub fn run(&mut self, chain: &'a Chain, packet: &mut Packet) -> End {
        self.walk(Cursor::new(chain), packet)
    }

    fn walk(&mut self, mut cursor: Cursor<'a>, packet: &mut Packet) -> End {
        while let Some((chain, place, rule)) = self.next_rule(&mut cursor) {
            self.tried += 1;
            if self.tried > MOST_RULES {
                return self.lost(chain, rule, &format!("more than {MOST_RULES} rules are tried before it"));
            }
            self.at = Some((&chain.name, place, rule));
            let verdict = match self.rule(rule, packet) {
                Outcome::No => continue,
                Outcome::Yes(verdict) => verdict,
                Outcome::Unknown(reason) | Outcome::OneOf(_, reason) => {
                    return self.lost(chain, rule, &reason);
                }
                Outcome::Undecided => return undecided(&cursor),
                // A rule that would only count or log changes nothing.
                Outcome::MayMatch(None, ..) if self.actions.is_empty() => continue,
                Outcome::MayMatch(verdict, doubts, otherwise) => {
                    let taken = (chain, place, rule, verdict.clone());
                    match self.settle(&cursor, taken, &doubts, packet, &otherwise) {
                        Settled::End(end) => return end,
                        Settled::Matches => verdict,
                        Settled::Otherwise => {
                            *packet = *otherwise;
                            continue;
                        }
                    }
                }
            };
            if let Some(end) = self.obey(&mut cursor, (chain, place, rule, verdict)) {
                return end;
            }
        }
        self.policy(cursor.base)
    }

    /// Settles whether a rule matches that may: not at all where both ways end alike, else by a choice.
    fn settle(
        &mut self,
        cursor: &Cursor<'a>,
        taken: (&'a Chain, usize, &'a Rule, Option<Verdict>),
        doubts: &[Doubt],
        packet: &mut Packet,
        otherwise: &Packet,
    ) -> Settled {
        let (chain, place, rule, _) = taken;
        let can_choose = self.facts.choices.is_some();
        if self.is_trial && can_choose {
            // A choice is made there if both ways do not come to it alike.
            return Settled::End(undecided(cursor));
        }
        if !(can_choose && doubts.iter().all(Doubt::is_chance)) {
            match self.fork(cursor.clone(), taken, packet, otherwise.clone()) {
                Forked::Same(end) => return Settled::End(end),
                Forked::Joins => return Settled::Otherwise,
                Forked::Differs => self.at = Some((&chain.name, place, rule)),
            }
        }
        if self.is_trial {
            return Settled::End(undecided(cursor));
        }
        match self.decide(doubts) {
            Some(true) => Settled::Matches,
            Some(false) => {
                (self.actions, self.element) = (Vec::new(), None);
                Settled::Otherwise
            }
            None => {
                let reason = doubts.first().map_or("", |doubt| &doubt.reason);
                Settled::End(self.lost(chain, rule, reason))
            }
        }
    }

    /// The next rule with its chain and its place there; none at the end of the base chain.
    fn next_rule(&mut self, cursor: &mut Cursor<'a>) -> Option<(&'a Chain, usize, &'a Rule)> {
        loop {
            if let Some(rule) = cursor.at.rules.get(cursor.next) {
                let place = cursor.next;
                cursor.next += 1;
                return Some((cursor.at, place, rule));
            }
            self.go_back(cursor)?;
        }
    }

    /// Returns to the rule after the last jump, and forgets the jump if it had no effect; none in the base chain.
    fn go_back(&mut self, cursor: &mut Cursor<'a>) -> Option<()> {
        let Frame { chain, next, depth, sure, jump } = cursor.stack.pop()?;
        (cursor.at, cursor.next, cursor.depth, cursor.sure) = (chain, next, depth, sure);
        self.forget_ways(jump);
        Some(())
    }

    /// Forgets the hits from a position on if all of them are jumps between chains.
    fn forget_ways(&mut self, from: usize) {
        let is_way = |hit: &RuleHit| {
            let leads = matches!(hit.verdict, Some(Verdict::Jump(_) | Verdict::Goto(_)));
            leads && hit.actions.is_empty()
        };
        if self.hits.get(from..).is_some_and(|hits| hits.iter().all(is_way)) {
            self.hits.truncate(from);
        }
    }

    /// Continues without and with a match of the rule. If the two ways differ, nothing is changed.
    fn fork(
        &mut self,
        mut cursor: Cursor<'a>,
        taken: (&'a Chain, usize, &'a Rule, Option<Verdict>),
        packet: &mut Packet,
        mut otherwise: Packet,
    ) -> Forked {
        let is_trial = std::mem::replace(&mut self.is_trial, true);
        self.forks = if is_trial { self.forks + 1 } else { 1 };
        if self.forks > MOST_FORKS {
            self.is_trial = is_trial;
            return Forked::Differs;
        }
        let (actions, element) = (std::mem::take(&mut self.actions), self.element.take());
        // A return from a chain forgets hits before the fork, too.
        let (before, counted, flow_mark) = (self.hits.clone(), self.counted.len(), self.flow_mark);
        let end = self.walk(cursor.clone(), &mut otherwise);
        let without = std::mem::replace(&mut self.hits, before.clone());
        let without_counted = self.counted.split_off(counted);
        let without_mark = self.flow_mark;
        (self.actions, self.element, self.flow_mark) = (actions.clone(), element.clone(), flow_mark);
        let mut with = packet.clone();
        let obeyed = self.obey(&mut cursor, taken);
        let other_end = obeyed.unwrap_or_else(|| self.walk(cursor, &mut with));
        let actions_of =
            |hits: &[RuleHit]| hits.iter().flat_map(|hit| hit.actions.clone()).collect::<Vec<_>>();
        let same = end == other_end && actions_of(&without) == actions_of(&self.hits) && otherwise == with;
        self.counted.truncate(counted);
        self.is_trial = is_trial;
        match end {
            End::Undecided(_) if same && without_mark == self.flow_mark => {
                (self.hits, self.flow_mark, self.actions, self.element) =
                    (before, flow_mark, Vec::new(), None);
                Forked::Joins
            }
            end if same && !matches!(end, End::Undecided(_)) => {
                self.counted.extend(without_counted);
                (self.hits, *packet) = (without, with);
                Forked::Same(end)
            }
            _ => {
                (self.hits, self.flow_mark, self.actions, self.element) =
                    (before, flow_mark, actions, element);
                Forked::Differs
            }
        }
    }

    /// Follows the verdict of a rule; an end if the evaluation stops.
    fn obey(
        &mut self,
        cursor: &mut Cursor<'a>,
        (chain, place, rule, verdict): (&'a Chain, usize, &'a Rule, Option<Verdict>),
    ) -> Option<End> {
        let refused = self.actions.iter().find_map(|action| match action {
            Action::Refuse(how) => Some(*how),
            _ => None,
        });
        self.note(chain, Some((place, rule)), verdict.clone());
        if let Some(how) = refused {
            return Some(End::Refused(how));
        }
        match verdict? {
            Verdict::Continue | Verdict::Break => None,
            Verdict::Accept => Some(End::Accepted),
            Verdict::Drop => Some(End::Dropped),
            Verdict::Return => match self.go_back(cursor) {
                Some(()) => None,
                None => Some(self.policy(cursor.base)),
            },
            Verdict::Jump(name) => {
                let jump = self.hits.len().saturating_sub(1);
                let frame = Frame::of(cursor, jump);
                let lost = self.enter(cursor, "jump", &name);
                cursor.stack.push(frame);
                lost
            }
            Verdict::Goto(name) => self.enter(cursor, "goto", &name),
        }
    }

    /// Continues at the beginning of another chain; an end if the chain does not exist, or if the jumps are deeper than
    /// the kernel allows, as it is when chains lead back to themselves.
    fn enter(&mut self, cursor: &mut Cursor<'a>, how: &str, name: &str) -> Option<End> {
        let from = &cursor.at.name;
        let Some(to) = self.table.chain(name) else {
            return Some(End::Unknown(format!("{from}: a {how} to {name}, which does not exist")));
        };
        self.ways += 1;
        if cursor.depth == DEEPEST || self.ways > MOST_WAYS {
            return Some(End::Unknown(format!(
                "{from}: a {how} to {name}: chains lead into one another more than {DEEPEST} deep, or {MOST_WAYS} times"
            )));
        }
        (cursor.at, cursor.next, cursor.depth) = (to, 0, cursor.depth + 1);
        None
    }

    fn policy(&mut self, chain: &Chain) -> End {
        match chain.base.as_ref().map(|base| base.policy) {
            Some(Policy::Drop) => {
                self.note(chain, None, Some(Verdict::Drop));
                End::Dropped
            }
            _ => {
                let is_goto = |hit: &RuleHit| matches!(hit.verdict, Some(Verdict::Goto(_)));
                let last = self.hits.iter().rposition(|hit| !is_goto(hit)).map_or(0, |place| place + 1);
                self.forget_ways(last);
                End::Accepted
            }
        }
    }

    fn lost(&self, chain: &Chain, rule: &Rule, reason: &str) -> End {
        End::Unknown(format!("{}: {reason}", self.rule_in_words(&chain.name, rule)))
    }

    /// A rule with its table, chain and handle.
    pub(super) fn rule_in_words(&self, chain: &str, rule: &Rule) -> String {
        let (family, table) = (self.table.family, &self.table.name);
        let text = self.table.rule_text(&uncounted(rule));
        let (legacy, number) = match self.is_legacy() {
            true => ("legacy ", "number"),
            false => ("", "handle"),
        };
        let handle = rule.handle.map(|handle| format!(" ({number} {handle})")).unwrap_or_default();
        format!("{legacy}{family} {table} {chain}: {text}{handle}")
    }

    pub(super) fn is_legacy(&self) -> bool {
        self.facts.namespace.is_legacy(self.table)
    }

    /// Records a rule that had an effect; a rule that only counted is not recorded.
    fn note(&mut self, chain: &Chain, rule: Option<(usize, &Rule)>, verdict: Option<Verdict>) {
        let (actions, element) = (std::mem::take(&mut self.actions), self.element.take());
        if actions.is_empty() && verdict.is_none() {
            return;
        }
        self.hits.push(RuleHit {
            family: self.table.family,
            legacy: self.is_legacy(),
            table: self.table.name.clone(),
            chain: chain.name.clone(),
            rule: rule.map(|(_, rule)| self.table.rule_text(&uncounted(rule))),
            comment: rule.and_then(|(_, rule)| rule.comment.clone()),
            handle: rule.and_then(|(_, rule)| rule.handle),
            place: rule.map(|(place, _)| place),
            element,
            actions,
            verdict,
        });
    }
}

/// The end of a trial at the rule that a cursor passed last.
fn undecided(cursor: &Cursor<'_>) -> End {
    let after = |chain: &Chain, next: usize| (chain.name.clone(), next);
    let frames = cursor.stack.iter().map(|frame| after(frame.chain, frame.next));
    End::Undecided(frames.chain([after(cursor.at, cursor.next)]).collect())
}

/// A rule without its counters, whose values are not part of the rule.
fn uncounted(rule: &Rule) -> Rule {
    let kept = rule.expressions.iter().filter(|expression| !matches!(expression, Expression::Counter(_)));
    Rule { expressions: kept.cloned().collect(), ..rule.clone() }
}
