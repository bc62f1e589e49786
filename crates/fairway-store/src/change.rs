//! The unit of durability.

/// Writes and deletions of records that become durable together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Records to write, by key; an existing record is replaced.
    pub put: Vec<(String, Vec<u8>)>,
    /// Keys of records to delete, before the records above are written. A missing record is no error.
    pub delete: Vec<String>,
}
