//! The World as records of the store.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use fairway_core::world::{Record, RecordKey, World};
use fairway_model::{NetworkId, SandboxId};
use fairway_store::{Records, Store};
use ipnet::IpNet;
use serde::Serialize;

use crate::EngineError;

/// How long to wait for another process that has the store open.
pub(crate) const STORE_PATIENCE: Duration = Duration::from_secs(5);

/// The store below the data root: the name that its files begin with.
pub(crate) const STORE: &str = "world";

/// A record of the store that is no part of the World. It stays in the store until it is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The key of the record.
    pub key: String,
    /// Why it cannot be used.
    pub reason: String,
}

/// Reads the World from the store, and the records that are no part of it.
///
/// # Errors
/// The record of the host cannot be read: without it, the host's settings cannot be restored.
pub(crate) fn load(store: &Store, path: &Path) -> Result<(World, Vec<Orphan>), EngineError> {
    let (records, orphans) = decode(&store.load());
    let host = RecordKey::Host.text();
    if let Some(Orphan { key, reason }) = orphans.iter().find(|orphan| orphan.key == host).cloned() {
        return Err(EngineError::Record { key, path: path.to_owned(), reason });
    }
    Ok((World::from_records(records), orphans))
}

/// Decodes the records of a store, and finds those that cannot be part of a World: what is unreadable, or has another
/// key than its own, and endpoints without their network or sandbox.
pub(crate) fn decode(stored: &Records) -> (Vec<Record>, Vec<Orphan>) {
    let (mut records, mut orphans) = (Vec::new(), Vec::new());
    for (key, bytes) in stored {
        let reason = match serde_json::from_slice::<Record>(bytes) {
            Ok(record) if key_of(&record).text() == *key => {
                records.push(record);
                continue;
            }
            Ok(record) => format!("it holds {}", key_of(&record).text()),
            Err(error) => format!("it cannot be decoded: {error}"),
        };
        orphans.push(Orphan { key: key.clone(), reason });
    }
    let (mut networks, mut sandboxes, mut pools) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for record in &records {
        match record {
            Record::Network(network) => drop(networks.insert(network.id)),
            Record::Sandbox(sandbox) => drop(sandboxes.insert(sandbox.id)),
            Record::Pool(pool) => drop(pools.insert(pool.subnet)),
            Record::Host(_) | Record::Endpoint(_) | Record::PoolAddress(_) => {}
        }
    }
    records.retain(|record| match missing(record, &networks, &sandboxes, &pools) {
        None => true,
        Some(other) => {
            let reason = format!("{} is missing, which it belongs to", other.text());
            orphans.push(Orphan { key: key_of(record).text(), reason });
            false
        }
    });
    (records, orphans)
}

/// The record that an endpoint or an address belongs to and that is missing.
fn missing(
    record: &Record,
    networks: &BTreeSet<NetworkId>,
    sandboxes: &BTreeSet<SandboxId>,
    pools: &BTreeSet<IpNet>,
) -> Option<RecordKey> {
    match record {
        Record::Endpoint(endpoint) if !networks.contains(&endpoint.network) => {
            Some(RecordKey::Network(endpoint.network))
        }
        Record::Endpoint(endpoint) if !sandboxes.contains(&endpoint.sandbox) => {
            Some(RecordKey::Sandbox(endpoint.sandbox))
        }
        Record::PoolAddress(address) if !pools.contains(&address.pool) => Some(RecordKey::Pool(address.pool)),
        _ => None,
    }
}

fn key_of(record: &Record) -> RecordKey {
    match record {
        Record::Host(_) => RecordKey::Host,
        Record::Network(network) => RecordKey::Network(network.id),
        Record::Sandbox(sandbox) => RecordKey::Sandbox(sandbox.id),
        Record::Endpoint(endpoint) => RecordKey::Endpoint(endpoint.id),
        Record::Pool(pool) => RecordKey::Pool(pool.subnet),
        Record::PoolAddress(address) => RecordKey::PoolAddress(address.pool, address.address),
    }
}

/// Writes the whole World to the store, and deletes records that the World does not have. Orphans stay.
pub(crate) fn save_all(store: &Store, world: &World, orphans: &[Orphan]) -> Result<(), EngineError> {
    let keys = std::iter::once(RecordKey::Host)
        .chain(world.networks().map(|network| RecordKey::Network(network.id)))
        .chain(world.sandboxes().map(|sandbox| RecordKey::Sandbox(sandbox.id)))
        .chain(world.endpoints().map(|endpoint| RecordKey::Endpoint(endpoint.id)))
        .chain(world.pools().map(|pool| RecordKey::Pool(pool.subnet)))
        .chain(world.pool_addresses().map(|it| RecordKey::PoolAddress(it.pool, it.address)));
    let mut change = fairway_store::Change::default();
    for key in keys {
        if let Some(record) = world.record(key) {
            change.put.push((key.text(), encode(key, &record)?));
        }
    }
    let stored = store.load();
    let written = change.put.iter().map(|(key, _)| key);
    let kept: BTreeSet<&String> = written.chain(orphans.iter().map(|orphan| &orphan.key)).collect();
    change.delete = stored.keys().filter(|key| !kept.contains(key)).cloned().collect();
    change.put.retain(|(key, value)| stored.get(key) != Some(value));
    Ok(store.commit(change)?)
}

/// The bytes of a record in the store.
///
/// # Errors
/// JSON cannot express the record.
pub(crate) fn encode(key: RecordKey, record: &impl Serialize) -> Result<Vec<u8>, EngineError> {
    serde_json::to_vec(record).map_err(|source| EngineError::Encode { key: key.text(), source })
}

#[cfg(test)]
mod tests;
