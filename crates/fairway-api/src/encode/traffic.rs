//! What passed networks and published ports.

use fairway_core::traffic::{Counters, PortTraffic, Traffic};
use fairway_core::world::World;
use fairway_model::{Network, NetworkId};

use crate::types::{NetworkStats, PortStats, TrafficCount};

/// The counters of one network, or of all by their names.
pub fn stats(world: &World, counters: &Counters, only: Option<NetworkId>) -> Vec<NetworkStats> {
    let meant = |network: &&Network| only.is_none_or(|only| only == network.id);
    let mut networks: Vec<&Network> = world.networks().filter(meant).collect();
    networks.sort_by(|one, other| one.name.cmp(&other.name));
    let stats = |network: &Network| NetworkStats {
        name: network.name.clone(),
        id: network.id.to_string(),
        driver: network.driver.to_string(),
        traffic: counters.networks.get(&network.id).map(count),
        ports: counters
            .ports
            .iter()
            .filter(|it| it.network == network.id)
            .map(|it| port(world, it))
            .collect(),
    };
    networks.into_iter().map(stats).collect()
}

fn count(traffic: &Traffic) -> TrafficCount {
    TrafficCount {
        packets_in: traffic.inward.packets,
        bytes_in: traffic.inward.bytes,
        packets_out: traffic.outward.packets,
        bytes_out: traffic.outward.bytes,
    }
}

fn port(world: &World, traffic: &PortTraffic) -> PortStats {
    PortStats {
        container: world.sandbox(traffic.sandbox).map(|sandbox| sandbox.name.clone()).unwrap_or_default(),
        host_ip: traffic.host.ip().to_string(),
        host_port: traffic.host.port(),
        container_port: traffic.container_port,
        protocol: traffic.protocol.to_string(),
        translated: count(&traffic.translated),
        proxied_bytes_in: traffic.proxied.0,
        proxied_bytes_out: traffic.proxied.1,
    }
}
