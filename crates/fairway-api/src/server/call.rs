//! The query and the body of a request.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::de::DeserializeOwned;

use super::body::Held;
use crate::encode::ListError;
use crate::engine_api::Failure;
use crate::filter::{Filters, InvalidFilter};
use crate::json;

/// A request's query and body.
#[derive(Debug)]
pub(super) struct Call {
    query: BTreeMap<String, String>,
    body: Held,
}

impl From<InvalidFilter> for Failure {
    fn from(error: InvalidFilter) -> Self {
        Failure::invalid(error.to_string())
    }
}

impl From<ListError> for Failure {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Filter(error) => error.into(),
            ListError::Refusal(refusal) => refusal.into(),
        }
    }
}

impl Call {
    pub(super) fn new(query: &str, body: Held) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name, true), decode(value, true))
        });
        Self { query: pairs.collect(), body }
    }

    /// A parameter of the query; empty if missing.
    pub(super) fn parameter(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// A boolean parameter: true unless missing or one of Docker's words for false.
    pub(super) fn flag(&self, name: &str) -> bool {
        !matches!(
            self.parameter(name).trim().to_ascii_lowercase().as_str(),
            "" | "0" | "no" | "false" | "none"
        )
    }

    /// A numeric parameter; none if missing.
    pub(super) fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Failure> {
        match self.parameter(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Failure::invalid(format!("invalid {name} {text:?}: a whole number is expected"))
            }),
        }
    }

    pub(super) fn filters(&self) -> Result<Filters, Failure> {
        Ok(Filters::parse(self.parameter("filters"))?)
    }

    /// Whether there is a body.
    pub(super) fn has_body(&self) -> bool {
        !self.body.bytes().is_empty()
    }

    /// Parses the body as JSON, as Docker's daemon does.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        if self.body.bytes().is_empty() {
            return Err(Failure::invalid("invalid JSON: got EOF while reading request body"));
        }
        json::from_slice(self.body.bytes())
            .map_err(|error| Failure::invalid(format!("invalid JSON: {error}")))
    }
}

/// Decodes percent-encoding (RFC 3986, section 2.1), and `+` for a space in queries.
pub(super) fn decode(text: &str, query: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = match (first, tail) {
            (b'%', [high, low, after @ ..]) => hex(*high).zip(hex(*low)).map(|digits| (digits, after)),
            _ => None,
        };
        rest = match code {
            Some(((high, low), after)) => {
                bytes.push(high << 4 | low);
                after
            }
            None => {
                bytes.push(if query && *first == b'+' { b' ' } else { *first });
                tail
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_decoded() {
        assert_eq!(decode("a%2Fb%20c+d", true), "a/b c d");
        assert_eq!(decode("a+b", false), "a+b");
        assert_eq!(decode("%c3%a9%", true), "é%");
        assert_eq!(decode("%zz%2", true), "%zz%2");
    }

    #[test]
    fn flags_are_decoded_as_by_docker() {
        let call = Call::new("a=1&b=0&c=false&d=True&e&f=no", Held::default());
        let on: Vec<_> = ["a", "b", "c", "d", "e", "f", "g"].into_iter().filter(|it| call.flag(it)).collect();
        assert_eq!(on, ["a", "d"]);
    }
}
