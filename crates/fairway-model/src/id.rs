//! Identifiers: 256 random bits in 64 hexadecimal digits, as in Docker.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The error of a text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid identifier {0:?}: 64 hexadecimal digits are expected")]
pub struct ParseIdError(pub String);

fn parse_hex(text: &str) -> Result<[u8; 32], ParseIdError> {
    let error = || ParseIdError(text.to_owned());
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(error());
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| error())?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| error())?;
    }
    Ok(bytes)
}

/// Writes the hexadecimal digits in one call: identifiers are in each message between the processes, and one call
/// of the formatter per byte costs microseconds.
fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = String::with_capacity(64);
    for byte in bytes {
        digits.push(char::from(DIGITS[usize::from(byte >> 4)]));
        digits.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    f.write_str(&digits)
}

macro_rules! identifier {
    ($name:ident, $what:literal) => {
        #[doc = concat!("The identifier of ", $what, ".")]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 32]);

        impl $name {
            /// An identifier of 32 bytes, which should be random.
            pub const fn new(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The bytes of the identifier.
            pub const fn bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first twelve digits, as Docker displays identifiers.
            pub fn short(&self) -> String {
                self.to_string()[..12].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0[..6], f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse_hex(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;

            fn try_from(text: String) -> Result<Self, ParseIdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}

identifier!(NetworkId, "a network");
identifier!(SandboxId, "a sandbox");
identifier!(EndpointId, "an endpoint");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_parsed_from_its_own_text() {
        let id = NetworkId::new([0xab; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.short(), "abababababab");
    }

    #[test]
    fn other_texts_are_rejected() {
        for text in ["", "ab", &"g".repeat(64), &"+f".repeat(32), &"é".repeat(32)] {
            assert!(text.parse::<SandboxId>().is_err(), "{text:?}");
        }
    }
}
