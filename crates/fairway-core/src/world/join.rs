//! Containers of other engines, on networks that those engines describe with each request.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Change, Context, CreateNetwork, CreateSandbox, Join, NetworkChoice, RecordKey};
use super::{Refusal, Undecided, World};
use fairway_model::{
    AddressInUse, EndpointRequest, Network, NetworkId, Owner, Rng, Sandbox, SandboxId, SubnetRequest,
};

impl World {
    pub(super) fn join(&mut self, request: Join, context: &mut Context<'_>) -> Result<Change, Undecided> {
        let mut change = Change::default();
        for network in request.networks {
            change.append(self.describe_network(network, context)?);
        }
        let Some(known) = self.sandbox(request.id).cloned() else {
            let sandbox = self.with_free_name(request.sandbox, &request.id.short());
            change.append(self.attach(request.id, sandbox, request.process, request.namespace, context)?);
            return Ok(change);
        };
        let same = known.namespace().map(|it| it.identity()) == request.namespace.map(|it| it.identity());
        if !known.running() || !same {
            return Err(Refusal::OtherNamespace(known.name).into());
        }
        change.append(self.join_further(&known, request.sandbox, context)?);
        Ok(change)
    }

    /// Connects a running sandbox to further networks, and publishes the ports that it does not publish yet.
    fn join_further(
        &mut self,
        known: &Sandbox,
        request: CreateSandbox,
        context: &mut Context<'_>,
    ) -> Result<Change, Undecided> {
        let id = known.id.to_string();
        let mut change = Change::default();
        let endpoints = match request.network {
            NetworkChoice::Networks(endpoints) => endpoints,
            _ => Vec::<(String, EndpointRequest)>::new(),
        };
        let own = self.endpoints_of_sandbox(known.id);
        let names: Vec<_> = own.iter().filter_map(|it| self.network(it.network)).map(|it| &it.name).collect();
        if let Some((network, _)) = endpoints.iter().find(|(network, _)| names.contains(&network)) {
            let (sandbox, network) = (known.name.clone(), network.clone());
            return Err(Refusal::AlreadyJoined { sandbox, network }.into());
        }
        for (network, endpoint) in endpoints {
            change.append(self.connect(&network, &id, endpoint, context)?);
        }
        let mut ports = request.options.publish;
        ports.retain(|port| !known.options.publish.contains(port));
        if !ports.is_empty() {
            change.append(self.publish(&id, ports, context)?);
        }
        Ok(change)
    }

    /// The request with a name that no other sandbox has: engines name their containers without regard to others.
    fn with_free_name(&self, mut request: CreateSandbox, suffix: &str) -> CreateSandbox {
        let taken = |name: &String| self.index.sandbox_names.contains_key(name);
        request.name = request.name.map(|name| if taken(&name) { format!("{name}-{suffix}") } else { name });
        request
    }

    pub(super) fn leave(
        &mut self,
        reference: &str,
        networks: &[String],
        rng: &mut Rng,
    ) -> Result<Change, Refusal> {
        let id = self.find_sandbox(reference)?.id;
        let mut change = Change { sandbox: Some(id), ..Change::default() };
        let endpoints = self.endpoints_of_sandbox(id);
        let on = endpoints.iter().filter_map(|endpoint| self.network(endpoint.network));
        let left: Vec<String> = on
            .filter(|network| networks.is_empty() || networks.contains(&network.name))
            .map(|network| network.name.clone())
            .collect();
        if left.len() == endpoints.len() {
            change.append(self.forget_sandbox(id));
            return Ok(change);
        }
        for network in left {
            change.append(self.disconnect(&network, &id.to_string(), rng)?);
        }
        Ok(change)
    }

    /// Removes a transient network that no endpoint is on.
    pub(super) fn forget_transient(&mut self, id: NetworkId, change: &mut Change) {
        let unused = self.endpoints_of_network(id).next().is_none();
        if unused && self.network(id).is_some_and(|network| network.transient) {
            self.drop_network(id);
            change.record(RecordKey::Network(id)).owner(Owner::Network(id));
        }
    }

    /// Creates a transient network, or compares one that exists with its description.
    fn describe_network(
        &mut self,
        request: CreateNetwork,
        context: &mut Context<'_>,
    ) -> Result<Change, Refusal> {
        let existing = self.index.network_names.get(&request.name).and_then(|id| self.network(*id));
        let Some(existing) = existing.cloned() else {
            let change = self.create_network(request, context)?;
            if let Some(mut network) = change.network.and_then(|id| self.network(id)).cloned() {
                network.transient = true;
                let of_it = context.addresses_in_use.iter().filter(|(name, ..)| *name == network.name);
                let held = of_it.map(|(_, at, mac)| (*at, AddressInUse { mac: *mac, at: context.now }));
                network.addresses_in_use.extend(held);
                self.put_network(network);
            }
            return Ok(change);
        };
        let request = self.with_default_options(request, existing.driver);
        if let Some(part) = differing_part(&existing, &request) {
            return Err(self.network_differs(&existing, part));
        }
        // What a user created stays as it is.
        if !existing.transient
            || (existing.options == request.options && existing.internal == request.internal)
        {
            return Ok(Change::default());
        }
        self.replace_network(&existing, request, context)
    }

    pub(super) fn update_network(
        &mut self,
        reference: &str,
        options: &BTreeMap<String, Option<String>>,
        context: &mut Context<'_>,
    ) -> Result<Change, Refusal> {
        let existing = self.find_network(reference)?.clone();
        if existing.predefined {
            return Err(Refusal::PredefinedName(existing.name));
        }
        let mut request = description(&existing);
        for (name, value) in options {
            match value {
                Some(value) => drop(request.options.insert(name.clone(), value.clone())),
                None => drop(request.options.remove(name)),
            }
        }
        self.replace_network(&existing, request, context)
    }

    /// Changes a network in place: its endpoints, and what was decided for it, stay.
    fn replace_network(
        &mut self,
        existing: &Network,
        mut request: CreateNetwork,
        context: &mut Context<'_>,
    ) -> Result<Change, Refusal> {
        let id = existing.id;
        let chosen = |network: &SubnetRequest| network.subnet.map(|subnet| subnet.addr().is_ipv4());
        let asked: Vec<_> = request.subnets.iter().filter_map(chosen).collect();
        let decided = description(existing).subnets.into_iter();
        request.subnets.extend(decided.filter(|it| chosen(it).is_some_and(|ipv4| !asked.contains(&ipv4))));
        let mut without = self.clone();
        without.drop_network(id);
        let (new, warnings) = without.new_network(request, id, context)?;
        self.check_replacement(existing, &new)?;
        let new = Network {
            subnets: existing.subnets.clone(),
            created: existing.created,
            transient: existing.transient,
            adopted: existing.adopted.clone(),
            addresses_in_use: existing.addresses_in_use.clone(),
            ..new
        };
        let mut change = Change { network: Some(id), warnings, ..Change::default() };
        change.record(RecordKey::Network(id)).owner(Owner::Network(id));
        self.put_network(new);
        let endpoints: Vec<_> = self.endpoints_of_network(id).map(|it| (it.id, it.sandbox)).collect();
        for (endpoint, sandbox) in endpoints {
            change.owner(Owner::Endpoint(endpoint));
            self.check_routes_again(id, sandbox)?;
            self.follow_network(sandbox, &mut change, context.rng)?;
        }
        self.switch_forwarding(&mut change);
        Ok(change)
    }

    /// Adapts a sandbox to a network of its own that has changed.
    fn follow_network(
        &mut self,
        sandbox: SandboxId,
        change: &mut Change,
        rng: &mut Rng,
    ) -> Result<(), Refusal> {
        let Some(sandbox) = self.sandbox(sandbox).cloned() else { return Ok(()) };
        let (publications, refusals, warnings) = self.follow_gateways(&sandbox, rng);
        if let Some(refusal) = refusals.into_iter().next() {
            return Err(refusal);
        }
        change.warnings.extend(warnings);
        let endpoints = self.endpoints_of_sandbox(sandbox.id).into_iter();
        let names = endpoints.filter_map(|it| self.network(it.network)).any(Network::resolves_names);
        let resolver = sandbox.resolver || (sandbox.running() && names);
        self.touch_sandbox(Sandbox { publications, resolver, ..sandbox }, change);
        Ok(())
    }

    /// Refuses a change of what endpoints rest on.
    fn check_replacement(&self, existing: &Network, new: &Network) -> Result<(), Refusal> {
        let reserved = |network: &Network| {
            let subnets = network.subnets.iter().filter(|subnet| network.reserves_gateway(subnet));
            subnets.map(|subnet| subnet.gateway).collect::<Vec<_>>()
        };
        let numbers = |network: &Network| {
            let subnets = network.subnets.iter().map(|it| (it.subnet, it.gateway));
            subnets.collect::<Vec<_>>()
        };
        let held = |address: &IpAddr| self.index.holders.contains_key(&(existing.id, *address));
        let parts = [
            (existing.driver != new.driver, "driver"),
            (existing.bridge != new.bridge, "bridge"),
            (existing.uplink != new.uplink || existing.macvlan != new.macvlan, "parent interface"),
            (existing.enable_ipv4 != new.enable_ipv4, "setting of IPv4"),
            (existing.enable_ipv6 != new.enable_ipv6, "setting of IPv6"),
            (numbers(existing) != numbers(new), "subnet"),
            (reserved(new).iter().any(held), "gateway"),
        ];
        match parts.into_iter().find(|(differs, _)| *differs) {
            Some((_, part)) => Err(self.network_differs(existing, part)),
            None => Ok(()),
        }
    }

    fn network_differs(&self, network: &Network, part: &'static str) -> Refusal {
        let mut endpoints: Vec<_> = self.endpoints_of_network(network.id).collect();
        endpoints.sort_by_key(|endpoint| endpoint.order);
        let sandboxes = endpoints.iter().filter_map(|endpoint| self.sandbox(endpoint.sandbox));
        let containers: Vec<_> = sandboxes.map(|sandbox| sandbox.name.as_str()).collect();
        let disconnect = format!("disconnect its containers first ({})", containers.join(", "));
        let remove = format!("fairway network rm {}", network.name);
        let way_out = match (containers.is_empty(), network.transient) {
            (true, _) => format!("remove it first ({remove})"),
            // It ends with its last container.
            (false, true) => disconnect,
            (false, false) => format!("{disconnect} and remove it ({remove})"),
        };
        Refusal::NetworkDiffers { network: network.name.clone(), part, way_out }
    }
}

/// The request that a network could be created by again.
fn description(network: &Network) -> CreateNetwork {
    let subnets = network.subnets.iter().map(|subnet| SubnetRequest {
        subnet: Some(subnet.subnet),
        gateway: Some(subnet.gateway),
        ip_range: subnet.ip_range,
        auxiliary: subnet.auxiliary.clone(),
    });
    CreateNetwork {
        id: Some(network.id),
        name: network.name.clone(),
        driver: network.driver.to_string(),
        subnets: subnets.collect(),
        enable_ipv4: Some(network.enable_ipv4),
        enable_ipv6: Some(network.enable_ipv6),
        internal: network.internal,
        options: network.options.clone(),
        labels: network.labels.clone(),
        ipam_options: network.ipam_options.clone(),
        config_only: false,
        config_from: None,
        uplink: network.uplink.clone().map(Box::new),
        parent: None,
    }
}

/// The first part of a description that an existing network has otherwise, and that cannot be changed in place.
fn differing_part(network: &Network, request: &CreateNetwork) -> Option<&'static str> {
    const BRIDGE: &str = "com.docker.network.bridge.name";
    let driver = network.driver.name();
    let option = |name: &str| network.options.get(name) != request.options.get(name);
    let subnet = |asked: &SubnetRequest| {
        let Some(wanted) = asked.subnet else { return true };
        network.subnet_for(wanted.addr()).is_some_and(|subnet| {
            subnet.subnet == wanted.trunc() && asked.gateway.is_none_or(|gateway| gateway == subnet.gateway)
        })
    };
    let parts = [
        (!matches!(request.driver.as_str(), "" | "default") && request.driver != driver, "driver"),
        (option(BRIDGE), "bridge"),
        (option(super::PARENT_OPTION), "parent interface"),
        (request.enable_ipv6.is_some_and(|it| it != network.enable_ipv6), "setting of IPv6"),
        (!request.subnets.iter().all(subnet), "subnet"),
    ];
    parts.into_iter().find(|(differs, _)| *differs).map(|(_, part)| part)
}

#[cfg(test)]
mod tests;
