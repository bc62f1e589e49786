//! Encodes values as attributes.

mod expression;

use fairway_ruleset::{
    Chain, Element, ElementData, Expression, Rule, Set, SetData, SetFlags, Table, TableFlags, Verdict,
};

use super::{numbers as n, userdata};
use crate::netlink::MessageBuilder;

pub use expression::expression;

/// The kernel needs a length for the values of a verdict map and ignores it.
const VERDICT_LENGTH: u32 = 16;

/// The flags in a message that creates or takes over a table.
pub fn table_flags(message: &mut MessageBuilder<'_>, flags: TableFlags) {
    let bits = [
        (flags.dormant, n::table_flag::DORMANT),
        (flags.owner, n::table_flag::OWNER),
        (flags.persist, n::table_flag::PERSIST),
    ];
    message.be32(n::table::FLAGS, sum(&bits));
}

fn sum(bits: &[(bool, u32)]) -> u32 {
    bits.iter().filter(|(is_set, _)| *is_set).fold(0, |sum, (_, bit)| sum | bit)
}

/// A chain without its rules.
pub fn chain(message: &mut MessageBuilder<'_>, table: &Table, chain: &Chain) {
    message.text(n::chain::TABLE, &table.name).text(n::chain::NAME, &chain.name);
    let Some(base) = &chain.base else { return };
    message.text(n::chain::TYPE, &base.kind.to_string());
    message.be32(n::chain::POLICY, base.policy.number());
    message.nest(n::chain::HOOK, |hook| {
        hook.be32(n::chain::HOOK_NUMBER, base.hook.number_in(table.family));
        hook.be32(n::chain::HOOK_PRIORITY, base.priority.cast_unsigned());
        match base.devices.as_slice() {
            [] => {}
            [device] => {
                hook.text(n::chain::HOOK_DEVICE, device);
            }
            devices => {
                hook.nest(n::chain::HOOK_DEVICES, |list| {
                    for device in devices {
                        list.text(n::chain::DEVICE_NAME, device);
                    }
                });
            }
        }
    });
}

/// A rule.
pub fn rule(message: &mut MessageBuilder<'_>, table: &str, chain: &str, rule: &Rule) {
    message.text(n::rule::TABLE, table).text(n::rule::CHAIN, chain);
    message.nest(n::rule::EXPRESSIONS, |list| {
        for step in &rule.expressions {
            list.nest(n::LIST_ELEMENT, |entry| expression(entry, step));
        }
    });
    if let Some(comment) = &rule.comment {
        message.attribute(n::rule::USERDATA, &userdata::comment(comment));
    }
}

fn set_flags(set: &Set) -> u32 {
    let SetFlags { anonymous, constant, interval, timeout, dynamic } = set.flags;
    let object = matches!(set.data, SetData::Object(_));
    sum(&[
        (anonymous, n::set_flag::ANONYMOUS),
        (constant, n::set_flag::CONSTANT),
        (interval, n::set_flag::INTERVAL),
        (set.data != SetData::None && !object, n::set_flag::MAP),
        (timeout, n::set_flag::TIMEOUT),
        (dynamic, n::set_flag::EVALUATED),
        (object, n::set_flag::OBJECT),
        (set.is_concatenation(), n::set_flag::CONCATENATION),
    ])
}

/// Lengths of keys and values, which are at most 64 bytes.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// A set without its elements. `id` identifies it among the new sets of the transaction.
pub fn set(message: &mut MessageBuilder<'_>, table: &str, set: &Set, id: u32) {
    use fairway_ruleset::Datatype;
    message.text(n::set::TABLE, table).text(n::set::NAME, &set.name);
    message.be32(n::set::FLAGS, set_flags(set)).be32(n::set::ID, id);
    message.be32(n::set::KEY_TYPE, Datatype::number_of(&set.key));
    message.be32(n::set::KEY_LENGTH, length(set.key_length()));
    match &set.data {
        SetData::None => {}
        SetData::Verdict => {
            message.be32(n::set::DATA_TYPE, n::DATA_VERDICT).be32(n::set::DATA_LENGTH, VERDICT_LENGTH);
        }
        SetData::Value(parts) => {
            message.be32(n::set::DATA_TYPE, Datatype::number_of(parts));
            message.be32(n::set::DATA_LENGTH, length(Datatype::length_of(parts)));
        }
        SetData::Object(kind) => {
            message.be32(n::set::OBJECT_TYPE, *kind);
        }
    }
    if set.size.is_some() || set.is_concatenation() {
        message.nest(n::set::DESCRIPTION, |description| {
            if let Some(size) = set.size {
                description.be32(n::set::DESCRIPTION_SIZE, size);
            }
            if set.is_concatenation() {
                description.nest(n::set::DESCRIPTION_PARTS, |parts| {
                    for part in &set.key {
                        parts.nest(n::LIST_ELEMENT, |field| {
                            field.be32(n::set::PART_LENGTH, length(part.length()));
                        });
                    }
                });
            }
        });
    }
    if let Some(timeout) = set.timeout {
        message.be64(n::set::TIMEOUT, timeout);
    }
    if set.counters {
        message.nest(n::set::EXPRESSION, |counter| {
            counter.text(n::expression::NAME, "counter");
            counter.nest(n::expression::DATA, |_| {});
        });
    }
    message.attribute(n::set::USERDATA, &userdata::of_set(set));
}

/// An element of a list, or the two that an interval is made of.
pub fn element(list: &mut MessageBuilder<'_>, set: &Set, element: &Element) {
    let is_tree = set.flags.interval && !set.is_concatenation();
    list.nest(n::LIST_ELEMENT, |entry| {
        if element.key.is_empty() {
            entry.be32(n::element::FLAGS, n::element::FLAG_CATCH_ALL);
        } else {
            value(entry, n::element::KEY, &element.key);
        }
        if !is_tree && set.flags.interval && !element.key.is_empty() {
            value(entry, n::element::KEY_END, element.last.as_ref().unwrap_or(&element.key));
        }
        match &element.data {
            ElementData::None => {}
            ElementData::Value(bytes) => value(entry, n::element::DATA, bytes),
            ElementData::Verdict(verdict) => verdict_data(entry, n::element::DATA, verdict),
        }
        if let Some(limit) = element.limit {
            entry.nest(n::element::EXPRESSION, |step| expression(step, &Expression::Limit(limit)));
        }
        if let Some(timeout) = element.timeout {
            entry.be64(n::element::TIMEOUT, timeout);
        }
        if let Some(comment) = &element.comment {
            entry.attribute(n::element::USERDATA, &userdata::comment(comment));
        }
    });
    if is_tree
        && !element.key.is_empty()
        && let Some(end) = successor(element.last.as_ref().unwrap_or(&element.key))
    {
        list.nest(n::LIST_ELEMENT, |entry| {
            value(entry, n::element::KEY, &end);
            entry.be32(n::element::FLAGS, n::element::FLAG_INTERVAL_END);
        });
    }
}

/// The key after a key, as the kernel orders them; none after the last.
fn successor(key: &[u8]) -> Option<Vec<u8>> {
    let mut next = key.to_vec();
    for byte in next.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(next);
        }
    }
    None
}

/// A value as `NFTA_DATA_VALUE`.
pub fn value(message: &mut MessageBuilder<'_>, kind: u16, bytes: &[u8]) {
    message.nest(kind, |data| {
        data.attribute(n::data::VALUE, bytes);
    });
}

/// A verdict as `NFTA_DATA_VERDICT`.
pub fn verdict_data(message: &mut MessageBuilder<'_>, kind: u16, verdict: &Verdict) {
    let (code, chain) = match verdict {
        Verdict::Accept => (n::verdict::ACCEPT, None),
        Verdict::Drop => (n::verdict::DROP, None),
        Verdict::Continue => (n::verdict::CONTINUE, None),
        Verdict::Break => (n::verdict::BREAK, None),
        Verdict::Return => (n::verdict::RETURN, None),
        Verdict::Jump(chain) => (n::verdict::JUMP, Some(chain)),
        Verdict::Goto(chain) => (n::verdict::GOTO, Some(chain)),
    };
    message.nest(kind, |data| {
        data.nest(n::data::VERDICT, |verdict| {
            verdict.be32(n::data::VERDICT_CODE, code.cast_unsigned());
            if let Some(chain) = chain {
                verdict.text(n::data::VERDICT_CHAIN, chain);
            }
        });
    });
}
