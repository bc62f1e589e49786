//! What passed networks and published ports.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;

use fairway_core::object::{Difference, Key, Object};
use fairway_core::policy::counting::Counted;
use fairway_core::traffic::{self, Counters, Traffic};
use fairway_model::{NetworkId, Protocol};
use fairway_ruleset::Count;

use crate::{Engine, EngineError};

impl Engine {
    /// Reads all counters.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn counters(&self) -> Result<Counters, EngineError> {
        let bridges: BTreeMap<String, NetworkId> = {
            let state = self.state();
            let bridges = state.plan.values().flatten().filter_map(|(_, object)| match object {
                Object::Bridge(bridge) => Some((bridge.name.clone(), bridge.network)),
                _ => None,
            });
            bridges.collect()
        };
        let names: Vec<String> = bridges.keys().cloned().collect();
        let networks = self.links(|links| links.traffic(&names))?.into_iter().filter_map(|(name, seen)| {
            // What the bridge receives is what its ports send.
            let inward = Count { packets: seen.sent_packets, bytes: seen.sent_bytes };
            let outward = Count { packets: seen.received_packets, bytes: seen.received_bytes };
            Some((*bridges.get(&name)?, Traffic { inward, outward }))
        });
        let networks = networks.collect();
        let counts = self.firewall.counts()?;
        let carried: BTreeMap<(Protocol, SocketAddr), (u64, u64)> = match self.relay.carried() {
            Ok(ports) => {
                let bytes = |(protocol, at, it): (_, _, fairway_relay::table::ProxiedBytes)| {
                    ((protocol, at), (it.bytes_in, it.bytes_out))
                };
                ports.into_iter().map(bytes).collect()
            }
            Err(error) => {
                tracing::warn!(%error, "what the proxy carried is not known");
                BTreeMap::new()
            }
        };
        let ports = self.read(|world| traffic::port_traffic(world, &counts, &carried));
        Ok(Counters { networks, ports })
    }

    /// Forgets what passed ports that a difference takes away: who publishes them next begins at nothing.
    pub(crate) fn forget_counts(&self, difference: &Difference) {
        let port = |key: &Key| match key {
            Key::Socket(protocol, at) => Some((*protocol, *at)),
            _ => None,
        };
        let gone: HashSet<(Protocol, SocketAddr)> = difference.removed.keys().filter_map(port).collect();
        if gone.is_empty() {
            return;
        }
        // What asked for an address of the host belongs to who publishes there, or everywhere.
        let is_gone = |it: &Counted| {
            gone.contains(&(it.protocol, it.at))
                || gone.contains(&(it.protocol, traffic::wildcard(it.at)))
                    && self.read(|world| world.publisher(it.protocol, it.at).is_none())
        };
        if let Err(error) = self.firewall.forget_counts(is_gone) {
            tracing::warn!(%error, "what passed ports that are published no more still counts");
        }
    }
}
