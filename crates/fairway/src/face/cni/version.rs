//! The versions of the CNI specification.

use std::fmt;

use super::error::Error;

/// A version of the specification that the plugin speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 0.3.1: results with interfaces, and chains.
    V0_3_1,
    /// 0.4.0: CHECK.
    V0_4_0,
    /// 1.0.0: addresses without their version.
    V1_0_0,
    /// 1.1.0: GC and STATUS.
    V1_1_0,
}

/// What a configuration without a version has, by the specification.
const ABSENT: &str = "0.1.0";

impl Version {
    /// All versions, the oldest first.
    pub const ALL: [Self; 4] = [Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];
    /// The newest version.
    pub const NEWEST: Self = Self::V1_1_0;

    /// Reads the `cniVersion` of a configuration.
    ///
    /// # Errors
    /// The plugin does not speak it.
    pub fn read(text: &str) -> Result<Self, Error> {
        let asked = if text.is_empty() { ABSENT } else { text };
        let found = Self::ALL.into_iter().find(|version| version.text() == asked);
        found.ok_or_else(|| Error::IncompatibleVersion(asked.to_owned()))
    }

    /// The version as text.
    pub const fn text(self) -> &'static str {
        match self {
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text())
    }
}
