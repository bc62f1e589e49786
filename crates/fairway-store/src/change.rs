//! Records, and the unit of durability.

use std::collections::BTreeMap;

/// Records by their keys.
pub type Records = BTreeMap<String, Vec<u8>>;

/// Writes and deletions of records that become durable together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Records to write, by key; an existing record is replaced.
    pub put: Vec<(String, Vec<u8>)>,
    /// Keys of records to delete, before the records above are written. A missing record is no error.
    pub delete: Vec<String>,
}

impl Change {
    /// Whether the change writes and deletes nothing.
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.delete.is_empty()
    }

    /// Makes the change to records in memory.
    pub(crate) fn apply(self, records: &mut Records) {
        for key in &self.delete {
            records.remove(key);
        }
        records.extend(self.put);
    }
}
