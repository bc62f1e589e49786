//! Addresses that other hosts on a LAN use.

use std::net::IpAddr;
use std::sync::Arc;

use crate::world::{Change, RecordKey, Refusal, World};
use fairway_model::{AddressInUse, MacAddress, Network};

/// The time for which an address in use is not allocated, in nanoseconds. A requested address is probed again.
const RETENTION: i64 = 3_600_000_000_000;

impl World {
    /// Records an address of a LAN that another host uses.
    pub(in crate::world) fn address_in_use(
        &mut self,
        network: &str,
        address: IpAddr,
        mac: MacAddress,
        now: i64,
    ) -> Result<Change, Refusal> {
        let mut network: Network = self.find_network(network)?.clone();
        let mut change = Change { network: Some(network.id), ..Change::default() };
        if network.uplink.is_none() {
            return Ok(change);
        }
        // What is dated later was recorded before the clock was set back.
        network.addresses_in_use.retain(|_, held| (0..RETENTION).contains(&now.saturating_sub(held.at)));
        network.addresses_in_use.insert(address, AddressInUse { mac, at: now });
        change.record(RecordKey::Network(network.id));
        self.networks.insert(network.id, Arc::new(network));
        Ok(change)
    }
}
