//! Creation and removal of networks.

mod address_in_use;
mod adopt;
mod configuration;
mod families;
mod lan;
mod peers;

use std::sync::Arc;

use ipnet::IpNet;

use super::{
    Change, Context, CreateNetwork, NetworkOptions, RecordKey, Refusal, World, endpoint_route, limit, ptp,
};
use crate::ipam;
use fairway_model::Owner;
use fairway_model::parse::name;
use fairway_model::{Driver, Macvlan, Network, NetworkId};

/// The prefix of generated bridge names, as in Docker, followed by the first twelve digits of the network's id.
pub const BRIDGE_PREFIX: &str = "br-";

impl World {
    /// The subnets of networks and their peers, each with the name of the network, that a new network must not overlap.
    /// Macvlan networks on different parents are on different LANs, and may overlap.
    pub(super) fn taken_subnets(&self, macvlan: Option<&Macvlan>) -> Vec<(IpNet, String)> {
        let of = |network: &Network| {
            let name = network.name.clone();
            let own = network.subnets.iter().map(|subnet| subnet.subnet);
            let subnets = own.chain(network.peers.iter().map(|peer| peer.subnet));
            subnets.map(move |subnet| (subnet, name.clone())).collect::<Vec<_>>()
        };
        let elsewhere = |network: &&Network| match (&network.macvlan, macvlan) {
            (Some(other), Some(own)) => other.parent != own.parent,
            _ => false,
        };
        self.networks().filter(|network| !elsewhere(network)).flat_map(of).collect()
    }

    /// As [`World::taken_subnets`], and the pools of Docker Engine unless the network is its own.
    fn taken(&self, macvlan: Option<&Macvlan>, of_docker: bool) -> Vec<(IpNet, String)> {
        let pools = self.taken_pools().filter(|_| !of_docker);
        self.taken_subnets(macvlan).into_iter().chain(pools).collect()
    }

    fn check_network_name(&self, request: &CreateNetwork) -> Result<Driver, Refusal> {
        if matches!(request.name.as_str(), "bridge" | "host" | "none" | "default") {
            return Err(Refusal::PredefinedName(request.name.clone()));
        }
        name(&request.name).map_err(|_| Refusal::InvalidName(request.name.clone()))?;
        let driver = match request.driver.as_str() {
            "" | "default" => Driver::Bridge,
            "host" | "null" => return Err(Refusal::SingleInstance(request.driver.clone())),
            name => {
                let found = Driver::CREATABLE.into_iter().find(|(driver, _)| driver.name() == name);
                found.ok_or_else(|| Refusal::NoSuchDriver(name.to_owned()))?.0
            }
        };
        if self.index.network_names.contains_key(&request.name) {
            return Err(Refusal::NetworkExists(request.name.clone()));
        }
        Ok(driver)
    }

    fn bridge_name(&self, chosen: Option<String>, id: NetworkId) -> Result<String, Refusal> {
        let bridge = chosen.unwrap_or_else(|| format!("{BRIDGE_PREFIX}{}", id.short()));
        match self.networks().find(|network| network.bridge == bridge) {
            Some(holder) => Err(Refusal::BridgeTaken { name: bridge, holder: holder.name.clone() }),
            None => Ok(bridge),
        }
    }

    /// The request with the defaults of `--default-network-opt`.
    pub(super) fn with_default_options(&self, mut request: CreateNetwork, driver: Driver) -> CreateNetwork {
        for (name, value) in self.settings.network_options.get(&driver.to_string()).into_iter().flatten() {
            request.options.entry(name.clone()).or_insert_with(|| value.clone());
        }
        request
    }

    pub(super) fn create_network(
        &mut self,
        request: CreateNetwork,
        context: &mut Context<'_>,
    ) -> Result<Change, Refusal> {
        let id = request.id.unwrap_or_else(|| context.rng.network_id());
        if let Some(known) = self.network(id) {
            return Err(Refusal::NetworkExists(known.name.clone()));
        }
        let (network, warnings) = self.new_network(request, id, context)?;
        let mut change = Change { network: Some(id), warnings, ..Change::default() };
        change.record(RecordKey::Network(id)).owner(Owner::Network(id));
        self.put_network(network);
        self.switch_forwarding(&mut change);
        Ok(change)
    }

    /// The network that a request describes, with what is decided for it, and warnings.
    pub(super) fn new_network(
        &self,
        request: CreateNetwork,
        id: NetworkId,
        context: &mut Context<'_>,
    ) -> Result<(Network, Vec<String>), Refusal> {
        limit::check_network(&request)?;
        let driver = self.check_network_name(&request)?;
        if request.config_only {
            return configuration::network(request, id, context.now).map(|network| (network, Vec::new()));
        }
        let request = self.with_configuration(request)?;
        let request = self.with_default_options(request, driver);
        let options = NetworkOptions::parse(&request.options)?;
        let internal = request.internal || options.internal;
        options.check_gateway_modes(internal)?;
        options.check_isolation(driver)?;
        let [enable_ipv4, enable_ipv6] = families::families(&request, &options, driver)?;
        let uplink = self.uplink(&request, &options, driver)?;
        self.check_peers(&options.peers, driver, internal)?;
        lan::check_dhcp(&request, &options, driver, enable_ipv4)?;
        let macvlan = match driver {
            Driver::Macvlan => Some(self.macvlan(&request, &options, id)?),
            _ => None,
        };
        let peers = options.peers;
        let (bridge, internal) = match &macvlan {
            Some(macvlan) if macvlan.has_dummy_parent() => (String::new(), true),
            _ if driver.has_bridge() => (self.bridge_name(options.bridge_name, id)?, internal),
            _ => (String::new(), internal || driver == Driver::Ptp),
        };
        let adopted =
            if uplink.is_some() || bridge.is_empty() { None } else { adopt::adopted(&self.host, &bridge) };
        let asked = match driver {
            Driver::Ptp => ptp::asked(&request)?,
            _ => adopt::with_own_addresses(&request.subnets, adopted.as_deref(), enable_ipv4, enable_ipv6),
        };
        let subnets = match &uplink {
            Some(uplink) => self.lan_subnets(&request, uplink, [enable_ipv4, enable_ipv6], context.rng)?,
            // The subnet of a network that dockerd describes is that of its pool.
            None => ipam::allocate_subnets(
                &request.name,
                &asked,
                enable_ipv4,
                enable_ipv6,
                &self.settings,
                &self.host,
                &self.taken(macvlan.as_ref(), request.id.is_some()),
                context.rng,
            )?,
        };
        peers::check_apart(&peers, &subnets)?;
        let static_routes = options.routes.routes.as_deref().unwrap_or_default();
        endpoint_route::check_subnets(&request.name, &subnets, static_routes)?;
        let mut warnings = options.warnings;
        warnings.extend(
            uplink.iter().filter(|_| !options.bridge.dhcp).flat_map(|uplink| lan::warnings(uplink, &subnets)),
        );
        let parent_mtu = request.parent.as_ref().and_then(|parent| parent.mtu);
        let network = Network {
            id,
            name: request.name,
            created: context.now,
            driver,
            predefined: false,
            transient: false,
            bridge,
            enable_ipv4,
            enable_ipv6,
            subnets,
            internal,
            masquerade: options.masquerade,
            icc: options.icc,
            mtu: options.mtu,
            host_binding: options.host_binding,
            adopted,
            bridge_options: options.bridge,
            peers,
            name_options: options.names,
            routes: options.routes,
            alias_answer: options.alias_answer,
            uplink,
            addresses_in_use: Default::default(),
            macvlan,
            ipam_options: request.ipam_options,
            configuration: None,
            config_from: request.config_from,
            options: request.options,
            labels: request.labels,
        };
        self.check_mtu(&network, parent_mtu)?;
        warnings.extend(self.check_host_overlap(&network)?);
        Ok((network, warnings))
    }

    /// Refuses a subnet by which the host would lose an address or a next hop, and warns of other overlaps with the host's
    /// addresses and routes.
    fn check_host_overlap(&self, network: &Network) -> Result<Vec<String>, Refusal> {
        let mut warnings = Vec::new();
        for subnet in network.subnets.iter().filter(|_| network.uplink.is_none()) {
            if !self.host_routes_to(network, subnet.subnet.addr().is_ipv4()) {
                continue;
            }
            if let Some(taken) = ipam::lost_host_address(subnet, &self.host, &network.bridge) {
                let (network, subnet) = (network.name.clone(), subnet.subnet);
                return Err(Refusal::SubnetOfHost { network, subnet, taken });
            }
            warnings.extend(ipam::host_overlap_warnings(&network.name, subnet, &self.host, &network.bridge));
        }
        Ok(warnings)
    }

    pub(super) fn remove_network(&mut self, reference: &str) -> Result<Change, Refusal> {
        let network = self.find_network(reference)?;
        if network.predefined {
            return Err(Refusal::PredefinedNetwork(network.name.clone()));
        }
        self.check_configuration_is_unused(network)?;
        let (id, name) = (network.id, network.name.clone());
        let running = self.endpoints_of_network(id).filter(|endpoint| endpoint.allocation.is_some());
        let names: Vec<_> = running
            .filter_map(|endpoint| self.sandbox(endpoint.sandbox).map(|s| (endpoint, s)))
            .map(|(endpoint, sandbox)| format!("name:{:?} id:\"{}\"", sandbox.name, endpoint.id.short()))
            .collect();
        if !names.is_empty() {
            return Err(Refusal::ActiveEndpoints { network: name, endpoints: names.join(", ") });
        }
        let mut change = Change { network: Some(id), ..Change::default() };
        change.record(RecordKey::Network(id)).owner(Owner::Network(id));
        let stopped: Vec<_> = self.endpoints_of_network(id).map(|e| (e.id, e.sandbox)).collect();
        for (endpoint, sandbox) in stopped {
            self.drop_endpoint(endpoint);
            change.record(RecordKey::Endpoint(endpoint)).owner(Owner::Endpoint(endpoint));
            change.owner(Owner::Sandbox(sandbox)).owner(Owner::Publications(sandbox));
            if let Some(sandbox) = self.sandboxes.get_mut(&sandbox).map(Arc::make_mut) {
                sandbox.removed_networks.push(name.clone());
                change.record(RecordKey::Sandbox(sandbox.id));
            }
        }
        self.drop_network(id);
        Ok(change)
    }
}

#[cfg(test)]
mod tests;
