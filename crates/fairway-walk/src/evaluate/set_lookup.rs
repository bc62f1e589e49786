//! Lookups of keys in sets and maps, also of keys that are not wholly known.

use super::registers::Registers;
use super::{Evaluation, Step, load, opaque};
use fairway_ruleset::{Element, ElementData, LookupResult, Register, Set, SetData, Verdict};

impl Evaluation<'_> {
    /// Looks up a key in a set or map.
    pub(super) fn look_up(
        &mut self,
        name: &str,
        registers: &mut Registers,
        from: Register,
        result: LookupResult,
        verdict: &mut Option<Verdict>,
    ) -> Step {
        let Some(set) = self.table.set(name) else { return Step::Unknown(format!("there is no set {name}")) };
        if matches!(set.data, SetData::Object(_)) {
            let reason = format!("the map {name} maps to objects");
            // Of a sample, a quota may match; counters and helpers change no verdict.
            return if self.facts.is_sample { Step::may_match(reason) } else { Step::Unknown(reason) };
        }
        let key = match self.key(set, registers, (from, result)) {
            Ok(key) => key,
            Err(None) => {
                let reason = registers.unknown(from, set.key_length()).unwrap_or_default();
                return self.look_up_unknown(set, registers, (from, result), verdict, reason);
            }
            Err(Some(reason)) => return Step::Unknown(reason),
        };
        let found = match self.facts.element(self.table, set, &key) {
            Ok(found) => found,
            Err(reason) => return Step::Unknown(reason),
        };
        if let Some(element) = &found {
            self.element = Some(format!("{name} {}", set.element_text(element)));
        }
        if self.facts.choices.is_some() && matches!(result, LookupResult::Match | LookupResult::NoMatch) {
            let is_inverted = result == LookupResult::NoMatch;
            if let Some(doubt) = self.doubt_of_set(set, &key, found.as_deref(), is_inverted) {
                return Step::may_match(doubt);
            }
        }
        match (found, result) {
            (Some(_), LookupResult::Match) | (None, LookupResult::NoMatch) => Step::Next,
            (None, _) | (Some(_), LookupResult::NoMatch) => Step::No,
            (Some(element), LookupResult::Value(to)) => match &element.data {
                ElementData::Value(bytes) => registers.load(to, load::Loaded::Value(bytes.clone())),
                _ => Step::Unknown(format!("the map {name} has no verdict or value for the key")),
            },
            (Some(element), LookupResult::Verdict) => {
                if let ElementData::Verdict(to) = &element.data {
                    *verdict = Some(to.clone());
                }
                Step::Next
            }
        }
    }

    /// The key of a lookup. Of one with a port that may be any of a range, a key that stands for all. An error without a
    /// reason if the key is not known, or the ports differ in what is found.
    fn key(
        &self,
        set: &Set,
        registers: &Registers,
        (from, result): (Register, LookupResult),
    ) -> Result<Vec<u8>, Option<String>> {
        let length = set.key_length();
        let read = match registers.varies(from, length) {
            Some(_) if self.facts.namespace.on_demand && set.is_exact() => {
                let (lookup, place) = self.facts.lookup;
                Some(lookup.elements(place, self.table, set).map_err(Some)?.ok_or(None)?)
            }
            _ => None,
        };
        let known = registers.known(from, length);
        let elements = read.as_deref().unwrap_or(&set.elements).iter().filter(|it| may_be(set, it, &known));
        let ends = elements.flat_map(|it| [Some(&it.key), it.last.as_ref()]).flatten();
        let each = registers.with_each_port(from, length, ends.map(Vec::as_slice));
        if each.first().unwrap_or(registers).unknown(from, length).is_some() {
            return Err(None);
        }
        let keys: Vec<_> = each.iter().map(|it| it.bytes(from, length)).collect();
        let Some((key, others)) = keys.split_first() else { return Ok(registers.bytes(from, length)) };
        let find = |key: &Vec<u8>| self.facts.element(self.table, set, key).map_err(Some);
        let found = find(key)?;
        for other in others {
            let other = find(other)?;
            let is_alike = match result {
                LookupResult::Match | LookupResult::NoMatch => found.is_some() == other.is_some(),
                _ => found == other,
            };
            if !is_alike {
                return Err(None);
            }
        }
        Ok(key.clone())
    }

    /// Finds the object of a rule in a map: without one the rule does not match.
    pub(super) fn refer(&self, attributes: &[u8], registers: &Registers) -> Step {
        let Some((name, from)) = opaque::object_map(attributes) else { return Step::Next };
        let Some((set, SetData::Object(kind))) = self.table.set(&name).map(|set| (set, &set.data)) else {
            return Step::Unknown(format!("there is no map {name} of objects"));
        };
        if let Some(reason) = registers.unknown(from, set.key_length()) {
            return Step::may_match(reason);
        }
        match self.facts.element(self.table, set, &registers.bytes(from, set.key_length())) {
            Err(reason) => Step::Unknown(reason),
            Ok(None) => Step::No,
            Ok(Some(_)) => match opaque::of_object_kind(*kind) {
                opaque::Opaque::MayMatch(reason) => Step::may_match(reason),
                opaque::Opaque::Decides(reason) => Step::Unknown(reason),
                _ => Step::Next,
            },
        }
    }

    /// Looks up a key that is not known, or not wholly.
    fn look_up_unknown(
        &self,
        set: &Set,
        registers: &mut Registers,
        (from, result): (Register, LookupResult),
        verdict: &mut Option<Verdict>,
        reason: String,
    ) -> Step {
        // What is read on demand cannot be searched.
        let all = self.facts.namespace.on_demand && set.is_exact();
        let key = registers.known(from, set.key_length());
        let may_be = |element: &&Element| all || may_be(set, element, &key);
        let is_rest = |element: &&Element| element.key.is_empty();
        let found: Vec<&Element> = set.elements.iter().filter(|it| !is_rest(it)).filter(may_be).collect();
        let rest = set.elements.iter().find(is_rest);
        match (result, found.is_empty() && !all) {
            (LookupResult::Value(to), is_missing) if !is_missing || rest.is_some() => {
                registers.load(to, load::Loaded::Unknown(reason.clone()));
                if rest.is_some() { Step::Next } else { Step::may_match(reason) }
            }
            (LookupResult::NoMatch, true) if rest.is_none() => Step::Next,
            (_, true) if rest.is_none() => Step::No,
            (LookupResult::Match, _) if rest.is_some() => Step::Next,
            (LookupResult::NoMatch, _) if rest.is_some() => Step::No,
            (LookupResult::Verdict, _) if all => Step::Unknown(reason),
            (LookupResult::Verdict, _) => {
                let verdicts = found.into_iter().chain(rest).filter_map(|element| match &element.data {
                    ElementData::Verdict(verdict) => Some(verdict.clone()),
                    _ => None,
                });
                let mut verdicts: Vec<Verdict> = verdicts.collect();
                verdicts.dedup();
                if verdicts.len() > 1 {
                    return Step::OneOf(verdicts, reason);
                }
                *verdict = verdicts.pop();
                if rest.is_some() { Step::Next } else { Step::may_match(reason) }
            }
            _ => Step::may_match(reason),
        }
    }
}

/// Whether a key, as far as it is known, equals the key of an element or is in its range.
fn may_be(set: &Set, element: &Element, key: &[Option<u8>]) -> bool {
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
