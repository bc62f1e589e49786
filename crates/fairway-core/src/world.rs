//! The World: the durable desired state of networks, sandboxes and endpoints.
//!
//! A command is decided on a draft: a copy of the World that shares all that does not change. The draft becomes the
//! World, or it is dropped, so that a refusal changes nothing.

mod command;
mod command_options;
mod configure;
mod context;
mod default_bridge;
mod docker;
mod endpoint;
mod endpoint_route;
mod event;
mod footprint;
mod gateway;
#[cfg(any(test, feature = "histories"))]
#[allow(missing_docs, reason = "the names of the steps and their fields say what a user does")]
pub mod histories;
mod host_interface;
mod index;
mod join;
mod lease;
mod limit;
mod link;
mod lookup;
mod macvlan;
mod network;
mod option;
mod pool;
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

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

pub use command::{Command, CreateNetwork, CreateSandbox, Join, JoinEndpoint, NetworkChoice};
pub use context::{Context, Undecided};
pub use default_bridge::DEFAULT_BRIDGE;
pub use event::{Event, EventRecorder, Requester, Subject, TimedEvent};
pub use footprint::Footprint;
pub use link::Link;
pub use network::BRIDGE_PREFIX;
pub use option::{NETWORK_OPTIONS, NetworkOption, NetworkOptions, PARENT as PARENT_OPTION};
pub use record::{HostState, Record, RecordKey};
pub use refusal::Refusal;

use fairway_model::Owner;
use fairway_model::Rng;
use fairway_model::{
    Endpoint, EndpointId, HostFacts, Network, NetworkId, PoolAddress, Publication, RequestedPool, Sandbox,
    SandboxId, Settings,
};
use imbl::OrdMap;
use index::Index;
use ipnet::IpNet;

/// The exit code of a sandbox whose exit was not observed.
pub const UNKNOWN_EXIT_CODE: i32 = 255;

/// How a sandbox ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The exit code.
    pub code: i32,
    /// Whether the kernel killed a process of the sandbox for lack of memory.
    pub oom_killed: bool,
}

impl From<i32> for Exit {
    fn from(code: i32) -> Self {
        Self { code, oom_killed: false }
    }
}

/// The desired state: requested objects, and the addresses, names and ports that were allocated for them.
///
/// A clone costs the same for any number of objects: the clones share what neither changes.
#[derive(Debug, Clone, Default)]
pub struct World {
    settings: Arc<Settings>,
    host: Arc<HostFacts>,
    host_state: HostState,
    networks: OrdMap<NetworkId, Arc<Network>>,
    sandboxes: OrdMap<SandboxId, Arc<Sandbox>>,
    endpoints: OrdMap<EndpointId, Arc<Endpoint>>,
    /// The pools of Docker Engine, by their subnets.
    pools: OrdMap<IpNet, Arc<RequestedPool>>,
    /// The addresses of pools, by pool and address.
    pool_addresses: OrdMap<(IpNet, IpAddr), Arc<PoolAddress>>,
    index: Index,
}

/// A decided command: the World after it, and what it changes.
#[derive(Debug)]
pub struct Draft {
    /// The World after the command.
    pub world: World,
    /// What differs from the World before.
    pub change: Change,
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
    /// The subnet of a requested pool, or a requested address with the prefix length of its pool.
    pub allocated: Option<IpNet>,
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

    /// Adds a later change of the same command.
    fn append(&mut self, later: Self) {
        self.records.extend(later.records);
        self.owners.extend(later.owners);
        self.warnings.extend(later.warnings);
        self.network = later.network.or(self.network);
        self.sandbox = later.sandbox.or(self.sandbox);
        self.published.extend(later.published);
        self.allocated = later.allocated.or(self.allocated);
    }
}

impl World {
    /// Decides a command. This World stays as it is.
    ///
    /// # Errors
    /// The reason for the refusal, or the DHCP lease that the command needs first.
    pub fn decide(&self, command: Command, context: &mut Context<'_>) -> Result<Draft, Undecided> {
        let mut world = self.clone();
        let mut change = world.carry_out(command, context)?;
        world.touch_networks_of_held_ports(self, &mut change);
        Ok(Draft { world, change })
    }

    /// Adds the networks to a change that a container with ports held by another engine joins or leaves: their bridges
    /// lead the host's loopback there. Those that engines describe do so in any case.
    fn touch_networks_of_held_ports(&self, before: &Self, change: &mut Change) {
        let touched = change.records.iter().filter_map(|key| match key {
            RecordKey::Endpoint(id) => self.endpoint(*id).or_else(|| before.endpoint(*id)),
            _ => None,
        });
        let networks = touched.filter(|endpoint| {
            let sandbox = self.sandbox(endpoint.sandbox).or_else(|| before.sandbox(endpoint.sandbox));
            sandbox.is_some_and(|sandbox| sandbox.options.ports_held_by_engine)
                && self.network(endpoint.network).is_some_and(|network| !network.transient)
        });
        change.owners.extend(networks.map(|endpoint| Owner::Network(endpoint.network)));
    }

    /// Whether another engine holds ports of a container on a network.
    pub(crate) fn has_held_ports(&self, network: NetworkId) -> bool {
        let mut sandboxes = self.endpoints_of_network(network).filter_map(|it| self.sandbox(it.sandbox));
        sandboxes.any(|sandbox| sandbox.options.ports_held_by_engine)
    }

    /// Decides a command that needs no lease, and becomes the World after it. `now` is in nanoseconds since 1970.
    ///
    /// # Errors
    /// As [`World::decide`]; the World is unchanged then.
    pub fn apply(&mut self, command: Command, now: i64, rng: &mut Rng) -> Result<Change, Undecided> {
        let Draft { world, change } = self.decide(command, &mut Context::new(now, rng))?;
        *self = world;
        Ok(change)
    }

    /// Changes a draft. What a refused command leaves half done is dropped with the draft.
    fn carry_out(&mut self, command: Command, context: &mut Context<'_>) -> Result<Change, Undecided> {
        let change = match command {
            Command::Configure { settings, host } => self.configure(*settings, *host, context)?,
            Command::CreateNetwork(request) => self.create_network(request, context)?,
            Command::RemoveNetwork { network } => self.remove_network(&network)?,
            Command::CreateSandbox(request) => {
                let id = context.rng.sandbox_id();
                self.create_sandbox(id, *request, context)?
            }
            Command::StartSandbox { sandbox, process, namespace } => {
                self.start_sandbox(&sandbox, process, namespace, context)?
            }
            Command::Attach { create, process, namespace } => {
                let id = context.rng.sandbox_id();
                self.attach(id, *create, process, namespace, context)?
            }
            Command::Join(request) => self.join(*request, context)?,
            Command::Leave { sandbox, networks } => self.leave(&sandbox, &networks, context.rng)?,
            Command::JoinEndpoint(request) => self.join_endpoint(*request, context)?,
            Command::DeleteEndpoint { endpoint } => self.delete_endpoint(endpoint)?,
            Command::ExternalConnectivity { endpoint, ports } => {
                self.external_connectivity(endpoint, ports, context)?
            }
            Command::IdentifySandbox { sandbox, name, labels, process, namespace } => {
                self.identify_sandbox(sandbox, &name, labels, process, namespace)?
            }
            Command::IdentifyNetwork { network, name, labels } => {
                self.identify_network(network, &name, labels)?
            }
            Command::RequestPool { subnet, range, ipv6 } => {
                self.request_pool(subnet, range, ipv6, context)?
            }
            Command::IdentifyPool { pool, daemon } => self.identify_pool(pool, daemon)?,
            Command::ReleasePool { pool } => self.release_pool(pool)?,
            Command::RequestAddress { pool, address, gateway } => {
                self.request_address(pool, address, gateway, context.now)?
            }
            Command::ReleaseAddress { pool, address } => self.release_address(pool, address)?,
            Command::UpdateNetwork { network, options } => {
                self.update_network(&network, &options, context)?
            }
            Command::StopSandbox { sandbox, exit, process } => {
                self.stop_sandbox(&sandbox, exit, process, context.now)?
            }
            Command::RequestStop { sandbox } => self.request_stop(&sandbox)?,
            Command::CountRestarts { sandbox, restarts } => self.count_restarts(&sandbox, restarts)?,
            Command::UpdateSandbox { sandbox, restart, limits } => {
                self.update_sandbox(&sandbox, restart, limits)?
            }
            Command::FailStart { sandbox, error } => self.fail_start(&sandbox, error)?,
            Command::CancelStart { sandbox } => self.cancel_start(&sandbox)?,
            Command::RemoveSandbox { sandbox } => self.remove_sandbox(&sandbox)?,
            Command::Publish { sandbox, requests } => self.publish(&sandbox, requests, context)?,
            Command::Rename { sandbox, name } => self.rename(&sandbox, &name, context.rng)?,
            Command::Unlink { sandbox, alias } => self.unlink(&sandbox, &alias)?,
            Command::Unpublish { sandbox, requests } => self.unpublish(&sandbox, &requests)?,
            Command::AddressInUse { network, address, mac } => {
                self.address_in_use(&network, address, mac, context.now)?
            }
            Command::LeaseRenewed { endpoint, lease } => self.lease_renewed(endpoint, *lease),
            Command::Connect { network, sandbox, request } => {
                self.connect(&network, &sandbox, request, context)?
            }
            Command::Disconnect { network, sandbox } => self.disconnect(&network, &sandbox, context.rng)?,
        };
        Ok(change)
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

    /// Takes over the records of `keys` as they are in another World, also those that do not exist there. The counter
    /// of endpoints never goes back.
    pub fn take_records(&mut self, keys: &BTreeSet<RecordKey>, from: &World) {
        let next_order = self.host_state.next_order.max(from.host_state.next_order);
        for key in keys.iter().rev() {
            match *key {
                RecordKey::Network(id) if from.network(id).is_none() => self.drop_network(id),
                RecordKey::Sandbox(id) if from.sandbox(id).is_none() => self.drop_sandbox(id),
                RecordKey::Endpoint(id) if from.endpoint(id).is_none() => self.drop_endpoint(id),
                RecordKey::Pool(subnet) if from.pool(subnet).is_none() => self.drop_pool(subnet),
                RecordKey::PoolAddress(pool, address)
                    if !from.pool_addresses.contains_key(&(pool, address)) =>
                {
                    self.drop_pool_address(pool, address);
                }
                _ => {}
            }
        }
        for key in keys {
            match key {
                RecordKey::Host => self.host_state = from.host_state.clone(),
                RecordKey::Network(id) => {
                    from.networks.get(id).into_iter().for_each(|it| self.put_network(Arc::clone(it)))
                }
                RecordKey::Sandbox(id) => {
                    from.sandboxes.get(id).into_iter().for_each(|it| self.put_sandbox(Arc::clone(it)))
                }
                RecordKey::Endpoint(id) => {
                    from.endpoints.get(id).into_iter().for_each(|it| self.put_endpoint(Arc::clone(it)))
                }
                RecordKey::Pool(subnet) => {
                    from.pools.get(subnet).into_iter().for_each(|it| self.put_pool(Arc::clone(it)))
                }
                RecordKey::PoolAddress(pool, address) => {
                    let found = from.pool_addresses.get(&(*pool, *address));
                    found.into_iter().for_each(|it| self.put_pool_address(Arc::clone(it)))
                }
            }
        }
        self.host_state.next_order = next_order;
    }

    fn put_network(&mut self, network: impl Into<Arc<Network>>) {
        let network = network.into();
        if let Some(old) = self.networks.get(&network.id) {
            self.index.release_reserved(old);
            if self.index.network_names.get(&old.name) == Some(&old.id) {
                self.index.network_names.remove(&old.name);
            }
        }
        self.index.add_network(&network);
        self.networks.insert(network.id, network);
    }

    fn drop_network(&mut self, id: NetworkId) {
        if let Some(network) = self.networks.remove(&id) {
            self.index.remove_network(&network);
        }
    }

    fn put_sandbox(&mut self, sandbox: impl Into<Arc<Sandbox>>) {
        let sandbox = sandbox.into();
        if let Some(old) = self.sandboxes.get(&sandbox.id) {
            old.publications.iter().for_each(|publication| self.index.ports.release(publication, old.id));
            self.index.forget_name(old);
        }
        self.index.add_sandbox(&sandbox);
        self.sandboxes.insert(sandbox.id, sandbox);
    }

    fn drop_sandbox(&mut self, id: SandboxId) {
        if let Some(sandbox) = self.sandboxes.remove(&id) {
            self.index.remove_sandbox(&sandbox);
        }
    }

    fn put_endpoint(&mut self, endpoint: impl Into<Arc<Endpoint>>) {
        let endpoint = endpoint.into();
        if let Some(old) = self.endpoints.get(&endpoint.id) {
            self.index.remove_endpoint(old);
        }
        self.index.add_endpoint(&endpoint);
        self.endpoints.insert(endpoint.id, endpoint);
    }

    fn put_pool(&mut self, pool: impl Into<Arc<RequestedPool>>) {
        let pool = pool.into();
        self.pools.insert(pool.subnet, pool);
    }

    fn drop_pool(&mut self, subnet: IpNet) {
        self.pools.remove(&subnet);
    }

    fn put_pool_address(&mut self, address: impl Into<Arc<PoolAddress>>) {
        let address = address.into();
        self.index.add_pool_address(&address);
        self.pool_addresses.insert((address.pool, address.address), address);
    }

    fn drop_pool_address(&mut self, pool: IpNet, address: IpAddr) {
        if let Some(address) = self.pool_addresses.remove(&(pool, address)) {
            self.index.remove_pool_address(&address);
        }
    }

    fn drop_endpoint(&mut self, id: EndpointId) {
        if let Some(endpoint) = self.endpoints.remove(&id) {
            self.index.remove_endpoint(&endpoint);
        }
    }
}
