//! The World as records of the store.

use std::path::Path;
use std::time::Duration;

use fairway_core::world::{Record, RecordKey, World};
use fairway_store::Store;

use crate::EngineError;

/// How long to wait for another process that has the store open.
pub(crate) const STORE_PATIENCE: Duration = Duration::from_secs(5);

pub(crate) const STORE_FILE: &str = "world.redb";

/// Reads the World from the store.
pub(crate) fn load(store: &Store, path: &Path) -> Result<World, EngineError> {
    let mut records = Vec::new();
    for (key, bytes) in store.load()? {
        let record: Record = serde_json::from_slice(&bytes).map_err(|source| EngineError::Record {
            key,
            path: path.to_owned(),
            source,
        })?;
        records.push(record);
    }
    Ok(World::from_records(records))
}

/// Writes the whole World to the store, and deletes records that the World does not have.
pub(crate) fn save_all(store: &Store, world: &World) -> Result<(), EngineError> {
    let keys = std::iter::once(RecordKey::Host)
        .chain(world.networks().map(|network| RecordKey::Network(network.id)))
        .chain(world.sandboxes().map(|sandbox| RecordKey::Sandbox(sandbox.id)))
        .chain(world.endpoints().map(|endpoint| RecordKey::Endpoint(endpoint.id)));
    let mut change = fairway_store::Change::default();
    for key in keys {
        if let Some(record) = world.record(key) {
            change.put.push((key.text(), encode(key, &record)?));
        }
    }
    let kept: std::collections::BTreeSet<&str> = change.put.iter().map(|(key, _)| key.as_str()).collect();
    let stored = store.load()?;
    let gone = stored.iter().filter(|(key, _)| !kept.contains(key.as_str())).map(|(key, _)| key.clone());
    let gone: Vec<String> = gone.collect();
    let same: std::collections::BTreeSet<(String, Vec<u8>)> = stored.into_iter().collect();
    change.put.retain(|record| !same.contains(record));
    change.delete = gone;
    Ok(store.commit(change)?)
}

/// The bytes of a record in the store.
///
/// # Errors
/// JSON cannot express the record.
pub(crate) fn encode(key: RecordKey, record: &Record) -> Result<Vec<u8>, EngineError> {
    serde_json::to_vec(record).map_err(|source| EngineError::Encode { key: key.text(), source })
}
