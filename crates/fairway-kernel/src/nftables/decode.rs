//! Decodes values from attributes.

#![warn(clippy::indexing_slicing)]

mod expression;
mod limit;

use fairway_ruleset::{
    Base, Chain, ChainKind, Datatype, Element, ElementData, Family, Hook, Policy, Rule, Set, SetData,
    SetFlags, TableFlags, Verdict,
};

use super::{numbers as n, userdata};
use crate::netlink::Attributes;

pub use expression::expression;

fn number(attributes: Attributes<'_>, kind: u16) -> u32 {
    attributes.find(kind).and_then(|found| found.be32()).unwrap_or(0)
}

/// The text of an attribute.
pub fn text(attributes: Attributes<'_>, kind: u16) -> Option<String> {
    attributes.find(kind)?.text().map(str::to_owned)
}

/// The bytes of a value in an attribute.
fn bytes(attributes: Attributes<'_>, kind: u16) -> Option<Vec<u8>> {
    attributes.nested(kind).find(n::data::VALUE).map(|value| value.value.to_vec())
}

fn verdict(data: Attributes<'_>) -> Option<Verdict> {
    plain_verdict(data.find(n::data::VERDICT)?.nested())
}

/// A verdict without a chain of its own.
pub fn plain_verdict(verdict: Attributes<'_>) -> Option<Verdict> {
    let chain = || text(verdict, n::data::VERDICT_CHAIN);
    Some(match verdict.find(n::data::VERDICT_CODE)?.be32()?.cast_signed() {
        n::verdict::ACCEPT => Verdict::Accept,
        n::verdict::DROP => Verdict::Drop,
        n::verdict::CONTINUE => Verdict::Continue,
        n::verdict::BREAK => Verdict::Break,
        n::verdict::RETURN => Verdict::Return,
        n::verdict::JUMP => Verdict::Jump(chain()?),
        n::verdict::GOTO => Verdict::Goto(chain()?),
        _ => return None,
    })
}

/// The flags of a table.
pub fn table_flags(attributes: Attributes<'_>) -> TableFlags {
    let bits = number(attributes, n::table::FLAGS);
    TableFlags {
        dormant: bits & n::table_flag::DORMANT != 0,
        owner: bits & n::table_flag::OWNER != 0,
        persist: bits & n::table_flag::PERSIST != 0,
    }
}

/// A chain without its rules.
pub fn chain(family: Family, attributes: Attributes<'_>) -> Option<Chain> {
    let name = text(attributes, n::chain::NAME)?;
    let Some(hook) = attributes.find(n::chain::HOOK) else { return Some(Chain::regular(name)) };
    let hook = hook.nested();
    let mut devices: Vec<String> = hook
        .nested(n::chain::HOOK_DEVICES)
        .filter_map(|device| device.text().map(str::to_owned))
        .chain(text(hook, n::chain::HOOK_DEVICE))
        .collect();
    devices.dedup();
    let base = Base {
        kind: ChainKind::from_name(&text(attributes, n::chain::TYPE)?)?,
        hook: Hook::from_number_in(number(hook, n::chain::HOOK_NUMBER), family)?,
        priority: number(hook, n::chain::HOOK_PRIORITY).cast_signed(),
        policy: match attributes.find(n::chain::POLICY) {
            Some(policy) => Policy::from_number(policy.be32()?)?,
            None => Policy::Accept,
        },
        devices,
    };
    Some(Chain { name, base: Some(base), rules: Vec::new() })
}

/// The expressions of a skimmed rule.
const KEPT: [&str; 3] = ["counter", "match", "target"];

/// A rule with its chain.
pub fn rule(attributes: Attributes<'_>) -> Option<(String, Rule)> {
    let chain = text(attributes, n::rule::CHAIN)?;
    let handle = attributes.find(n::rule::HANDLE)?.be64();
    let expressions =
        attributes.nested(n::rule::EXPRESSIONS).map(|entry| expression(entry.nested())).collect();
    let comment = attributes.find(n::rule::USERDATA).and_then(|data| userdata::read_comment(data.value));
    Some((chain, Rule { expressions, comment, handle, text: None }))
}

/// A rule with its chain, of which another program prints the text: of its expressions only counters and those that
/// carry matches and targets of xtables.
pub fn skimmed_rule(attributes: Attributes<'_>) -> Option<(String, Rule)> {
    let chain = text(attributes, n::rule::CHAIN)?;
    let handle = attributes.find(n::rule::HANDLE)?.be64();
    let is_kept = |entry: Attributes<'_>| {
        entry.find(n::expression::NAME).and_then(|it| it.text()).is_some_and(|it| KEPT.contains(&it))
    };
    let entries = attributes.nested(n::rule::EXPRESSIONS).filter(|entry| is_kept(entry.nested()));
    let expressions = entries.map(|entry| expression(entry.nested())).collect();
    Some((chain, Rule { expressions, comment: None, handle, text: None }))
}

/// A set without its elements.
pub fn set(attributes: Attributes<'_>) -> Option<Set> {
    let bits = number(attributes, n::set::FLAGS);
    let description = attributes.nested(n::set::DESCRIPTION);
    let lengths: Vec<usize> = description
        .nested(n::set::DESCRIPTION_PARTS)
        .filter_map(|part| Some(part.nested().find(n::set::PART_LENGTH)?.be32()? as usize))
        .collect();
    let key_length = number(attributes, n::set::KEY_LENGTH) as usize;
    let data_length = number(attributes, n::set::DATA_LENGTH) as usize;
    let data = if bits & n::set_flag::OBJECT != 0 {
        SetData::Object(number(attributes, n::set::OBJECT_TYPE))
    } else if bits & n::set_flag::MAP == 0 {
        SetData::None
    } else {
        match number(attributes, n::set::DATA_TYPE) {
            n::DATA_VERDICT => SetData::Verdict,
            kind => SetData::Value(Datatype::parts_of(kind, &[], data_length)),
        }
    };
    let counters = attributes
        .filter(|attribute| matches!(attribute.kind, n::set::EXPRESSION | n::set::EXPRESSIONS))
        .any(|found| counter(found.kind == n::set::EXPRESSIONS, found.nested()).is_some());
    Some(Set {
        name: text(attributes, n::set::NAME)?,
        key: Datatype::parts_of(number(attributes, n::set::KEY_TYPE), &lengths, key_length),
        data,
        flags: SetFlags {
            anonymous: bits & n::set_flag::ANONYMOUS != 0,
            constant: bits & n::set_flag::CONSTANT != 0,
            interval: bits & n::set_flag::INTERVAL != 0,
            timeout: bits & n::set_flag::TIMEOUT != 0,
            dynamic: bits & n::set_flag::EVALUATED != 0,
        },
        counters,
        size: description.find(n::set::DESCRIPTION_SIZE).and_then(|size| size.be32()),
        timeout: attributes.find(n::set::TIMEOUT).and_then(|timeout| timeout.be64()),
        comment: attributes.find(n::set::USERDATA).and_then(|data| userdata::read_set_comment(data.value)),
        elements: Vec::new(),
    })
}

/// Decodes by `read` the data of the expression of that name, in an expression or in a list of them.
fn stateful<T>(
    is_list: bool,
    entry: Attributes<'_>,
    name: &str,
    read: impl Fn(Attributes<'_>) -> Option<T>,
) -> Option<T> {
    let one = |entry: Attributes<'_>| {
        let found = entry.find(n::expression::NAME)?;
        (found.text() == Some(name)).then(|| read(entry.nested(n::expression::DATA)))?
    };
    if is_list { entry.clone().find_map(|entry| one(entry.nested())) } else { one(entry) }
}

/// The counter in an expression, or in a list of them.
fn counter(is_list: bool, entry: Attributes<'_>) -> Option<fairway_ruleset::Count> {
    stateful(is_list, entry, "counter", |data| Some(expression::count(data)))
}

/// An element, and whether it only ends the interval before it.
fn element(attributes: Attributes<'_>) -> (Element, bool) {
    let data = attributes.nested(n::element::DATA);
    let number = |kind| attributes.find(kind).and_then(|found| found.be64());
    let element = Element {
        key: bytes(attributes, n::element::KEY).unwrap_or_default(),
        last: bytes(attributes, n::element::KEY_END),
        data: match (data.find(n::data::VALUE), verdict(data)) {
            (Some(value), _) => ElementData::Value(value.value.to_vec()),
            (None, Some(verdict)) => ElementData::Verdict(verdict),
            (None, None) => ElementData::None,
        },
        comment: attributes.find(n::element::USERDATA).and_then(|data| userdata::read_comment(data.value)),
        count: attributes
            .filter(|found| matches!(found.kind, n::element::EXPRESSION | n::element::EXPRESSIONS))
            .find_map(|found| counter(found.kind == n::element::EXPRESSIONS, found.nested())),
        limit: attributes
            .filter(|found| matches!(found.kind, n::element::EXPRESSION | n::element::EXPRESSIONS))
            .find_map(|found| {
                let is_list = found.kind == n::element::EXPRESSIONS;
                stateful(is_list, found.nested(), "limit", limit::limit)
            }),
        timeout: number(n::element::TIMEOUT),
        expires: number(n::element::EXPIRATION),
    };
    let ends = attributes.find(n::element::FLAGS).and_then(|flags| flags.be32()).unwrap_or(0)
        & n::element::FLAG_INTERVAL_END
        != 0;
    (element, ends)
}

/// The key of an entry in a list of elements.
pub fn key_of_entry(entry: Attributes<'_>) -> Option<Vec<u8>> {
    bytes(entry, n::element::KEY)
}

/// The elements of a set from all messages that list them, in the order of their keys.
pub fn elements<'a>(set: &Set, messages: impl Iterator<Item = Attributes<'a>>) -> Vec<Element> {
    let mut found: Vec<(Element, bool)> = messages
        .flat_map(|attributes| attributes.nested(n::element::LIST_ELEMENTS))
        .map(|entry| element(entry.nested()))
        .collect();
    if !set.flags.interval {
        let mut elements: Vec<Element> = found.into_iter().map(|(element, _)| element).collect();
        elements.sort();
        return elements;
    }
    if set.is_concatenation() || set.key.is_empty() {
        let mut elements: Vec<Element> = found.into_iter().map(|(element, _)| element).collect();
        for element in &mut elements {
            element.last = element.last.take().filter(|last| *last != element.key);
        }
        elements.sort();
        return elements;
    }
    // A tree holds the bounds of intervals; an end comes before a beginning of the same key.
    found.sort_by(|(one, one_ends), (other, other_ends)| {
        one.key.cmp(&other.key).then(other_ends.cmp(one_ends))
    });
    let mut elements: Vec<Element> = Vec::new();
    let mut open = false;
    for (element, ends) in found {
        if open && let Some(before) = elements.last_mut() {
            before.last = predecessor(&element.key).filter(|last| *last != before.key);
        }
        // The catch-all element has no key and no end.
        open = !ends && !element.key.is_empty();
        if !ends {
            elements.push(element);
        }
    }
    if open && let Some(last) = elements.last_mut() {
        last.last = Some(vec![0xff; last.key.len()]).filter(|end| *end != last.key);
    }
    elements
}

/// The key before a key.
fn predecessor(key: &[u8]) -> Option<Vec<u8>> {
    let mut before = key.to_vec();
    for byte in before.iter_mut().rev() {
        *byte = byte.wrapping_sub(1);
        if *byte != 0xff {
            return Some(before);
        }
    }
    None
}
