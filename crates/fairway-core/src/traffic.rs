//! Traffic counters of networks and published ports, from the kernel and the proxy.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::policy::counting::Counted;
use crate::world::World;
use fairway_model::{NetworkId, Protocol, SandboxId};
use fairway_ruleset::Count;
use serde::{Deserialize, Serialize};

/// Packets and bytes of a sandbox or network, by direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Received.
    pub inward: Count,
    /// Sent.
    pub outward: Count,
}

/// The traffic of a published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortTraffic {
    /// The sandbox.
    pub sandbox: SandboxId,
    /// The network that the port leads to.
    pub network: NetworkId,
    /// The protocol.
    pub protocol: Protocol,
    /// The host address and port.
    pub host: SocketAddr,
    /// The port in the sandbox.
    pub container_port: u16,
    /// The traffic that the kernel translated (DNAT).
    pub translated: Traffic,
    /// The bytes that the proxy relayed, to the sandbox and from it.
    pub proxied: (u64, u64),
}

/// The traffic counters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// The traffic between a network's sandboxes and other hosts, the own host included, by its bridge's counters.
    /// Networks without a bridge are missing.
    pub networks: BTreeMap<NetworkId, Traffic>,
    /// The traffic of published ports.
    pub ports: Vec<PortTraffic>,
}

/// A resource of the relay that clients share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SharedResource {
    /// How many are in use.
    pub open: u64,
    /// How many may be in use.
    pub limit: u64,
    /// How many have begun since the relay started.
    pub begun: u64,
    /// How many of them were ended for others, at the limit.
    pub evicted: u64,
}

/// What the relay counts since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RelayCounters {
    /// TCP connections of the proxy.
    pub connections: SharedResource,
    /// UDP flows of the proxy.
    pub flows: SharedResource,
    /// DNS queries that were forwarded to name servers.
    pub queries: SharedResource,
    /// How many of those no name server answered.
    pub unanswered: u64,
    /// DNS queries that names of sandboxes answered.
    pub answered_by_names: u64,
    /// DNS queries that an earlier answer of a name server answered.
    pub answered_by_cache: u64,
    /// DNS queries that were refused: not valid, or without a name server.
    pub refused: u64,
}

/// The traffic of each published port. Ports of ranges without traffic are omitted.
pub fn port_traffic(
    world: &World,
    counts: &[(Counted, Count)],
    proxied: &BTreeMap<(Protocol, SocketAddr), (u64, u64)>,
) -> Vec<PortTraffic> {
    let mut translated: BTreeMap<(Protocol, SocketAddr), Traffic> = BTreeMap::new();
    for (counted, count) in counts {
        // A specific address takes precedence over the wildcard address, as in the firewall's maps.
        let of = |at: SocketAddr| world.publisher(counted.protocol, at).map(|_| at);
        let Some(at) = of(counted.at).or_else(|| of(wildcard(counted.at))) else { continue };
        let traffic = translated.entry((counted.protocol, at)).or_default();
        let side = if counted.answers { &mut traffic.outward } else { &mut traffic.inward };
        side.packets += count.packets;
        side.bytes += count.bytes;
    }
    let mut found = Vec::new();
    for sandbox in world.sandboxes().filter(|sandbox| sandbox.running()) {
        for publication in &sandbox.publications {
            let ipv4 = publication.host_address.is_ipv4();
            let target = |ipv4| world.publication_target(sandbox.id, ipv4).map(|it| it.0.network);
            let Some(network) = target(ipv4).or_else(|| target(!ipv4)) else { continue };
            let is_range = publication.host_ports.len() > 1;
            for (host_port, container_port) in publication.pairs() {
                let host = SocketAddr::new(publication.host_address, host_port);
                let key = (publication.protocol, host);
                let traffic = PortTraffic {
                    sandbox: sandbox.id,
                    network,
                    protocol: publication.protocol,
                    host,
                    container_port,
                    translated: translated.get(&key).copied().unwrap_or_default(),
                    proxied: proxied.get(&key).copied().unwrap_or_default(),
                };
                let silent = traffic.translated == Traffic::default() && traffic.proxied == (0, 0);
                if !is_range || !silent {
                    found.push(traffic);
                }
            }
        }
    }
    found
}

/// The same port at the wildcard address of the family.
pub fn wildcard(at: SocketAddr) -> SocketAddr {
    let all: IpAddr = match at {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(all, at.port())
}

/// The units of bytes, each a thousand of the one before.
const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/// A number of bytes with Docker's units and one decimal, such as `12.3 MB`.
pub fn bytes_with_unit(count: f64) -> String {
    let (mut value, mut power) = (count, 0);
    // From there on the decimal would be rounded to a thousand.
    while value >= 999.95 && power + 1 < UNITS.len() {
        value /= 1000.0;
        power += 1;
    }
    let decimals = usize::from(power > 0);
    format!("{value:.decimals$} {}", UNITS[power])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_the_unit_in_which_they_are_below_a_thousand() {
        for (count, text) in [
            (0.0, "0 B"),
            (999.0, "999 B"),
            (999.96, "1.0 kB"),
            (1000.0, "1.0 kB"),
            (1_234_000.0, "1.2 MB"),
            (5e15, "5.0 PB"),
            (999_949.0, "999.9 kB"),
            (999_950.0, "1.0 MB"),
            (12_345_678.0, "12.3 MB"),
            (9.2e18, "9.2 EB"),
            (9.2e22, "92000.0 EB"),
        ] {
            assert_eq!(bytes_with_unit(count), text);
        }
    }
}
