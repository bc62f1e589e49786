//! The query parameter `filters` of lists, in Docker's format.

use std::collections::{BTreeMap, BTreeSet};

use fairway_model::{Protocol, parse};
use regex::Regex;
use serde::Deserialize;
use thiserror::Error;

/// A filter that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the message of each says what its fields are")]
pub enum InvalidFilter {
    #[error("invalid filter: {0}: JSON such as {{\"name\":[\"web\"]}} is expected")]
    Json(String),
    #[error("invalid filter '{0}'")]
    Name(String),
    #[error("invalid filter '{name}={value}'")]
    Value { name: String, value: String },
}

/// Filters by name, each with values of which one has to match; of labels, all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

/// Docker's two ways to write the values: a list, and a set as an object of truths. One that is false counts too: else a
/// filter of what is to be removed would be lost.
#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    List(Vec<String>),
    Set(BTreeMap<String, bool>),
}

impl Filters {
    /// Reads the JSON text; an empty one filters nothing.
    ///
    /// # Errors
    /// [`InvalidFilter::Json`].
    pub fn parse(text: &str) -> Result<Self, InvalidFilter> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let parsed: Option<BTreeMap<String, Option<Values>>> =
            serde_json::from_str(text).map_err(|error| InvalidFilter::Json(error.to_string()))?;
        let values = |values| match values {
            None => BTreeSet::new(),
            Some(Values::List(list)) => list.into_iter().collect(),
            Some(Values::Set(set)) => set.into_keys().collect(),
        };
        Ok(Self(parsed.unwrap_or_default().into_iter().map(|(name, it)| (name, values(it))).collect()))
    }

    /// Adds a value to a filter.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.entry(name.to_owned()).or_default().insert(value.to_owned());
        self
    }

    /// The JSON text, for a request; empty when nothing is filtered.
    pub fn text(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        serde_json::json!(self.0).to_string()
    }

    /// Refuses filters of other names than these.
    pub(crate) fn check(&self, known: &[&str]) -> Result<(), InvalidFilter> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(InvalidFilter::Name(name.clone())),
            None => Ok(()),
        }
    }

    /// Whether there are values of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        !self.values(name).is_empty()
    }

    /// The values of this name.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.0.get(name).into_iter().flatten().map(String::as_str).collect()
    }

    fn passes(&self, name: &str, matches: impl Fn(&str) -> bool) -> bool {
        let values = self.values(name);
        values.is_empty() || values.into_iter().any(matches)
    }

    /// Whether the text is one of the values.
    pub(crate) fn equals(&self, name: &str, text: &str) -> bool {
        self.passes(name, |value| value == text)
    }

    /// Whether the text starts with one of the values.
    pub(crate) fn starts(&self, name: &str, text: &str) -> bool {
        self.passes(name, |value| text.starts_with(value))
    }

    /// Whether one of the values names the image, with or without the tag `latest`.
    pub(crate) fn image(&self, name: &str, image: &str) -> bool {
        let short = |image: &str| image.strip_suffix(":latest").unwrap_or(image).to_owned();
        self.passes(name, |value| !image.is_empty() && short(value) == short(image))
    }

    /// The values of this name as regular expressions, which match anywhere in a text. As in Docker, a value that is no
    /// expression matches nothing but itself.
    pub(crate) fn patterns(&self, name: &str) -> Patterns {
        let values = self.values(name).into_iter();
        Patterns(values.map(|value| (value.to_owned(), Regex::new(value).ok())).collect())
    }

    /// The ports of a filter such as `80`, `53/udp` or `8000-8010/tcp`.
    pub(crate) fn ports(&self, name: &str) -> Result<BTreeSet<(u16, Protocol)>, InvalidFilter> {
        let mut ports = BTreeSet::new();
        for value in self.values(name) {
            let invalid = |_| InvalidFilter::Value { name: name.to_owned(), value: value.to_owned() };
            ports.extend(parse::expose(value).map_err(invalid)?);
        }
        Ok(ports)
    }

    /// Whether all labels that are asked for (`key` or `key=value`) are there.
    pub(crate) fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.values("label").into_iter().all(|wanted| has_label(labels, wanted))
    }

    /// Whether none of the labels of `label!` is there.
    pub(crate) fn without_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        !self.values("label!").into_iter().any(|unwanted| has_label(labels, unwanted))
    }

    /// A filter that is true or false.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, InvalidFilter> {
        match self.values(name).as_slice() {
            [] => Ok(None),
            ["true" | "1"] => Ok(Some(true)),
            ["false" | "0"] => Ok(Some(false)),
            values => Err(InvalidFilter::Value { name: name.to_owned(), value: values.join(",") }),
        }
    }

    /// Refuses values other than these.
    pub(crate) fn one_of(&self, name: &str, known: &[&str]) -> Result<(), InvalidFilter> {
        self.each(name, |value| known.contains(&value))
    }

    /// Refuses values that are no numbers.
    pub(crate) fn numbers(&self, name: &str) -> Result<(), InvalidFilter> {
        self.each(name, |value| value.parse::<i32>().is_ok())
    }

    fn each(&self, name: &str, valid: impl Fn(&str) -> bool) -> Result<(), InvalidFilter> {
        match self.values(name).into_iter().find(|value| !valid(value)) {
            Some(value) => Err(InvalidFilter::Value { name: name.to_owned(), value: value.to_owned() }),
            None => Ok(()),
        }
    }
}

/// Regular expressions of which one has to match; without any, all texts do.
pub(crate) struct Patterns(Vec<(String, Option<Regex>)>);

impl Patterns {
    pub(crate) fn pass(&self, text: &str) -> bool {
        let matches = |(value, pattern): &(String, Option<Regex>)| {
            value == text || pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
        };
        self.0.is_empty() || self.0.iter().any(matches)
    }
}

fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|held| held == value),
        None => labels.contains_key(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_are_read_alike() {
        let list = Filters::parse(r#"{"driver":["bridge"],"label":["a","b=c"]}"#).unwrap();
        let set = Filters::parse(r#"{"driver":{"bridge":true},"label":{"a":true,"b=c":false}}"#);
        assert_eq!(Ok(list.clone()), set);
        assert_eq!(Filters::parse(&list.text()), Ok(list));
        assert_eq!(Filters::parse(""), Ok(Filters::default()));
        assert_eq!(Filters::parse("null"), Ok(Filters::default()));
        assert!(matches!(Filters::parse("{"), Err(InvalidFilter::Json(_))));
    }

    #[test]
    fn unknown_names_and_values_are_refused() {
        let filters = Filters::default().with("color", "red");
        assert_eq!(filters.check(&["name"]).unwrap_err().to_string(), "invalid filter 'color'");
        let filters = Filters::default().with("dangling", "perhaps");
        assert_eq!(filters.flag("dangling").unwrap_err().to_string(), "invalid filter 'dangling=perhaps'");
    }

    #[test]
    fn names_are_matched_by_regular_expressions() {
        let passes = |value: &str| Filters::default().with("name", value).patterns("name").pass("web-1");
        for value in ["eb", "^web", "1$", "^web-1$", "w.b", "^(app|web)-[0-9]+$", r"\d", "(?i)WEB"] {
            assert!(passes(value), "{value}");
        }
        for value in ["^eb", "web$", "^web$", "WEB", "["] {
            assert!(!passes(value), "{value}");
        }
        assert!(Filters::default().patterns("name").pass("web-1"));
    }

    #[test]
    fn ports_have_a_protocol_and_may_be_ranges() {
        let ports = |value: &str| Filters::default().with("publish", value).ports("publish");
        assert_eq!(ports("80"), Ok(BTreeSet::from([(80, Protocol::Tcp)])));
        assert_eq!(ports("53-54/udp"), Ok(BTreeSet::from([(53, Protocol::Udp), (54, Protocol::Udp)])));
        for value in ["", "x", "0", "9-8", "80/xyz", "70000"] {
            assert!(ports(value).is_err(), "{value}");
        }
    }

    #[test]
    fn all_labels_are_needed_but_one_value_of_other_filters() {
        let labels = BTreeMap::from([("a".to_owned(), String::new()), ("b".to_owned(), "c".to_owned())]);
        let asked = |label: &str| Filters::default().with("label", "a").with("label", label).labels(&labels);
        assert!(asked("b=c") && asked("b"));
        assert!(!asked("b=d") && !asked("e"));
        let filters = Filters::default().with("driver", "host").with("driver", "null");
        assert!(filters.equals("driver", "null") && !filters.equals("driver", "bridge"));
    }
}
