//! All drops that are possible in a base chain, for a packet of which some values are not known.
//!
//! Where a rule may match, both ways are followed, and joined after it: the cost is that of one evaluation.

use super::super::{Evaluation, Outcome};
use super::{Cursor, Frame, MOST_RULES};
use crate::packet::Packet;
use fairway_ruleset::{Chain, Policy, Verdict};

/// A rule or policy that drops a packet, or may drop it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PossibleDrop {
    /// The chain.
    pub chain: String,
    /// The handle of the rule; none for the policy of the chain.
    pub rule: Option<u64>,
    /// Whether the packet is dropped whatever the values that are not known.
    pub certain: bool,
}

impl<'a> Evaluation<'a> {
    /// The rules and policies that may drop a packet in a base chain, in order.
    pub fn possible_drops(&mut self, base: &'a Chain, packet: &mut Packet) -> Vec<PossibleDrop> {
        let mut cursor = Cursor::new(base);
        let (mut drops, mut may_be_accepted) = (Vec::new(), false);
        while let Some((chain, _, rule)) = self.next_rule(&mut cursor) {
            self.tried += 1;
            if self.tried > MOST_RULES {
                return drops;
            }
            let (matches, verdicts) = match self.rule(rule, packet) {
                Outcome::No => continue,
                Outcome::Yes(verdict) => (true, Vec::from_iter(verdict)),
                Outcome::MayMatch(verdict, ..) => (false, Vec::from_iter(verdict)),
                Outcome::OneOf(verdicts, _) => (false, verdicts),
                Outcome::Unknown(_) | Outcome::Undecided => (false, vec![Verdict::Accept]),
            };
            let certain = cursor.sure && matches;
            for verdict in &verdicts {
                match verdict {
                    Verdict::Accept => may_be_accepted = true,
                    Verdict::Drop => drops.push(PossibleDrop {
                        chain: chain.name.clone(),
                        rule: Some(rule.handle.unwrap_or_default()),
                        certain: certain && !may_be_accepted,
                    }),
                    _ => {}
                }
            }
            match verdicts.first() {
                Some(Verdict::Accept | Verdict::Drop) if certain => return drops,
                Some(Verdict::Return) if certain => {
                    if self.go_back(&mut cursor).is_none() {
                        break;
                    }
                }
                _ => may_be_accepted |= self.descend(&mut cursor, &verdicts, certain),
            }
        }
        if base.base.as_ref().is_some_and(|it| it.policy == Policy::Drop) {
            drops.push(PossibleDrop { chain: base.name.clone(), rule: None, certain: !may_be_accepted });
        }
        drops
    }

    /// Enters the chains that verdicts lead to, one after the other, and returns whether one cannot be entered. What
    /// does not certainly leave a chain goes on there.
    fn descend(&mut self, cursor: &mut Cursor<'a>, verdicts: &[Verdict], certain: bool) -> bool {
        let (depth, mut is_lost) = (cursor.depth, false);
        let leaves = verdicts.iter().any(|it| matches!(it, Verdict::Return | Verdict::Goto(_)));
        cursor.sure &= certain || !leaves;
        for verdict in verdicts {
            let (Verdict::Jump(name) | Verdict::Goto(name)) = verdict else { continue };
            let frame = Frame::of(cursor, 0);
            cursor.depth = depth;
            if self.enter(cursor, "jump", name).is_some() {
                (cursor.depth, is_lost) = (frame.depth, true);
                continue;
            }
            cursor.sure = certain;
            if !certain || matches!(verdict, Verdict::Jump(_)) {
                cursor.stack.push(frame);
            }
        }
        is_lost
    }
}
