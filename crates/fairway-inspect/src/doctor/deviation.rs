//! One property that is other than it was made.

use std::fmt::Display;

/// A property of an object with its actual and its expected value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deviation {
    /// The property, such as `mtu`; empty for the whole object.
    pub what: String,
    /// What it is.
    pub actual: String,
    /// What it is expected to be; none where the actual value says it, as in `missing`.
    pub expected: Option<String>,
    /// The command that sets it right, for a shell where the object is; none where only Fairway can.
    pub fix: Option<String>,
}

impl Deviation {
    /// A property with a value other than expected.
    pub fn new(what: impl Into<String>, actual: impl Display, expected: impl Display) -> Self {
        Self {
            what: what.into(),
            actual: actual.to_string(),
            expected: Some(expected.to_string()),
            fix: None,
        }
    }

    /// Something that is not there.
    pub fn missing(what: impl Into<String>) -> Self {
        Self { what: what.into(), actual: "missing".to_owned(), expected: None, fix: None }
    }

    /// The same, with the command that sets it right.
    pub fn with_fix(self, command: impl Into<String>) -> Self {
        Self { fix: Some(command.into()), ..self }
    }

    /// A deviation if two values differ.
    pub fn unless_equal<T: Display + PartialEq>(what: &str, actual: T, expected: T) -> Option<Self> {
        (actual != expected).then(|| Self::new(what, actual, expected))
    }

    /// As it was: `mtu was 1300, expected 1500`.
    pub fn was(&self) -> String {
        self.text("was")
    }

    /// As it is: `mtu is 1300, expected 1500`.
    pub fn is(&self) -> String {
        self.text("is")
    }

    fn text(&self, verb: &str) -> String {
        let space = if self.what.is_empty() { "" } else { " " };
        let expected = self.expected.as_ref().map(|it| format!(", expected {it}")).unwrap_or_default();
        format!("{}{space}{verb} {}{expected}", self.what, self.actual)
    }
}

#[cfg(test)]
mod tests {
    use super::Deviation;

    #[test]
    fn property_actual_and_expected_value_are_named() {
        assert_eq!(Deviation::new("mtu", 1300, 1500).was(), "mtu was 1300, expected 1500");
        assert_eq!(Deviation::new("", 0, 1).is(), "is 0, expected 1");
        assert_eq!(Deviation::missing("address 10.0.0.1/24").is(), "address 10.0.0.1/24 is missing");
        assert_eq!(Deviation::unless_equal("mtu", 1500, 1500), None);
    }
}
