//! The text of a declaration: YAML, which JSON is a part of.

use serde_saphyr::Error as YamlError;

use super::error::TextError;
use super::file::File;
use crate::command::near;

/// Reads a text.
pub(in crate::command) fn read(text: &str) -> Result<File, TextError> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| match error.without_snippet() {
        YamlError::SerdeUnknownField { field, expected, location } => TextError::Key {
            place: match location.line() {
                0 => String::new(),
                line => format!("line {line}, column {}: ", location.column()),
            },
            key: field.clone(),
            near: near::question(field, expected),
            known: expected.join(", "),
        },
        other => TextError::Yaml(other.to_string()),
    })
}
