//! Sets and maps.

use super::{Datatype, Element};

/// What elements lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetData {
    /// Nothing: a set.
    None,
    /// A verdict each: a verdict map.
    Verdict,
    /// A value of these parts each: a map.
    Value(Vec<Datatype>),
    /// A stateful object each, of the kernel's kind (`NFT_OBJECT_*`); only read, never written.
    Object(u32),
}

/// How a set may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetFlags {
    /// It belongs to one rule and goes with it.
    pub anonymous: bool,
    /// Its elements never change once a rule uses it.
    pub constant: bool,
    /// Its elements may be ranges. A tree then, and not a hash.
    pub interval: bool,
    /// Its elements may vanish by themselves.
    pub timeout: bool,
    /// Rules may put elements into it.
    pub dynamic: bool,
}

/// A set, or a map if elements lead to something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Unique within the table.
    pub name: String,
    /// The parts of its keys; several are a concatenation.
    pub key: Vec<Datatype>,
    /// What elements lead to.
    pub data: SetData,
    /// How it may be used.
    pub flags: SetFlags,
    /// Whether each element counts what meets it.
    pub counters: bool,
    /// The most elements that it takes; none is no limit.
    pub size: Option<u32>,
    /// How long elements stay by default, in milliseconds.
    pub timeout: Option<u64>,
    /// What it is for.
    pub comment: Option<String>,
    /// Its elements.
    pub elements: Vec<Element>,
}

impl Set {
    /// An empty set.
    pub fn new(name: impl Into<String>, key: impl Into<Vec<Datatype>>) -> Self {
        Self {
            name: name.into(),
            key: key.into(),
            data: SetData::None,
            flags: SetFlags::default(),
            counters: false,
            size: None,
            timeout: None,
            comment: None,
            elements: Vec::new(),
        }
    }

    /// An empty map.
    pub fn map(
        name: impl Into<String>,
        key: impl Into<Vec<Datatype>>,
        value: impl Into<Vec<Datatype>>,
    ) -> Self {
        Self { data: SetData::Value(value.into()), ..Self::new(name, key) }
    }

    /// An empty verdict map.
    pub fn verdict_map(name: impl Into<String>, key: impl Into<Vec<Datatype>>) -> Self {
        Self { data: SetData::Verdict, ..Self::new(name, key) }
    }

    /// The same set, whose elements count.
    pub fn counted(mut self) -> Self {
        self.counters = true;
        self
    }

    /// The same set, into which rules put at most so many elements.
    pub fn filled_by_rules(mut self, size: u32) -> Self {
        self.flags.dynamic = true;
        self.size = Some(size);
        self
    }

    /// The same set, whose elements may be ranges.
    pub fn with_ranges(mut self) -> Self {
        self.flags.interval = true;
        self
    }

    /// The same set with a comment.
    pub fn with_comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }

    /// The same set with these elements.
    pub fn with(mut self, elements: impl IntoIterator<Item = Element>) -> Self {
        self.elements.extend(elements);
        self
    }

    /// Whether its keys have several parts.
    pub fn is_concatenation(&self) -> bool {
        self.key.len() > 1
    }

    /// Whether elements are found by their whole keys alone, and come and go by themselves: no ranges, and no list
    /// that belongs to a rule.
    pub fn is_exact(&self) -> bool {
        !self.flags.interval && !self.flags.anonymous
    }

    /// How many bytes a key has.
    pub fn key_length(&self) -> usize {
        Datatype::length_of(&self.key)
    }
}
