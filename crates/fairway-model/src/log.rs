//! Limits of the log of a command's output.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::parse::{ParseError, size};

/// The only log driver, by Docker's name.
pub const LOG_DRIVER: &str = "json-file";
/// The highest value of `max-file`.
const MOST_FILES: u32 = 1000;
/// Docker's log options that Fairway accepts and ignores.
const WITHOUT_EFFECT: [&str; 8] =
    ["compress", "env", "env-regex", "labels", "labels-regex", "max-buffer-size", "mode", "tag"];

/// The size limits of a log. A file that would exceed `max_size` is rotated; the oldest of more than `max_files`
/// files is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimits {
    /// The size of one file in bytes; none for no limit.
    pub max_size: Option<u64>,
    /// The highest number of files; at least 1.
    pub max_files: u32,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { max_size: Some(10 << 20), max_files: 3 }
    }
}

impl LogLimits {
    /// Parses the options of a log: `max-size` (`10m`; `-1` is no limit) and `max-file` (`3`).
    ///
    /// # Errors
    /// [`ParseError::LogOption`] names the unknown option or the invalid value.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, ParseError> {
        let mut limits = Self::default();
        for (name, value) in options {
            let refused = |reason: &str| ParseError::LogOption {
                name: name.clone(),
                value: value.clone(),
                reason: reason.to_owned(),
            };
            match name.as_str() {
                "max-size" if value == "-1" => limits.max_size = None,
                "max-size" => {
                    let size = size(value).filter(|size| *size > 0);
                    limits.max_size = Some(
                        size.ok_or_else(|| refused("a size such as 10m, or -1 for no limit, is expected"))?,
                    );
                }
                "max-file" => {
                    let number = value.parse().ok().filter(|number| (1..=MOST_FILES).contains(number));
                    limits.max_files =
                        number.ok_or_else(|| refused("a number from 1 to 1000 is expected"))?;
                }
                other if WITHOUT_EFFECT.contains(&other) => {}
                _ => return Err(refused("unknown option: max-size or max-file is expected")),
            }
        }
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(pairs: &[(&str, &str)]) -> Result<LogLimits, String> {
        let options = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        LogLimits::parse(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn a_log_is_limited_by_default() {
        assert_eq!(limits(&[]), Ok(LogLimits { max_size: Some(10_485_760), max_files: 3 }));
        assert_eq!(limits(&[("max-size", "-1")]).unwrap().max_size, None);
        for (text, bytes) in [("1", 1), ("2k", 2048), ("3M", 3 << 20), ("1.5 GB", 3 << 29)] {
            assert_eq!(limits(&[("max-size", text)]).unwrap().max_size, Some(bytes), "{text}");
        }
        assert_eq!(limits(&[("max-file", "7"), ("compress", "true")]).unwrap().max_files, 7);
    }

    #[test]
    fn an_invalid_log_option_is_rejected_by_name() {
        for (name, value) in [
            ("max-size", "much"),
            ("max-size", "0"),
            ("max-size", ""),
            ("max-size", "99999999999t"),
            ("max-file", "0"),
            ("max-file", "1001"),
            ("max-files", "3"),
        ] {
            let error = limits(&[(name, value)]).unwrap_err();
            assert!(error.starts_with(&format!("invalid log option {name}={value}: ")), "{error}");
        }
    }
}
