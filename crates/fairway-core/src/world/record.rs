//! What of a World is durable, one record at a time.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::World;
use super::option::endpoint_options;
use fairway_model::{Endpoint, EndpointId, EndpointOptions, Network, NetworkId, Sandbox, SandboxId};

/// What tells records apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKey {
    /// What exists once.
    Journal,
    /// A network.
    Network(NetworkId),
    /// A sandbox.
    Sandbox(SandboxId),
    /// An endpoint.
    Endpoint(EndpointId),
}

impl RecordKey {
    /// The key in the store.
    pub fn text(&self) -> String {
        match self {
            Self::Journal => "journal".to_owned(),
            Self::Network(id) => format!("network/{id}"),
            Self::Sandbox(id) => format!("sandbox/{id}"),
            Self::Endpoint(id) => format!("endpoint/{id}"),
        }
    }
}

/// What exists once in a World and must be remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// The order of the next endpoint that joins.
    pub next_order: u64,
    /// Whether we switched IPv4 forwarding on.
    pub switched_forwarding_ipv4: bool,
    /// Whether we switched IPv6 forwarding on.
    pub switched_forwarding_ipv6: bool,
    /// The interfaces whose `accept_ra` was 1 when we did: they keep taking advertisements by 2.
    #[serde(default)]
    pub router_advertisements: BTreeSet<String>,
}

/// A durable piece of a World.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Record {
    /// What exists once.
    Journal(Journal),
    /// A network.
    Network(Network),
    /// A sandbox.
    Sandbox(Box<Sandbox>),
    /// An endpoint.
    Endpoint(Endpoint),
}

impl World {
    /// The record of `key` as it is now; none when it is gone.
    pub fn record(&self, key: RecordKey) -> Option<Record> {
        match key {
            RecordKey::Journal => Some(Record::Journal(self.journal.clone())),
            RecordKey::Network(id) => self.networks.get(&id).cloned().map(Record::Network),
            RecordKey::Sandbox(id) => self.sandboxes.get(&id).cloned().map(Box::new).map(Record::Sandbox),
            RecordKey::Endpoint(id) => self.endpoints.get(&id).cloned().map(Record::Endpoint),
        }
    }

    /// Puts a World together again. Endpoints whose network or sandbox is not among the records
    /// are left out: they can only stem from a store that somebody edited.
    pub fn from_records(records: impl IntoIterator<Item = Record>) -> Self {
        let mut world = Self::default();
        for record in records {
            match record {
                Record::Journal(journal) => world.journal = journal,
                Record::Network(network) => {
                    world.networks.insert(network.id, network);
                }
                Record::Sandbox(sandbox) => {
                    world.sandboxes.insert(sandbox.id, *sandbox);
                }
                Record::Endpoint(mut endpoint) => {
                    // Written before driver options were kept as what they say.
                    if endpoint.options == EndpointOptions::default()
                        && let Ok((options, _)) = endpoint_options(&endpoint.request.driver_options)
                    {
                        endpoint.options = options;
                    }
                    world.endpoints.insert(endpoint.id, endpoint);
                }
            }
        }
        let (networks, sandboxes) = (&world.networks, &world.sandboxes);
        world.endpoints.retain(|_, endpoint| {
            networks.contains_key(&endpoint.network) && sandboxes.contains_key(&endpoint.sandbox)
        });
        world.index = super::index::Index::of(&world);
        world
    }
}
