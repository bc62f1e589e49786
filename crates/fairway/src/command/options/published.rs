//! One `--publish`, one `--expose`: each can be several ports.

use std::str::FromStr;

use fairway_model::parse::{self, ParseError};
use fairway_model::{Protocol, PublishRequest};

/// What one `--publish` asks for.
#[derive(Debug, Clone)]
pub(in crate::command) struct Published(pub(in crate::command) Vec<PublishRequest>);

impl FromStr for Published {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse::publish(text).map(Self)
    }
}

/// What one `--expose` asks for.
#[derive(Debug, Clone)]
pub(super) struct Exposed(pub(super) Vec<(u16, Protocol)>);

impl FromStr for Exposed {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse::expose(text).map(Self)
    }
}
