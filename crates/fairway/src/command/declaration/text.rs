//! The text of a declaration: YAML, which JSON is a part of.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_saphyr::{Error as YamlError, MessageFormatter, PropertySyntax, UserMessageFormatter};

use super::error::TextError;
use super::file::File;
use crate::command::near;

/// Reads a text. Its values may refer to variables as in Compose: `${PORT:-8080}`.
pub(in crate::command) fn read(text: &str, variables: HashMap<String, String>) -> Result<File, TextError> {
    let syntax = PropertySyntax::DockerCompose;
    let options = serde_saphyr::options! { with_snippet: false, property_syntax: syntax };
    let options = options.with_properties(variables);
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
        other => TextError::Yaml(other.render_with_formatter(&Messages)),
    })
}

/// Messages that call variables so.
struct Messages;

impl MessageFormatter for Messages {
    fn format_message<'a>(&self, error: &'a YamlError) -> Cow<'a, str> {
        let message = UserMessageFormatter.format_message(error);
        match error {
            YamlError::PropertyRequiredButUnset { .. } | YamlError::PropertyRequiredButEmpty { .. } => {
                Cow::Owned(message.replacen("property", "variable", 1))
            }
            _ => message,
        }
    }
}
