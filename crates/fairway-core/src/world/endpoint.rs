//! Connecting to and disconnecting from networks, and the allocation of addresses of endpoints.

use std::net::{IpAddr, Ipv4Addr};

use super::host_interface::check_has_host_interface;
use super::index::reserved_by_network;
use super::option::{check_can_be_limited, endpoint_options};
use super::{Change, Context, RecordKey, Refusal, Undecided, World, limit};
use fairway_model::Rng;
use fairway_model::parse;
use fairway_model::{
    Allocation, Driver, Endpoint, EndpointOptions, EndpointRequest, MacAddress, Macvlan, MacvlanMode,
    Network, NetworkId, NetworkMode, Sandbox, SandboxId, Subnet,
};
use fairway_model::{HOST_INTERFACE_DIGITS, HOST_INTERFACE_PREFIX, Owner};

impl World {
    /// What has an address that no endpoint of a network can have.
    fn owner_of_reserved(network: &Network, address: IpAddr) -> String {
        let subnet = network.subnet_for(address);
        if subnet.is_some_and(|subnet| subnet.gateway == address && network.reserves_gateway(subnet)) {
            return "the gateway".to_owned();
        }
        let auxiliary = subnet.and_then(|subnet| subnet.auxiliary.iter().find(|(_, aux)| **aux == address));
        match auxiliary {
            Some((name, _)) => format!("the auxiliary address {name}"),
            None => "reserved (the first or last of its subnet)".to_owned(),
        }
    }

    /// Checks a requested address. Whether another container has it is checked when the container starts, as in Docker:
    /// Compose creates a container anew before it removes the one in its place.
    pub(super) fn check_address(&self, network: &Network, address: IpAddr) -> Result<(), Refusal> {
        let outside = || Refusal::AddressOutside { address, network: network.name.clone() };
        let subnet = network.subnet_for(address).ok_or_else(outside)?;
        if !subnet.subnet.contains(&address) {
            return Err(outside());
        }
        if reserved_by_network(network).any(|it| it == address) || !usable(subnet, address) {
            let holder = Self::owner_of_reserved(network, address);
            return Err(Refusal::AddressInUse { address, network: network.name.clone(), holder });
        }
        Ok(())
    }

    /// Refuses an address that an endpoint of another container that runs has.
    pub(super) fn check_no_other_has(
        &self,
        network: &Network,
        endpoint: &Endpoint,
        address: IpAddr,
    ) -> Result<(), Refusal> {
        let holders = self.index.holders.get(&(network.id, address)).into_iter().flatten();
        let mut others = holders.filter(|id| **id != endpoint.id).filter_map(|id| self.endpoint(*id));
        let has =
            |other: &&Endpoint| other.allocation.iter().any(|it| it.addresses().any(|it| it == address));
        let Some(holder) = others.find(has).and_then(|other| self.sandbox(other.sandbox)) else {
            return Ok(());
        };
        let (network, holder) = (network.name.clone(), format!("that of container {}", holder.name));
        Err(Refusal::AddressInUse { address, network, holder })
    }

    /// Checks a link on the default network: its target must be connected to that network.
    fn check_link(&self, network: &Network, target: &str) -> Result<(), Refusal> {
        let unknown = |_| Refusal::LinkTarget { target: target.to_owned() };
        let linked = self.find_sandbox(target).map_err(unknown)?;
        let endpoints = self.endpoints_of_sandbox(linked.id);
        match endpoints.iter().any(|endpoint| endpoint.network == network.id) {
            true => Ok(()),
            false => Err(Refusal::LinkOutside { target: linked.name.clone(), network: network.name.clone() }),
        }
    }

    /// Checks the request of a new endpoint on `network`.
    pub(super) fn check_request(&self, network: &Network, request: &EndpointRequest) -> Result<(), Refusal> {
        limit::check_endpoint(request)?;
        let addresses = [request.ipv4.map(IpAddr::V4), request.ipv6.map(IpAddr::V6)];
        if !network.user_defined() {
            if addresses.iter().any(Option::is_some) {
                return Err(Refusal::AddressOnDefault(network.name.clone()));
            }
            if !request.aliases.is_empty() {
                return Err(Refusal::AliasOnDefault(network.name.clone()));
            }
            request.links.iter().try_for_each(|(target, _)| self.check_link(network, target))?;
        }
        let links = request.links.iter().map(|(_, alias)| alias);
        request.aliases.iter().chain(links).try_for_each(|alias| parse::alias(alias).map(drop))?;
        if let (Some(mac), Some(Macvlan { mode: MacvlanMode::Passthru, parent, .. })) =
            (request.mac, &network.macvlan)
        {
            let (network, parent) = (network.name.clone(), parent.clone());
            return Err(Refusal::MacOfParent { mac, network, parent });
        }
        addresses.into_iter().flatten().try_for_each(|address| self.check_address(network, address))
    }

    /// Checks what the endpoints of a sandbox are together, with a new one.
    pub(super) fn check_endpoints(
        &self,
        sandbox: SandboxId,
        request: &EndpointRequest,
    ) -> Result<(), Refusal> {
        let others = self.endpoints_of_sandbox(sandbox);
        limit::check_endpoints(others.iter().map(|endpoint| &endpoint.request).chain([request]))
    }

    /// A new endpoint without an allocation.
    pub(super) fn new_endpoint(
        &mut self,
        network: NetworkId,
        sandbox: SandboxId,
        request: EndpointRequest,
        options: EndpointOptions,
        rng: &mut Rng,
    ) -> Endpoint {
        let order = self.host_state.next_order;
        self.host_state.next_order += 1;
        let others = self.endpoints_of_sandbox(sandbox);
        let free = |number: &u8| others.iter().all(|other| other.number != *number);
        let number = (0..u8::MAX).find(free).unwrap_or(u8::MAX);
        Endpoint {
            id: rng.endpoint_id(),
            network,
            sandbox,
            order,
            number,
            request,
            options,
            allocation: None,
        }
    }

    /// The interface name of an endpoint: as requested, or the network's prefix (default `eth`) with the lowest free
    /// number.
    fn interface_for(&self, network: &Network, endpoint: &Endpoint) -> Result<String, Refusal> {
        let others = self.endpoints_of_sandbox(endpoint.sandbox);
        let used: Vec<_> = others
            .into_iter()
            .filter(|other| other.id != endpoint.id)
            .filter_map(|other| other.allocation.as_ref())
            .map(|allocation| allocation.interface.as_str())
            .collect();
        match &endpoint.options.interface {
            Some(asked) if used.contains(&asked.as_str()) => Err(Refusal::InterfaceTaken {
                interface: asked.clone(),
                sandbox: self.sandbox(endpoint.sandbox).map(|s| s.name.clone()).unwrap_or_default(),
            }),
            Some(asked) => Ok(asked.clone()),
            None => {
                let prefix = network.bridge_options.interface_prefix.as_deref().unwrap_or("eth");
                let free =
                    (0..).map(|n: u32| format!("{prefix}{n}")).find(|name| !used.contains(&name.as_str()));
                Ok(free.unwrap_or_default())
            }
        }
    }

    fn free_address(&self, network: &Network, subnet: &Subnet) -> Result<IpAddr, Refusal> {
        let range = subnet.ip_range.unwrap_or(subnet.subnet.into());
        let addresses = self.index.addresses.get(&network.id);
        let free = addresses.and_then(|addresses| {
            if network.addresses_in_use.is_empty() {
                return addresses.first_free(range, subnet.subnet);
            }
            let mut addresses = addresses.clone();
            for held in network.addresses_in_use.keys() {
                addresses.take(*held);
            }
            addresses.first_free(range, subnet.subnet)
        });
        free.ok_or_else(|| {
            Refusal::Ipam(crate::ipam::IpamError::Full { network: network.name.clone(), range })
        })
    }

    pub(super) fn mac_for(
        &self,
        endpoint: &Endpoint,
        ipv4: Option<IpAddr>,
        rng: &mut Rng,
    ) -> Result<MacAddress, Refusal> {
        let holder = |mac: MacAddress| self.index.macs.get(&mac).filter(|id| **id != endpoint.id);
        if let Some(asked) = endpoint.request.mac {
            let holder = holder(asked).and_then(|id| self.endpoint(*id));
            let sandbox = holder.and_then(|holder| self.sandbox(holder.sandbox));
            return match sandbox {
                Some(sandbox) => {
                    Err(Refusal::MacInUse { mac: asked.to_string(), holder: sandbox.name.clone() })
                }
                None => Ok(asked),
            };
        }
        let derived = ipv4.and_then(|address| match address {
            IpAddr::V4(address) => Some(MacAddress::from_ipv4(address)),
            IpAddr::V6(_) => None,
        });
        if let Some(mac) = derived.filter(|mac| holder(*mac).is_none()) {
            return Ok(mac);
        }
        loop {
            let [a, b, c, d, e, f, ..] = rng.bytes();
            let mac = MacAddress::from_random([a, b, c, d, e, f]);
            if holder(mac).is_none() {
                return Ok(mac);
            }
        }
    }

    /// Allocates addresses and interface names of an endpoint whose sandbox starts.
    pub(super) fn allocate(
        &self,
        endpoint: &Endpoint,
        context: &mut Context<'_>,
    ) -> Result<Allocation, Undecided> {
        let network = self
            .networks
            .get(&endpoint.network)
            .ok_or_else(|| Refusal::NoSuchNetwork(endpoint.network.to_string()))?;
        self.check_ports(network)?;
        self.check_host_interface(endpoint)?;
        let given = |asked: Option<IpAddr>, subnet: Option<&Subnet>| match (asked, subnet) {
            (Some(asked), Some(_)) => self.check_no_other_has(network, endpoint, asked).map(|()| Some(asked)),
            (None, Some(subnet)) => self.free_address(network, subnet).map(Some),
            (_, None) => Ok(None),
        };
        let (lease, ipv4) = if context.leases_unknown && Self::needs_lease(network, endpoint) {
            // It will have one, so that its network may be the way out; none that another endpoint could want.
            (None, Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
        } else {
            let lease = self.lease_for(network, endpoint, context)?;
            let asked = lease.as_ref().map(|lease| lease.address).or(endpoint.request.ipv4);
            (lease, given(asked.map(IpAddr::V4), network.ipv4())?)
        };
        // As in Docker, an endpoint with disable_ipv6=1 gets no IPv6 address.
        let ipv6 = match endpoint.options.disables_ipv6() {
            true => None,
            false => given(endpoint.request.ipv6.map(IpAddr::V6), network.ipv6())?,
        };
        let of_parent = network.macvlan.as_ref().and_then(|macvlan| macvlan.mac);
        let mac = match of_parent.or(lease.as_ref().map(|lease| lease.mac)) {
            Some(mac) => mac,
            None => self.mac_for(endpoint, ipv4, context.rng)?,
        };
        // Random at each start: the link of the last start may not be deleted yet.
        let digits = &context.rng.endpoint_id().to_string()[..HOST_INTERFACE_DIGITS];
        Ok(Allocation {
            ipv4: ipv4.and_then(|address| if let IpAddr::V4(v4) = address { Some(v4) } else { None }),
            ipv6: ipv6.and_then(|address| if let IpAddr::V6(v6) = address { Some(v6) } else { None }),
            mac,
            interface: self.interface_for(network, endpoint)?,
            host_interface: format!("{HOST_INTERFACE_PREFIX}{digits}"),
            lease,
        })
    }

    fn check_may_connect(&self, sandbox: &Sandbox, network: &Network) -> Result<(), Refusal> {
        match (&sandbox.mode, network.driver) {
            _ if network.configuration.is_some() => Err(Refusal::ConfigurationOnly(network.name.clone())),
            (_, Driver::Host) => Err(Refusal::HostMode),
            (NetworkMode::Host | NetworkMode::Shared(_), _) => Err(Refusal::SharedNamespace),
            (NetworkMode::None, _) | (_, Driver::Null) => Err(Refusal::NoneMode),
            (NetworkMode::Private, _) => self.check_endpoint_limit(network),
        }
    }

    /// Refuses an endpoint beyond the limit of a network.
    pub(super) fn check_endpoint_limit(&self, network: &Network) -> Result<(), Refusal> {
        let Some(most) = network.max_endpoints() else { return Ok(()) };
        let mut endpoints: Vec<_> = self.endpoints_of_network(network.id).collect();
        if endpoints.len() < most {
            return Ok(());
        }
        endpoints.sort_by_key(|endpoint| endpoint.order);
        let sandboxes = endpoints.iter().filter_map(|endpoint| self.sandbox(endpoint.sandbox));
        let holders: Vec<_> = sandboxes.map(|sandbox| sandbox.name.clone()).collect();
        Err(Refusal::NetworkFull {
            network: network.name.clone(),
            limit: match network.driver {
                Driver::Ptp => "the driver ptp joins two containers at most",
                _ => "in the mode passthru it takes one container",
            },
            holders: holders.join(", "),
        })
    }

    /// Refuses a running endpoint beyond the port limit of a network's bridge.
    fn check_ports(&self, network: &Network) -> Result<(), Refusal> {
        let Some(most) = network.max_ports() else { return Ok(()) };
        let all = self.index.by_network.get(&network.id).map_or(0, |endpoints| endpoints.len());
        let running = || self.endpoints_of_network(network.id).filter(|it| it.allocation.is_some()).count();
        match all >= most && running() >= most {
            true => Err(Refusal::BridgeFull {
                network: network.name.clone(),
                bridge: network.bridge.clone(),
                most: running(),
            }),
            false => Ok(()),
        }
    }

    /// Adds an endpoint to a change. Both endpoints of a ptp network are one object, which the network owns.
    pub(super) fn touch_endpoint(&self, endpoint: &Endpoint, change: &mut Change) {
        change.record(RecordKey::Endpoint(endpoint.id)).owner(Owner::Endpoint(endpoint.id));
        if self.network(endpoint.network).is_some_and(|network| network.driver == Driver::Ptp) {
            change.owner(Owner::Network(endpoint.network));
        }
    }

    pub(super) fn connect(
        &mut self,
        network: &str,
        sandbox: &str,
        request: EndpointRequest,
        context: &mut Context<'_>,
    ) -> Result<Change, Undecided> {
        let network = self.find_network(network)?.clone();
        let sandbox = self.find_sandbox(sandbox)?.clone();
        self.check_may_connect(&sandbox, &network)?;
        if self.endpoint_on(sandbox.id, network.id).is_some() {
            return Err(Refusal::AlreadyConnected {
                sandbox: sandbox.name.clone(),
                network: network.name.clone(),
            }
            .into());
        }
        self.check_request(&network, &request)?;
        self.check_endpoints(sandbox.id, &request)?;
        let (options, unknown) = endpoint_options(&request.driver_options)?;
        let others = self.endpoints_of_sandbox(sandbox.id).into_iter();
        let others = others.filter_map(|it| Some((self.network(it.network)?, &it.options)));
        self.check_static_routes(&network, &options, others)?;
        check_has_host_interface(&network, &options)?;
        check_can_be_limited(&network, &options)?;
        let request = self.link_by_id(&network, request)?;
        let mut endpoint = self.new_endpoint(network.id, sandbox.id, request, options, context.rng);
        if sandbox.running() {
            self.check_links(&sandbox, &endpoint)?;
            endpoint.allocation = Some(self.allocate(&endpoint, context)?);
        }
        self.put_endpoint(endpoint.clone());
        let (publications, refusals, mut warnings) = self.follow_gateways(&sandbox, context.rng);
        if let Some(refusal) = refusals.into_iter().next() {
            return Err(refusal.into());
        }
        warnings.extend(unknown);
        if !sandbox.publications.is_empty() {
            warnings.extend(self.no_way_out(&sandbox));
        }
        let mut change = Change { warnings, ..Change::default() };
        change.record(RecordKey::Host);
        self.touch_endpoint(&endpoint, &mut change);
        let mut updated = Sandbox {
            publications,
            resolver: sandbox.resolver || (sandbox.running() && network.resolves_names()),
            ..sandbox.clone()
        };
        updated.removed_networks.retain(|removed| *removed != network.name);
        self.touch_sandbox(updated, &mut change);
        change.network = Some(network.id);
        Ok(change)
    }

    pub(super) fn disconnect(
        &mut self,
        network: &str,
        sandbox: &str,
        rng: &mut Rng,
    ) -> Result<Change, Refusal> {
        let network = match self.find_network(network) {
            Ok(network) => network.clone(),
            Err(refusal) => return self.forget_removed(network, sandbox).ok_or(refusal),
        };
        let sandbox = self.find_sandbox(sandbox)?.clone();
        match (&sandbox.mode, network.driver) {
            (_, Driver::Host) => return Err(Refusal::HostMode),
            (NetworkMode::None, Driver::Null) => {
                let mut change = Change { network: Some(network.id), ..Change::default() };
                self.touch_sandbox(Sandbox { mode: NetworkMode::Private, ..sandbox }, &mut change);
                return Ok(change);
            }
            _ => {}
        }
        let Some(endpoint) = self.endpoint_on(sandbox.id, network.id).cloned() else {
            return Err(Refusal::NotConnected { sandbox: sandbox.name, network: network.name });
        };
        self.drop_endpoint(endpoint.id);
        let (publications, refusals, _) = self.follow_gateways(&sandbox, rng);
        let discarded = |refusal| format!("A published port of {} is discarded: {refusal}", sandbox.name);
        let warnings = refusals.into_iter().map(discarded).collect();
        let mut change = Change { network: Some(network.id), warnings, ..Change::default() };
        self.touch_endpoint(&endpoint, &mut change);
        self.touch_sandbox(Sandbox { publications, ..sandbox }, &mut change);
        self.forget_transient(network.id, &mut change);
        Ok(change)
    }

    /// Disconnects a stopped sandbox from a removed network, so that it can start.
    fn forget_removed(&mut self, network: &str, sandbox: &str) -> Option<Change> {
        let mut sandbox = self.find_sandbox(sandbox).ok()?.clone();
        let place = sandbox.removed_networks.iter().position(|removed| removed == network)?;
        sandbox.removed_networks.remove(place);
        let mut change = Change::default();
        self.touch_sandbox(sandbox, &mut change);
        Some(change)
    }

    /// Stores a sandbox, and adds it and the owners that depend on its endpoints to a change.
    pub(super) fn touch_sandbox(&mut self, sandbox: Sandbox, change: &mut Change) {
        let id = sandbox.id;
        self.put_sandbox(sandbox);
        change.record(RecordKey::Sandbox(id));
        change.owner(Owner::Sandbox(id)).owner(Owner::Publications(id));
        change.owners.extend(self.link_owners(id));
        change.sandbox = Some(id);
    }
}

/// Whether an endpoint can have an address of a subnet.
fn usable(subnet: &Subnet, address: IpAddr) -> bool {
    let only = ipnet::IpNet::from(address);
    crate::ipam::AddressSet::default().first_free(only, subnet.subnet) == Some(address)
}

#[cfg(test)]
mod tests;
