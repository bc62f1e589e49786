//! Elements of sets and maps.

use super::{Count, LimitRate, Verdict};

/// What an element of a map leads to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum ElementData {
    /// Nothing: an element of a set.
    #[default]
    None,
    /// A verdict.
    Verdict(Verdict),
    /// A value, its parts padded like those of a key.
    Value(Vec<u8>),
}

/// An element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Element {
    /// The key's bytes; each part of a concatenation is padded to four bytes. Empty for the
    /// element that matches what no other does (`*`).
    pub key: Vec<u8>,
    /// The last key of a range, included in it; in a concatenation each part is a range of its own.
    pub last: Option<Vec<u8>>,
    /// What it leads to.
    pub data: ElementData,
    /// The comment that `nft list` shows.
    pub comment: Option<String>,
    /// What met it, if the set counts.
    pub count: Option<Count>,
    /// How much may meet it: a look-up finds it only as far as that says.
    pub limit: Option<LimitRate>,
    /// When it was asked to vanish, in milliseconds after it was put in.
    pub timeout: Option<u64>,
    /// When it will vanish, in milliseconds from the reading of it.
    pub expires: Option<u64>,
}

impl Element {
    /// An element of a set.
    pub fn new(key: impl Into<Vec<u8>>) -> Self {
        Self { key: key.into(), ..Self::default() }
    }

    /// An element of a map that leads to a value.
    pub fn to_value(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self { key: key.into(), data: ElementData::Value(value.into()), ..Self::default() }
    }

    /// An element of a verdict map.
    pub fn to_verdict(key: impl Into<Vec<u8>>, verdict: Verdict) -> Self {
        Self { key: key.into(), data: ElementData::Verdict(verdict), ..Self::default() }
    }

    /// The same element with a comment; an empty one is none.
    pub fn with_comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into()).filter(|comment| !comment.is_empty());
        self
    }

    /// The same element, found only as far as a limit says.
    pub fn with_limit(mut self, limit: LimitRate) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The same element, up to and including another key.
    pub fn up_to(mut self, last: impl Into<Vec<u8>>) -> Self {
        self.last = Some(last.into());
        self
    }
}
