//! Indexes of a World's objects.

use std::collections::BTreeSet;
use std::net::IpAddr;

use imbl::{HashMap, OrdSet};
use ipnet::IpNet;

use super::World;
use super::port_claims::PortClaims;
use crate::ipam::AddressSet;
use fairway_model::{Endpoint, EndpointId, MacAddress, Network, NetworkId, PoolAddress, Sandbox, SandboxId};

/// Indexes for lookups in constant or logarithmic time.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    pub network_names: HashMap<String, NetworkId>,
    pub sandbox_names: HashMap<String, SandboxId>,
    pub by_network: HashMap<NetworkId, OrdSet<EndpointId>>,
    pub by_sandbox: HashMap<SandboxId, OrdSet<EndpointId>>,
    /// The allocated and reserved addresses of a network, with gateway and auxiliary addresses.
    pub addresses: HashMap<NetworkId, AddressSet>,
    /// The endpoints that reserve an address: several stopped sandboxes may have requested the same one.
    pub holders: HashMap<(NetworkId, IpAddr), OrdSet<EndpointId>>,
    pub macs: HashMap<MacAddress, EndpointId>,
    /// The sandboxes with links to a sandbox, each with the endpoint that has the link.
    pub linked_by: HashMap<SandboxId, OrdSet<(SandboxId, EndpointId)>>,
    pub ports: PortClaims<SandboxId>,
    /// The addresses of each pool that dockerd has.
    pub pool_addresses: HashMap<IpNet, AddressSet>,
}

impl Index {
    /// Builds the indexes of a World.
    pub fn of(world: &World) -> Self {
        let mut index = Self::default();
        world.networks().for_each(|network| index.add_network(network));
        world.sandboxes().for_each(|sandbox| index.add_sandbox(sandbox));
        world.endpoints().for_each(|endpoint| index.add_endpoint(endpoint));
        world.pool_addresses().for_each(|address| index.add_pool_address(address));
        index
    }

    pub fn add_pool_address(&mut self, address: &PoolAddress) {
        self.pool_addresses.entry(address.pool).or_default().take(address.address);
    }

    pub fn remove_pool_address(&mut self, address: &PoolAddress) {
        self.pool_addresses.entry(address.pool).or_default().release(address.address);
    }

    pub fn add_network(&mut self, network: &Network) {
        self.network_names.insert(network.name.clone(), network.id);
        let addresses = self.addresses.entry(network.id).or_default();
        reserved_by_network(network).for_each(|address| {
            addresses.take(address);
        });
    }

    /// Frees what a network reserves, before it changes.
    pub fn release_reserved(&mut self, network: &Network) {
        let addresses = self.addresses.entry(network.id).or_default();
        reserved_by_network(network).for_each(|address| {
            addresses.release(address);
        });
    }

    pub fn remove_network(&mut self, network: &Network) {
        self.network_names.remove(&network.name);
        self.addresses.remove(&network.id);
        self.by_network.remove(&network.id);
    }

    pub fn add_sandbox(&mut self, sandbox: &Sandbox) {
        self.sandbox_names.insert(sandbox.name.clone(), sandbox.id);
        sandbox.publications.iter().for_each(|publication| self.ports.claim(publication, sandbox.id));
    }

    /// Frees the name of a sandbox, unless it is another one's by now.
    pub fn forget_name(&mut self, sandbox: &Sandbox) {
        if self.sandbox_names.get(&sandbox.name) == Some(&sandbox.id) {
            self.sandbox_names.remove(&sandbox.name);
        }
    }

    pub fn remove_sandbox(&mut self, sandbox: &Sandbox) {
        self.forget_name(sandbox);
        self.by_sandbox.remove(&sandbox.id);
        sandbox.publications.iter().for_each(|publication| self.ports.release(publication, sandbox.id));
    }

    /// The addresses that an endpoint reserves: the allocated ones, and the requested ones while its sandbox is stopped.
    fn reserved_addresses(endpoint: &Endpoint) -> BTreeSet<IpAddr> {
        let requested = [endpoint.request.ipv4.map(IpAddr::V4), endpoint.request.ipv6.map(IpAddr::V6)];
        let given = endpoint.allocation.iter().flat_map(|allocation| allocation.addresses());
        requested.into_iter().flatten().chain(given).collect()
    }

    pub fn add_endpoint(&mut self, endpoint: &Endpoint) {
        self.by_network.entry(endpoint.network).or_default().insert(endpoint.id);
        self.by_sandbox.entry(endpoint.sandbox).or_default().insert(endpoint.id);
        for target in super::link::linked(endpoint) {
            self.linked_by.entry(target).or_default().insert((endpoint.sandbox, endpoint.id));
        }
        let addresses = self.addresses.entry(endpoint.network).or_default();
        for address in Self::reserved_addresses(endpoint) {
            addresses.take(address);
            self.holders.entry((endpoint.network, address)).or_default().insert(endpoint.id);
        }
        if let Some(allocation) = &endpoint.allocation {
            self.macs.insert(allocation.mac, endpoint.id);
        }
    }

    pub fn remove_endpoint(&mut self, endpoint: &Endpoint) {
        if let Some(endpoints) = self.by_network.get_mut(&endpoint.network) {
            endpoints.remove(&endpoint.id);
        }
        if let Some(endpoints) = self.by_sandbox.get_mut(&endpoint.sandbox) {
            endpoints.remove(&endpoint.id);
        }
        for target in super::link::linked(endpoint) {
            if let Some(sources) = self.linked_by.get_mut(&target) {
                sources.remove(&(endpoint.sandbox, endpoint.id));
                if sources.is_empty() {
                    self.linked_by.remove(&target);
                }
            }
        }
        for address in Self::reserved_addresses(endpoint) {
            self.release_address(endpoint, address);
        }
        if let Some(allocation) = &endpoint.allocation {
            self.macs.remove(&allocation.mac);
        }
    }

    /// Frees an address of an endpoint, unless another one reserves it too.
    fn release_address(&mut self, endpoint: &Endpoint, address: IpAddr) {
        let key = (endpoint.network, address);
        let Some(holders) = self.holders.get_mut(&key) else { return };
        holders.remove(&endpoint.id);
        if holders.is_empty() {
            self.holders.remove(&key);
            if let Some(addresses) = self.addresses.get_mut(&endpoint.network) {
                addresses.release(address);
            }
        }
    }
}

/// The addresses that no endpoint of a network can have: the gateways and the auxiliary addresses.
pub(super) fn reserved_by_network(network: &Network) -> impl Iterator<Item = IpAddr> {
    network.subnets.iter().flat_map(|subnet| {
        let gateway = Some(subnet.gateway).filter(|_| network.reserves_gateway(subnet));
        gateway.into_iter().chain(subnet.auxiliary.values().copied())
    })
}
