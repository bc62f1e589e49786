//! The keys by which a client leaves the terminal of a container without ending it: Docker's `--detach-keys`.

use crate::engine_api::Failure;

/// Docker's default: ctrl-p, ctrl-q.
const DEFAULT: [u8; 2] = [0x10, 0x11];

/// Looks for the keys in what a client types.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DetachKeys {
    keys: Vec<u8>,
    /// How many of them were typed last.
    typed: usize,
}

impl DetachKeys {
    /// Parses keys such as `ctrl-p,ctrl-q` or `a,b`; empty means the default.
    ///
    /// # Errors
    /// A part is no key.
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        if text.is_empty() {
            return Ok(Self { keys: DEFAULT.to_vec(), typed: 0 });
        }
        let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
        let invalid = || {
            Failure::invalid(format!("invalid detach keys ({text}): keys such as ctrl-p,ctrl-q are expected"))
        };
        Ok(Self { keys: keys.ok_or_else(invalid)?, typed: 0 })
    }

    /// What of a piece of input is for the container, and whether the client leaves.
    pub(super) fn pass(&mut self, piece: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(piece.len());
        for byte in piece {
            if self.keys.get(self.typed) != Some(byte) {
                // Other keys follow: those that were kept back were meant for the container.
                passed.extend_from_slice(self.keys.get(..self.typed).unwrap_or_default());
                self.typed = 0;
            }
            if self.keys.get(self.typed) == Some(byte) {
                self.typed += 1;
            } else {
                passed.push(*byte);
            }
            if self.typed == self.keys.len() {
                return (passed, true);
            }
        }
        (passed, false)
    }
}

/// The byte of a key: a character, or `ctrl-` and one of `a` to `z`, `@`, `[`, `\`, `]`, `^` and `_`.
fn key(text: &str) -> Option<u8> {
    match (text.as_bytes(), text.strip_prefix("ctrl-").map(str::as_bytes)) {
        ([byte], _) => Some(*byte),
        (_, Some([byte])) if byte.is_ascii_alphabetic() || b"@[\\]^_".contains(byte) => {
            Some(byte.to_ascii_uppercase() - b'@')
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_dockers() {
        let keys = |text| DetachKeys::parse(text).map(|it| it.keys);
        assert_eq!(keys("").unwrap(), [16, 17]);
        assert_eq!(keys("ctrl-p,ctrl-q").unwrap(), [16, 17]);
        assert_eq!(keys("a,ctrl-],b").unwrap(), [b'a', 29, b'b']);
        for text in ["ctrl-", "ab", "ctrl-1", "a,,b"] {
            assert!(keys(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_the_keys_reaches_the_container() {
        let mut keys = DetachKeys::parse("").unwrap();
        assert_eq!(keys.pass(b"ls\n"), (b"ls\n".to_vec(), false));
        assert_eq!(keys.pass(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(keys.pass(b"b"), (b"\x10b".to_vec(), false));
        assert_eq!(keys.pass(b"\x10\x10"), (b"\x10".to_vec(), false));
        assert_eq!(keys.pass(b"\x11more"), (Vec::new(), true));
    }
}
