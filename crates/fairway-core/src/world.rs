//! The World: the durable desired state of networks, sandboxes and endpoints.
//!
//! A command is checked as a whole before anything changes. It either changes the World and returns the
//! [`Change`] of records and owners, or it changes nothing and returns a [`Refusal`].

mod command;
mod configure;
mod default_bridge;
mod endpoint;
mod event;
mod gateway;
#[cfg(any(test, feature = "histories"))]
#[allow(missing_docs, reason = "the names of the steps and their fields say what a user does")]
pub mod histories;
mod index;
mod lease;
mod limit;
mod link;
mod lookup;
mod macvlan;
mod network;
mod option;
mod port_claims;
mod ptp;
mod publication;
mod publish_live;
mod record;
mod refusal;
mod sandbox;
mod sandbox_name;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use command::{Command, CreateNetwork, CreateSandbox, NetworkChoice};
pub use default_bridge::DEFAULT_BRIDGE;
pub use event::{Event, EventRecorder, Subject, TimedEvent};
pub use link::Link;
pub use network::BRIDGE_PREFIX;
pub use option::{NETWORK_OPTIONS, NetworkOption, NetworkOptions, PARENT as PARENT_OPTION};
pub use record::{HostState, Record, RecordKey};
pub use refusal::Refusal;

use fairway_model::Owner;
use fairway_model::Rng;
use fairway_model::{
    Endpoint, EndpointId, HostFacts, Lease, Network, NetworkId, Publication, Sandbox, SandboxId,
    SandboxState, Settings,
};
use index::Index;

/// The exit code of a sandbox whose exit was not observed.
pub const UNKNOWN_EXIT_CODE: i32 = 255;

/// The desired state: requested objects, and the addresses, names and ports that were allocated for them.
#[derive(Debug, Clone, Default)]
pub struct World {
    settings: Settings,
    host: HostFacts,
    host_state: HostState,
    networks: BTreeMap<NetworkId, Network>,
    sandboxes: BTreeMap<SandboxId, Sandbox>,
    endpoints: BTreeMap<EndpointId, Endpoint>,
    index: Index,
    /// The leases that the current command may use; empty between commands.
    offered: Vec<(NetworkId, Lease)>,
}

/// The changes of a World by one command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// The keys of created, changed and removed records.
    pub records: BTreeSet<RecordKey>,
    /// The owners whose fragments may have changed.
    pub owners: BTreeSet<Owner>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
    /// The network of the command.
    pub network: Option<NetworkId>,
    /// The sandbox of the command.
    pub sandbox: Option<SandboxId>,
    /// The ports that `Publish` has published now.
    pub published: Vec<Publication>,
}

impl Change {
    fn record(&mut self, key: RecordKey) -> &mut Self {
        self.records.insert(key);
        self
    }

    fn owner(&mut self, owner: Owner) -> &mut Self {
        self.owners.insert(owner);
        self
    }
}

impl World {
    /// Applies a command. `now` is in nanoseconds since 1970.
    ///
    /// # Errors
    /// The reason for the refusal; the World is unchanged.
    pub fn apply(&mut self, command: Command, now: i64, rng: &mut Rng) -> Result<Change, Refusal> {
        match command {
            Command::Configure { settings, host } => self.configure(*settings, *host, now, rng),
            Command::CreateNetwork(request) => self.create_network(request, now, rng),
            Command::RemoveNetwork { network } => self.remove_network(&network),
            Command::CreateSandbox(request) => self.create_sandbox(*request, now, rng),
            Command::StartSandbox { sandbox, process, namespace, avoid } => {
                self.start_sandbox(&sandbox, process, namespace, &avoid, now, rng)
            }
            Command::Attach { create, process, namespace, avoid } => {
                let host_state = self.host_state.clone();
                let mut change = self.create_sandbox(*create, now, rng)?;
                let id = change.sandbox.map(|id| id.to_string()).unwrap_or_default();
                match self.start_sandbox(&id, process, namespace, &avoid, now, rng) {
                    Ok(started) => {
                        change.records.extend(started.records);
                        change.owners.extend(started.owners);
                        change.warnings.extend(started.warnings);
                        Ok(change)
                    }
                    Err(refusal) => {
                        self.remove_sandbox(&id)?;
                        self.host_state = host_state;
                        Err(refusal)
                    }
                }
            }
            Command::StopSandbox { sandbox, code } => {
                self.stop_sandbox(&sandbox, SandboxState::Exited { code, at: now })
            }
            Command::CancelStart { sandbox } => self.stop_sandbox(&sandbox, SandboxState::Created),
            Command::RemoveSandbox { sandbox } => self.remove_sandbox(&sandbox),
            Command::Publish { sandbox, requests, avoid } => self.publish(&sandbox, requests, &avoid, rng),
            Command::Unlink { sandbox, alias } => self.unlink(&sandbox, &alias),
            Command::Unpublish { sandbox, requests } => self.unpublish(&sandbox, &requests),
            Command::AddressInUse { network, address, mac } => {
                self.address_in_use(&network, address, mac, now)
            }
            Command::LeaseRenewed { endpoint, lease } => Ok(self.lease_renewed(endpoint, *lease)),
            Command::Connect { network, sandbox, request } => self.connect(&network, &sandbox, request, rng),
            Command::Disconnect { network, sandbox } => self.disconnect(&network, &sandbox, rng),
        }
    }

    /// The daemon's settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The last observed state of the host.
    pub fn host(&self) -> &HostFacts {
        &self.host
    }

    /// The counter of endpoints and the sysctls that Fairway changed.
    pub fn host_state(&self) -> &HostState {
        &self.host_state
    }

    fn put_network(&mut self, network: Network) {
        self.index.add_network(&network);
        self.networks.insert(network.id, network);
    }

    fn put_sandbox(&mut self, sandbox: Sandbox) {
        if let Some(old) = self.sandboxes.get(&sandbox.id) {
            old.publications.iter().for_each(|publication| self.index.ports.release(publication, old.id));
        }
        self.index.add_sandbox(&sandbox);
        self.sandboxes.insert(sandbox.id, sandbox);
    }

    fn put_endpoint(&mut self, endpoint: Endpoint) {
        if let Some(old) = self.endpoints.get(&endpoint.id) {
            self.index.remove_endpoint(old);
        }
        self.index.add_endpoint(&endpoint);
        self.endpoints.insert(endpoint.id, endpoint);
    }

    fn drop_endpoint(&mut self, id: EndpointId) {
        if let Some(endpoint) = self.endpoints.remove(&id) {
            self.index.remove_endpoint(&endpoint);
        }
    }
}
