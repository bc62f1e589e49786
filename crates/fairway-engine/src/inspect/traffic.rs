//! The traffic counters of networks and published ports.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use fairway_core::object::Object;
use fairway_core::traffic::{self, Counters, Traffic};
use fairway_model::{NetworkId, Protocol};
use fairway_ruleset::Count;

use super::Inspector;
use crate::EngineError;

impl Inspector {
    /// Reads all counters.
    ///
    /// # Errors
    /// The kernel refuses to list them.
    pub fn counters(&self) -> Result<Counters, EngineError> {
        let networks = self.network_traffic()?;
        let counts = self.applier.firewall.counts()?;
        let carried: BTreeMap<(Protocol, SocketAddr), (u64, u64)> = match self.applier.relay.carried() {
            Ok(ports) => {
                let bytes = |(protocol, at, it): (_, _, fairway_relay::table::ProxiedBytes)| {
                    ((protocol, at), (it.bytes_in, it.bytes_out))
                };
                ports.into_iter().map(bytes).collect()
            }
            Err(error) => {
                tracing::warn!(%error, "failed to read the relay's counters: {error}");
                BTreeMap::new()
            }
        };
        let ports = self.committer.read(|world| traffic::port_traffic(world, &counts, &carried));
        Ok(Counters { networks, ports })
    }

    /// Reads the counters of the networks that have a bridge.
    ///
    /// # Errors
    /// The kernel refuses to list them.
    pub(super) fn network_traffic(&self) -> Result<BTreeMap<NetworkId, Traffic>, EngineError> {
        let bridges: BTreeMap<String, NetworkId> = {
            let state = self.committer.snapshot();
            let bridges = state.plan.objects().filter_map(|(_, object)| match object {
                Object::Bridge(bridge) => Some((bridge.name.clone(), bridge.network)),
                _ => None,
            });
            bridges.collect()
        };
        let networks =
            self.applier.links(|links| links.bridge_traffic())?.into_iter().filter_map(|(name, seen)| {
                // A bridge receives what its ports send.
                let inward = Count { packets: seen.sent_packets, bytes: seen.sent_bytes };
                let outward = Count { packets: seen.received_packets, bytes: seen.received_bytes };
                Some((*bridges.get(&name)?, Traffic { inward, outward }))
            });
        Ok(networks.collect())
    }
}
