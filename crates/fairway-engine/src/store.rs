//! The store of a data root without the engine: verifies it, prints it, removes orphaned records.

use std::path::Path;

use fairway_store::{Change, Store};
use serde_json::{Map, Value};

use crate::EngineError;
use crate::commit::records::{Orphan, STORE, STORE_PATIENCE, decode};

/// What is in a store, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreCheck {
    /// How many records it has.
    pub records: usize,
    /// The records that cannot be used.
    pub orphans: Vec<Orphan>,
}

/// Verifies the store below a data root: its files and their checksums, each record, and what records refer to. Changes
/// nothing. A daemon may have the store open.
///
/// # Errors
/// The files cannot be read or are damaged.
pub fn check_store(data_root: &Path) -> Result<StoreCheck, EngineError> {
    let stored = Store::read(&data_root.join(STORE))?;
    let (_, orphans) = decode(&stored);
    Ok(StoreCheck { records: stored.len(), orphans })
}

/// All records of the store below a data root, by their keys. A record that is no JSON is a text. Changes nothing. A
/// daemon may have the store open.
///
/// # Errors
/// The files cannot be read or are damaged.
pub fn dump_store(data_root: &Path) -> Result<Map<String, Value>, EngineError> {
    let stored = Store::read(&data_root.join(STORE))?;
    let value = |bytes: Vec<u8>| {
        serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()))
    };
    Ok(stored.into_iter().map(|(key, bytes)| (key, value(bytes))).collect())
}

/// Removes a record that cannot be used from the store below a data root. No daemon may have the store open.
///
/// # Errors
/// [`EngineError::NoOrphan`] if there is no such record, or it can be used. The files cannot be read or written.
pub fn remove_record(data_root: &Path, key: &str) -> Result<(), EngineError> {
    let path = data_root.join(STORE);
    // Without a store, none is created.
    Store::read(&path)?;
    let store = Store::open(&path, STORE_PATIENCE)?;
    let (_, orphans) = decode(&store.load());
    if !orphans.iter().any(|orphan| orphan.key == key) {
        return Err(EngineError::NoOrphan(key.to_owned()));
    }
    Ok(store.commit(Change { put: Vec::new(), delete: vec![key.to_owned()] })?)
}
