//! What `--format` takes: the part of Go's text/template that people use with docker.
//!
//! Fields (`.NetworkSettings.Networks.web.IPAddress`), variables, `if`, `else if`, `with`, `range`
//! with one variable or two, pipelines, parentheses, and the functions of [`function`].

mod evaluate;
mod function;
mod parse;
mod value;

use thiserror::Error;

pub(super) use value::{Unshowable, Value};

/// A template that cannot be read, or asks for what is not there.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the message of each says what its fields are")]
pub(super) enum TemplateError {
    #[error("template parsing error: unclosed action: {{{{ without }}}} in {0:?}")]
    Unclosed(String),
    #[error("template parsing error: unexpected {found} in {{{{{action}}}}}")]
    Unexpected { found: String, action: String },
    #[error("template parsing error: function {0:?} not defined: there are {KNOWN}", KNOWN = function::names())]
    UnknownFunction(String),
    #[error("template parsing error: {{{{{0}}}}} without {{{{end}}}}")]
    NoEnd(&'static str),
    #[error("template parsing error: undefined variable {0:?}")]
    UndefinedVariable(String),
    #[error("template: at <.{0}>: map has no entry for key {0:?}: there are {1}")]
    NoField(String, String),
    #[error("template: at <.{field}>: {kind} has no fields")]
    NotAnObject { field: String, kind: &'static str },
    #[error("template: error calling {function}: {reason}")]
    Call { function: &'static str, reason: String },
}

/// A template, read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Template(Vec<parse::Node>);

impl Template {
    /// Reads a template. `\t` and `\n` may be written out, as shells pass them on.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn parse(text: &str) -> Result<Self, TemplateError> {
        parse::template(&text.replace("\\t", "\t").replace("\\n", "\n")).map(Self)
    }

    /// The text for a value.
    ///
    /// # Errors
    /// It asks for what the value does not have.
    pub(super) fn render(&self, value: &Value) -> Result<String, TemplateError> {
        evaluate::render(&self.0, value)
    }
}

#[cfg(test)]
mod tests;
