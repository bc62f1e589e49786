//! `?filters=`: which of many are meant.

use std::collections::{BTreeMap, BTreeSet};

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

/// Docker's two ways to write the values: a list, and a set as an object of truths.
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
        let parsed: Option<BTreeMap<String, Values>> =
            serde_json::from_str(text).map_err(|error| InvalidFilter::Json(error.to_string()))?;
        let values = |values| match values {
            Values::List(list) => list.into_iter().collect(),
            Values::Set(set) => {
                set.into_iter().filter(|(_, wanted)| *wanted).map(|(value, _)| value).collect()
            }
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

    /// Whether one of the values is part of the text; `^` and `$` hold it to the start and the end.
    /// Docker takes a regular expression here; these are what people write.
    pub(crate) fn contains(&self, name: &str, text: &str) -> bool {
        self.passes(name, |value| {
            let (start, rest) = value.strip_prefix('^').map_or((false, value), |rest| (true, rest));
            let (end, part) = rest.strip_suffix('$').map_or((false, rest), |part| (true, part));
            match (start, end) {
                (true, true) => text == part,
                (true, false) => text.starts_with(part),
                (false, true) => text.ends_with(part),
                (false, false) => text.contains(part),
            }
        })
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
        let set = Filters::parse(r#"{"driver":{"bridge":true},"label":{"a":true,"b=c":true,"d":false}}"#);
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
    fn names_match_in_part_unless_they_are_held() {
        let passes = |value: &str| Filters::default().with("name", value).contains("name", "web-1");
        assert!(passes("eb") && passes("^web") && passes("1$") && passes("^web-1$"));
        assert!(!passes("^eb") && !passes("web$") && !passes("^web$"));
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
