//! The secret that the page proves its requests with.

use std::fmt;
use std::fmt::Write;

/// The length of a token in bytes: too long to be guessed.
const LENGTH: usize = 24;

/// A random secret. A client that knows it sees what the page shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(...)")
    }
}

impl Token {
    /// A token from the kernel's random numbers.
    ///
    /// # Errors
    /// The kernel has no random numbers, as early at boot.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; LENGTH];
        getrandom::fill(&mut bytes)?;
        let mut text = String::new();
        for byte in bytes {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        Ok(Self(text))
    }

    /// The token as it is in the page's address.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether a text is the token. The time that this takes depends on nothing but the text's length.
    pub(crate) fn is(&self, text: &str) -> bool {
        let (own, other) = (self.0.as_bytes(), text.as_bytes());
        let differences = own.iter().zip(other).fold(0, |found, (one, other)| found | (one ^ other));
        std::hint::black_box(differences) == 0 && own.len() == other.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_are_long() {
        let (one, other) = (Token::random().unwrap(), Token::random().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.text().len(), 2 * LENGTH);
        assert!(one.text().bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(format!("{one:?}"), "Token(...)");
    }

    #[test]
    fn only_the_whole_token_is_the_token() {
        let token = Token("abcdef".to_owned());
        assert!(token.is("abcdef"));
        for other in ["", "abcde", "abcdefg", "abcdeF", "bbcdef"] {
            assert!(!token.is(other), "{other}");
        }
    }
}
