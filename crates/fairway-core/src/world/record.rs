//! The durable records of a World.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::World;
use super::option::endpoint_options;
use fairway_model::{
    Endpoint, EndpointId, EndpointOptions, Network, NetworkId, PoolAddress, RequestedPool, Sandbox, SandboxId,
};

/// The key of a durable record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKey {
    /// The [`HostState`].
    Host,
    /// A network.
    Network(NetworkId),
    /// A sandbox.
    Sandbox(SandboxId),
    /// An endpoint.
    Endpoint(EndpointId),
    /// A pool of Docker Engine, by its subnet.
    Pool(IpNet),
    /// An address of a pool.
    PoolAddress(IpNet, IpAddr),
}

impl RecordKey {
    /// The key in the store.
    pub fn text(&self) -> String {
        match self {
            Self::Host => "journal".to_owned(),
            Self::Network(id) => format!("network/{id}"),
            Self::Sandbox(id) => format!("sandbox/{id}"),
            Self::Endpoint(id) => format!("endpoint/{id}"),
            Self::Pool(subnet) => format!("pool/{subnet}"),
            Self::PoolAddress(pool, address) => format!("pool-address/{pool}/{address}"),
        }
    }
}

/// State of which a World has one: the counter of endpoints, and the sysctls that Fairway changed on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostState {
    /// The order of the next endpoint that joins.
    pub next_order: u64,
    /// Whether Fairway enabled IPv4 forwarding.
    pub switched_forwarding_ipv4: bool,
    /// Whether Fairway enabled IPv6 forwarding.
    pub switched_forwarding_ipv6: bool,
    /// The interfaces whose `accept_ra` was 1 when Fairway enabled IPv6 forwarding: they keep accepting router
    /// advertisements with the value 2.
    #[serde(default)]
    pub router_advertisements: BTreeSet<String>,
}

/// A durable record of a World.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Record {
    /// The counter and the changed sysctls, by the name that stores have had since the first version.
    #[serde(rename = "journal")]
    Host(HostState),
    /// A network.
    Network(Network),
    /// A sandbox.
    Sandbox(Box<Sandbox>),
    /// An endpoint.
    Endpoint(Endpoint),
    /// A pool.
    Pool(RequestedPool),
    /// An address of a pool.
    PoolAddress(PoolAddress),
}

impl World {
    /// The current record of `key`; none when the object was removed.
    pub fn record(&self, key: RecordKey) -> Option<Record> {
        match key {
            RecordKey::Host => Some(Record::Host(self.host_state.clone())),
            RecordKey::Network(id) => self.network(id).cloned().map(Record::Network),
            RecordKey::Sandbox(id) => self.sandbox(id).cloned().map(Box::new).map(Record::Sandbox),
            RecordKey::Endpoint(id) => self.endpoint(id).cloned().map(Record::Endpoint),
            RecordKey::Pool(subnet) => self.pool(subnet).cloned().map(Record::Pool),
            RecordKey::PoolAddress(pool, address) => {
                let found = self.pool_addresses.get(&(pool, address));
                found.map(|it| Record::PoolAddress((**it).clone()))
            }
        }
    }

    /// Builds a World from its records. An endpoint without its network or its sandbox is dropped: such a record
    /// exists only in a store that was edited by hand.
    pub fn from_records(records: impl IntoIterator<Item = Record>) -> Self {
        let mut world = Self::default();
        for record in records {
            match record {
                Record::Host(host_state) => world.host_state = host_state,
                Record::Network(network) => {
                    world.networks.insert(network.id, Arc::new(network));
                }
                Record::Sandbox(sandbox) => {
                    world.sandboxes.insert(sandbox.id, Arc::from(sandbox));
                }
                Record::Pool(pool) => {
                    world.pools.insert(pool.subnet, Arc::new(pool));
                }
                Record::PoolAddress(address) => {
                    world.pool_addresses.insert((address.pool, address.address), Arc::new(address));
                }
                Record::Endpoint(mut endpoint) => {
                    // A record of a version that did not store the parsed driver options.
                    if endpoint.options == EndpointOptions::default()
                        && let Ok((options, _)) = endpoint_options(&endpoint.request.driver_options)
                    {
                        endpoint.options = options;
                    }
                    world.endpoints.insert(endpoint.id, Arc::new(endpoint));
                }
            }
        }
        let (networks, sandboxes) = (&world.networks, &world.sandboxes);
        let whole = |endpoint: &Endpoint| {
            networks.contains_key(&endpoint.network) && sandboxes.contains_key(&endpoint.sandbox)
        };
        let endpoints = std::mem::take(&mut world.endpoints).into_iter();
        world.endpoints = endpoints.filter(|(_, endpoint)| whole(endpoint)).collect();
        world.index = super::index::Index::of(&world);
        world
    }
}
