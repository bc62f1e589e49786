//! The traffic of a network.

use fairway_core::traffic::bytes_with_unit;
use serde::{Deserialize, Serialize};

/// The bytes that the sandboxes of a network exchanged with other hosts, the own host included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Traffic {
    /// Received by the sandboxes.
    pub bytes_in: u64,
    /// Sent by them.
    pub bytes_out: u64,
}

impl Traffic {
    /// The traffic in words; none where there was none.
    pub fn text(&self) -> Option<String> {
        let Self { bytes_in, bytes_out } = *self;
        let size = |bytes: u64| bytes_with_unit(bytes as f64);
        (bytes_in > 0 || bytes_out > 0).then(|| format!("in {} · out {}", size(bytes_in), size(bytes_out)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_has_a_unit_for_each_direction() {
        let text = |bytes_in, bytes_out| Traffic { bytes_in, bytes_out }.text();
        assert_eq!(text(0, 0), None);
        assert_eq!(text(0, 999).as_deref(), Some("in 0 B · out 999 B"));
        assert_eq!(text(1000, 12_345_678).as_deref(), Some("in 1.0 kB · out 12.3 MB"));
        assert_eq!(text(u64::MAX / 2, 0).as_deref(), Some("in 9.2 EB · out 0 B"));
    }
}
