//! nf_tables' registers, of which some bytes may not be known.

use super::packet::Packet;
use fairway_ruleset::{Comparison, Element, Expression, LookupResult, Register, Set, Verdict};

/// Whether a rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Answer {
    No,
    Maybe,
    Yes,
}

impl Answer {
    fn of(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }

    pub fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
            Self::Yes => Self::No,
        }
    }
}

/// The contents of the registers after some expressions of a rule.
pub(super) struct Registers {
    bytes: Vec<Option<u8>>,
}

impl Registers {
    pub fn empty() -> Self {
        Self { bytes: vec![None; usize::from(Register::COUNT) * Register::SIZE] }
    }

    fn put(&mut self, to: Register, value: &[Option<u8>]) {
        let start = usize::from(to.slot()) * Register::SIZE;
        // The rest of the last slot is zero, as in the kernel.
        for (position, byte) in self.bytes.iter_mut().skip(start).enumerate() {
            match value.get(position) {
                Some(known) => *byte = *known,
                None if position < value.len().next_multiple_of(Register::SIZE) => *byte = Some(0),
                None => break,
            }
        }
    }

    fn get(&self, from: Register, length: usize) -> Vec<Option<u8>> {
        let start = usize::from(from.slot()) * Register::SIZE;
        self.bytes.iter().skip(start).take(length).copied().collect()
    }

    fn whole(&self, from: Register, length: usize) -> Option<Vec<u8>> {
        self.get(from, length).into_iter().collect()
    }

    /// Evaluates an expression that loads a value; none if the expression does not load one.
    pub fn load(&mut self, expression: &Expression, packet: &Packet) -> Option<()> {
        let (to, value) = match expression {
            Expression::Meta { key, to } => (*to, packet.meta(*key)),
            Expression::Payload { base, offset, length, to } => {
                (*to, packet.payload(*base, *offset, *length))
            }
            Expression::Ct { key, to, .. } => (*to, packet.conntrack(*key)),
            Expression::Fib { result, flags, to } => (*to, packet.route(*result, *flags)),
            Expression::Socket { to, .. } => (*to, vec![None; 16]),
            Expression::BridgePort { to, .. } => (*to, vec![None; 16]),
            Expression::ExclusiveOr { to, length, .. } => (*to, vec![None; (*length as usize).min(64)]),
            Expression::Extension { length, to, .. } => (*to, vec![None; (*length as usize).min(64)]),
            Expression::Immediate { to, value } => (*to, value.iter().copied().map(Some).collect()),
            Expression::Bitwise { from, to, mask, xor } => {
                let masked = self.get(*from, mask.len()).into_iter().zip(mask).zip(xor);
                let value = masked.map(|((byte, mask), xor)| match mask {
                    0 => Some(*xor),
                    mask => byte.map(|byte| byte & mask ^ xor),
                });
                (*to, value.collect())
            }
            Expression::Byteorder { from, to, length, size, .. } => {
                let mut value = self.get(*from, *length as usize);
                value.chunks_mut((*size as usize).max(1)).for_each(<[_]>::reverse);
                (*to, value)
            }
            _ => return None,
        };
        self.put(to, &value);
        Some(())
    }

    /// Compares a register with a value.
    pub fn compare(&self, from: Register, operator: Comparison, value: &[u8]) -> Answer {
        let held = self.get(from, value.len());
        let differs = held.iter().zip(value).any(|(held, byte)| held.is_some_and(|held| held != *byte));
        let whole: Option<Vec<u8>> = held.into_iter().collect();
        let equal = match (&whole, differs) {
            (_, true) => Answer::No,
            (Some(_), false) => Answer::Yes,
            (None, false) => Answer::Maybe,
        };
        let ordered = |yes: fn(&[u8], &[u8]) -> bool| {
            whole.as_deref().map_or(Answer::Maybe, |held| Answer::of(yes(held, value)))
        };
        match operator {
            Comparison::Equal => equal,
            Comparison::NotEqual => equal.not(),
            Comparison::Less => ordered(|held, value| held < value),
            Comparison::LessOrEqual => ordered(|held, value| held <= value),
            Comparison::Greater => ordered(|held, value| held > value),
            Comparison::GreaterOrEqual => ordered(|held, value| held >= value),
        }
    }

    /// Whether a register is within a range.
    pub fn within(&self, from: Register, first: &[u8], last: &[u8]) -> Answer {
        match self.whole(from, first.len()) {
            Some(held) => Answer::of(first <= held.as_slice() && held.as_slice() <= last),
            None => Answer::Maybe,
        }
    }

    /// Looks up a register in a set or map: whether it matches, and the possible verdicts.
    pub fn look_up(
        &mut self,
        set: Option<&Set>,
        from: Register,
        result: LookupResult,
    ) -> (Answer, Vec<Verdict>) {
        let Some(set) = set else { return (Answer::Maybe, Vec::new()) };
        let key = self.get(from, set.key_length());
        let whole: Option<Vec<u8>> = key.iter().copied().collect();
        let found: Vec<&Element> = set.elements.iter().filter(|element| may_be(set, element, &key)).collect();
        // An element without a key is the catch-all element.
        let rest = set.elements.iter().find(|element| element.key.is_empty());
        let answer = match (found.is_empty(), &whole) {
            (true, _) if rest.is_some() => Answer::Yes,
            (true, _) => Answer::No,
            (false, Some(_)) => Answer::Yes,
            (false, None) if rest.is_some() => Answer::Yes,
            (false, None) => Answer::Maybe,
        };
        let verdict = |element: &&Element| match &element.data {
            fairway_ruleset::ElementData::Verdict(verdict) => Some(verdict.clone()),
            _ => None,
        };
        match result {
            LookupResult::Match => (answer, Vec::new()),
            LookupResult::NoMatch => (answer.not(), Vec::new()),
            LookupResult::Value(to) => {
                self.put(to, &[None; 16]);
                (answer, Vec::new())
            }
            LookupResult::Verdict => {
                let others = rest.filter(|_| found.is_empty() || whole.is_none());
                let mut verdicts: Vec<Verdict> =
                    found.iter().copied().chain(others).filter_map(|it| verdict(&it)).collect();
                verdicts.dedup();
                (answer, verdicts)
            }
        }
    }
}

/// Whether a key, as far as it is known, equals an element or is in its range.
fn may_be(set: &Set, element: &Element, key: &[Option<u8>]) -> bool {
    if element.key.is_empty() {
        return false;
    }
    let last = element.last.as_deref().unwrap_or(&element.key);
    let mut start = 0;
    set.key.iter().all(|part| {
        let length = if set.is_concatenation() { part.padded_length() } else { part.length() };
        let own = start..start + length;
        start += length;
        let (Some(key), Some(first), Some(last)) =
            (key.get(own.clone()), element.key.get(own.clone()), last.get(own))
        else {
            return true;
        };
        let whole: Option<Vec<u8>> = key.iter().copied().collect();
        match whole {
            Some(key) => first <= key.as_slice() && key.as_slice() <= last,
            None if first == last => {
                key.iter().zip(first).all(|(key, byte)| key.is_none_or(|key| key == *byte))
            }
            None => true,
        }
    })
}
