//! A table in the syntax of `nft`, for golden files and for people.

mod field;
mod rule;

use std::fmt;

use super::{Base, Datatype, Element, ElementData, Family, Hook, Rule, Set, SetData, Table};

/// A rule as `nft` would print it.
pub(super) fn rule_text(table: &Table, rule: &Rule) -> String {
    if let Some(text) = &rule.text {
        return text.clone();
    }
    let mut text = rule::text(table, &rule.expressions);
    if let Some(comment) = &rule.comment {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&format!("comment \"{comment}\""));
    }
    text
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {} {{", self.family, self.name)?;
        let flags =
            [(self.flags.dormant, "dormant"), (self.flags.owner, "owner"), (self.flags.persist, "persist")];
        if let Some(flags) = joined(&flags) {
            writeln!(f, "\tflags {flags}")?;
        }
        let mut first = true;
        let mut separate =
            |f: &mut fmt::Formatter<'_>| if std::mem::take(&mut first) { Ok(()) } else { writeln!(f) };
        for set in self.sets.iter().filter(|set| !set.flags.anonymous) {
            separate(f)?;
            write_set(f, set)?;
        }
        for chain in &self.chains {
            separate(f)?;
            writeln!(f, "\tchain {} {{", chain.name)?;
            if let Some(base) = &chain.base {
                write_base(f, base, self.family)?;
            }
            for rule in &chain.rules {
                writeln!(f, "\t\t{}", self.rule_text(rule))?;
            }
            writeln!(f, "\t}}")?;
        }
        writeln!(f, "}}")
    }
}

fn joined(flags: &[(bool, &str)]) -> Option<String> {
    let set: Vec<&str> = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, word)| *word).collect();
    (!set.is_empty()).then(|| set.join(","))
}

fn write_base(f: &mut fmt::Formatter<'_>, base: &Base, family: Family) -> fmt::Result {
    write!(f, "\t\ttype {} hook {}", base.kind, base.hook)?;
    match base.devices.as_slice() {
        [] => {}
        [device] => write!(f, " device \"{device}\"")?,
        devices => write!(f, " devices = {{ {} }}", devices.join(", "))?,
    }
    writeln!(f, " priority {}; policy {};", priority_text(base, family), base.policy)
}

/// The names that `nft` has for priorities; some it knows at one hook only.
fn priority_text(base: &Base, family: Family) -> String {
    let word = match (family, base.hook, base.priority) {
        (Family::Bridge, Hook::Prerouting, -300) => "dstnat",
        (Family::Bridge, _, -200) => "filter",
        (Family::Bridge, Hook::Output, 100) => "out",
        (Family::Bridge, Hook::Postrouting, 300) => "srcnat",
        (Family::Bridge, ..) => return base.priority.to_string(),
        (_, _, -300) => "raw",
        (_, _, -150) => "mangle",
        (_, Hook::Prerouting, -100) => "dstnat",
        (_, _, 0) => "filter",
        (_, _, 50) => "security",
        (_, Hook::Postrouting, 100) => "srcnat",
        _ => return base.priority.to_string(),
    };
    word.to_owned()
}

fn type_text(parts: &[Datatype]) -> String {
    parts.iter().map(|part| part.name()).collect::<Vec<_>>().join(" . ")
}

fn write_set(f: &mut fmt::Formatter<'_>, set: &Set) -> fmt::Result {
    let word = if set.data == SetData::None { "set" } else { "map" };
    writeln!(f, "\t{word} {} {{", set.name)?;
    write!(f, "\t\ttype {}", type_text(&set.key))?;
    match &set.data {
        SetData::None => writeln!(f)?,
        SetData::Verdict => writeln!(f, " : verdict")?,
        SetData::Value(parts) => writeln!(f, " : {}", type_text(parts))?,
        SetData::Object(kind) => writeln!(f, " : object {kind}")?,
    }
    if let Some(size) = set.size {
        writeln!(f, "\t\tsize {size}")?;
    }
    let flags = [
        (set.flags.constant, "constant"),
        (set.flags.interval, "interval"),
        (set.flags.timeout, "timeout"),
        (set.flags.dynamic, "dynamic"),
    ];
    if let Some(flags) = joined(&flags) {
        writeln!(f, "\t\tflags {flags}")?;
    }
    if let Some(timeout) = set.timeout {
        writeln!(f, "\t\ttimeout {timeout}ms")?;
    }
    if set.counters {
        writeln!(f, "\t\tcounter")?;
    }
    if let Some(comment) = &set.comment {
        writeln!(f, "\t\tcomment \"{comment}\"")?;
    }
    if !set.elements.is_empty() {
        let elements: Vec<String> = set.elements.iter().map(|element| element_text(set, element)).collect();
        writeln!(f, "\t\telements = {{ {} }}", elements.join(",\n\t\t\t     "))?;
    }
    writeln!(f, "\t}}")
}

impl Set {
    /// One of its elements as `nft` prints it.
    pub fn element_text(&self, element: &Element) -> String {
        element_text(self, element)
    }
}

fn element_text(set: &Set, element: &Element) -> String {
    let mut text = key_text(set, element);
    if let Some(count) = &element.count {
        text.push_str(&format!(" counter packets {} bytes {}", count.packets, count.bytes));
    }
    if let Some(limit) = element.limit {
        text.push_str(&format!(" {}", rule::limit_text(limit)));
    }
    if let Some(timeout) = element.timeout {
        text.push_str(&format!(" timeout {timeout}ms"));
    }
    if let Some(comment) = &element.comment {
        text.push_str(&format!(" comment \"{comment}\""));
    }
    match &element.data {
        ElementData::None => {}
        ElementData::Verdict(verdict) => text.push_str(&format!(" : {verdict}")),
        ElementData::Value(value) => match &set.data {
            SetData::Value(parts) => text.push_str(&format!(" : {}", Datatype::text_of(parts, value))),
            _ => text.push_str(&format!(" : {}", field::hexadecimal(value))),
        },
    }
    text
}

fn key_text(set: &Set, element: &Element) -> String {
    let Some(last) = &element.last else {
        return if element.key.is_empty() { "*".into() } else { Datatype::text_of(&set.key, &element.key) };
    };
    if let [single] = set.key.as_slice() {
        return range_text(*single, &element.key, last);
    }
    let (mut firsts, mut lasts) = (element.key.as_slice(), last.as_slice());
    let mut texts = Vec::new();
    for part in &set.key {
        let (first, after_first) = firsts.split_at(part.padded_length().min(firsts.len()));
        let (last, after_last) = lasts.split_at(part.padded_length().min(lasts.len()));
        let own = |bytes: &[u8]| bytes[..part.length().min(bytes.len())].to_vec();
        texts.push(range_text(*part, &own(first), &own(last)));
        (firsts, lasts) = (after_first, after_last);
    }
    texts.join(" . ")
}

/// A range: one value, a prefix if it is one and the type has prefixes, or both ends.
pub(super) fn range_text(part: Datatype, first: &[u8], last: &[u8]) -> String {
    if first == last {
        return part.text(first);
    }
    let differing: Vec<u8> = first.iter().zip(last).map(|(a, b)| !(a ^ b)).collect();
    let aligned = first.iter().zip(last).all(|(a, b)| a & b == *a);
    if aligned && let Some(text) = field::prefix_text(part, first, &differing) {
        return text;
    }
    format!("{}-{}", part.text(first), part.text(last))
}
