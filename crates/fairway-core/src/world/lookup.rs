//! Lookups of networks, sandboxes and endpoints by id, name and relation.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use imbl::OrdMap;

use super::{Refusal, World};
use fairway_model::address_range::overlap;
use fairway_model::{
    Driver, Endpoint, EndpointId, HostRoute, IPV6_MIN_MTU, Network, NetworkId, NetworkMode, Protocol,
    Publication, Sandbox, SandboxId,
};

/// The only key of `ids` that starts with `prefix`, or the number of such keys. The order of ids is that of their
/// digits.
fn by_prefix<K, V>(ids: &OrdMap<K, V>, prefix: &str) -> Result<K, usize>
where
    K: Copy + Ord + FromStr,
{
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if prefix.is_empty() || !prefix.bytes().all(is_digit) {
        return Err(0);
    }
    let first = format!("{prefix:0<64}").parse::<K>();
    let last = format!("{prefix:f<64}").parse::<K>();
    let (Ok(first), Ok(last)) = (first, last) else { return Err(0) };
    let mut found = ids.range(first..=last).map(|(id, _)| *id);
    match (found.next(), found.count()) {
        (Some(id), 0) => Ok(id),
        (None, _) => Err(0),
        (Some(_), others) => Err(others + 1),
    }
}

impl World {
    /// The networks, in the order of their ids.
    pub fn networks(&self) -> impl Iterator<Item = &Network> {
        self.networks.values().map(|it| &**it)
    }

    /// The sandboxes, in the order of their ids.
    pub fn sandboxes(&self) -> impl Iterator<Item = &Sandbox> {
        self.sandboxes.values().map(|it| &**it)
    }

    /// The endpoints, in the order of their ids.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.values().map(|it| &**it)
    }

    /// A network by its id.
    pub fn network(&self, id: NetworkId) -> Option<&Network> {
        self.networks.get(&id).map(|it| &**it)
    }

    /// A sandbox by its id.
    pub fn sandbox(&self, id: SandboxId) -> Option<&Sandbox> {
        self.sandboxes.get(&id).map(|it| &**it)
    }

    /// An endpoint by its id.
    pub fn endpoint(&self, id: EndpointId) -> Option<&Endpoint> {
        self.endpoints.get(&id).map(|it| &**it)
    }

    /// The routes of the host that overlap a network's subnets. A route within a subnet diverts traffic to endpoints; the
    /// addresses of a wider route that are in the subnet cannot be reached.
    pub fn overlapping_routes<'a>(&'a self, network: &'a Network) -> impl Iterator<Item = &'a HostRoute> {
        let meets = |route: &&HostRoute| {
            let mut subnets = network.subnets.iter().map(|it| it.subnet);
            subnets
                .any(|it| overlap(it, route.destination) && self.host_routes_to(network, it.addr().is_ipv4()))
        };
        // The host's own route to a LAN, or to the subnet of an existing bridge, is no overlap.
        let own = |route: &&HostRoute| {
            let uplink = network.uplink.as_ref();
            uplink.is_some_and(|it| route.interface == it.parent) || route.interface == network.bridge
        };
        self.host.routes.iter().filter(move |route| meets(route)).filter(move |route| !own(route))
    }

    /// Finds a network by full id, by name, or by a unique prefix of its id.
    ///
    /// # Errors
    /// No network matches, or the prefix is ambiguous.
    pub fn find_network(&self, reference: &str) -> Result<&Network, Refusal> {
        let unknown = || Refusal::NoSuchNetwork(reference.to_owned());
        let exact = reference.parse().ok().filter(|id| self.networks.contains_key(id));
        let id = match exact.or_else(|| self.index.network_names.get(reference).copied()) {
            Some(id) => id,
            None => by_prefix(&self.networks, reference).map_err(|count| match count {
                0 => unknown(),
                count => Refusal::AmbiguousNetwork { reference: reference.to_owned(), count },
            })?,
        };
        self.network(id).ok_or_else(unknown)
    }

    /// Finds a sandbox by full id, by name (with or without Docker's leading slash), or by a unique prefix of its id.
    ///
    /// # Errors
    /// No sandbox matches, or the prefix is ambiguous.
    pub fn find_sandbox(&self, reference: &str) -> Result<&Sandbox, Refusal> {
        let unknown = || Refusal::NoSuchSandbox(reference.to_owned());
        let name = reference.strip_prefix('/').unwrap_or(reference);
        let exact = name.parse().ok().filter(|id| self.sandboxes.contains_key(id));
        let id = match exact.or_else(|| self.index.sandbox_names.get(name).copied()) {
            Some(id) => id,
            None => by_prefix(&self.sandboxes, name).map_err(|count| match count {
                0 => unknown(),
                count => Refusal::AmbiguousSandbox { reference: reference.to_owned(), count },
            })?,
        };
        self.sandbox(id).ok_or_else(unknown)
    }

    /// The endpoints on a network, in the order of their ids.
    pub fn endpoints_of_network(&self, id: NetworkId) -> impl Iterator<Item = &Endpoint> {
        self.index.by_network.get(&id).into_iter().flatten().filter_map(|id| self.endpoint(*id))
    }

    /// The endpoints of a sandbox, oldest first.
    pub fn endpoints_of_sandbox(&self, id: SandboxId) -> Vec<&Endpoint> {
        let ids = self.index.by_sandbox.get(&id).into_iter().flatten();
        let mut endpoints: Vec<_> = ids.filter_map(|id| self.endpoint(*id)).collect();
        endpoints.sort_by_key(|endpoint| endpoint.order);
        endpoints
    }

    /// The endpoint of a sandbox on a network.
    pub fn endpoint_on(&self, sandbox: SandboxId, network: NetworkId) -> Option<&Endpoint> {
        self.endpoints_of_sandbox(sandbox).into_iter().find(|endpoint| endpoint.network == network)
    }

    /// The sandbox that owns the namespace of `sandbox`: itself, or with `--network container:NAME` the other one.
    pub fn namespace_owner<'a>(&'a self, sandbox: &'a Sandbox) -> Option<&'a Sandbox> {
        match &sandbox.mode {
            NetworkMode::Shared(other) => self.sandbox(*other),
            _ => Some(sandbox),
        }
    }

    /// The endpoint of a running sandbox for traffic with the outside, for one family: one that may have the default
    /// route before others, then the one with the highest `--gw-priority`, then one on a lan network, then one with both
    /// families, then the first by network name, as in Docker 29. Endpoints on internal networks are excluded.
    pub fn gateway_endpoint(&self, sandbox: SandboxId, ipv4: bool) -> Option<&Endpoint> {
        let usable = |endpoint: &&Endpoint| {
            let network = self.network(endpoint.network);
            network.is_some_and(|network| !network.internal)
                && endpoint
                    .allocation
                    .as_ref()
                    .is_some_and(|allocation| allocation.addresses().any(|address| address.is_ipv4() == ipv4))
        };
        let rank = |endpoint: &&Endpoint| {
            let families = endpoint.allocation.iter().flat_map(|a| a.addresses()).count();
            let network = self.network(endpoint.network);
            // A sandbox on a LAN is reached there, and its answers must take the same way.
            let lan = network.is_some_and(|network| network.driver == Driver::Lan);
            let name = network.map(|network| network.name.clone());
            let without_route = !self.may_have_default_route(endpoint);
            (without_route, -endpoint.request.gateway_priority, !lan, families < 2, name)
        };
        self.endpoints_of_sandbox(sandbox).into_iter().filter(usable).min_by_key(rank)
    }

    /// The endpoint of a running sandbox that has its default route, for one family; none with `fairway.default_route=false`
    /// on all of them.
    pub fn default_route_endpoint(&self, sandbox: SandboxId, ipv4: bool) -> Option<&Endpoint> {
        self.gateway_endpoint(sandbox, ipv4).filter(|endpoint| self.may_have_default_route(endpoint))
    }

    /// The endpoint of a running sandbox whose ports are published, for one family: the gateway endpoint, unless it is on
    /// a LAN, where every port is directly accessible.
    pub fn publishing_endpoint(&self, sandbox: SandboxId, ipv4: bool) -> Option<&Endpoint> {
        self.gateway_endpoint(sandbox, ipv4).filter(|endpoint| {
            let driver = self.network(endpoint.network).map(|network| network.driver);
            driver.is_some_and(|driver| driver.has_bridge() && driver != Driver::Lan)
        })
    }

    /// The endpoint and address that the published ports of a sandbox lead to, for one family.
    pub fn publication_target(&self, sandbox: SandboxId, ipv4: bool) -> Option<(&Endpoint, IpAddr)> {
        let endpoint = self.publishing_endpoint(sandbox, ipv4)?;
        let address = endpoint.allocation.as_ref()?.addresses().find(|address| address.is_ipv4() == ipv4)?;
        Some((endpoint, address))
    }

    /// Whether the relay answers at the host address of a publication, and connects to either address family.
    pub fn is_proxied(&self, sandbox: &Sandbox, publication: &Publication) -> bool {
        self.settings.userland_proxy
            && publication.protocol.supports_proxy()
            && !sandbox.options.ports_held_by_engine
    }

    /// Whether a publication leads to an address of its sandbox. At an address of the other family it does so by the
    /// proxy alone.
    pub fn leads_to_sandbox(&self, sandbox: &Sandbox, publication: &Publication) -> bool {
        let ipv4 = publication.host_address.is_ipv4();
        let has_target = |ipv4| self.publication_target(sandbox.id, ipv4).is_some();
        publication.routed || has_target(ipv4) || (self.is_proxied(sandbox, publication) && has_target(!ipv4))
    }

    /// The sandbox that publishes a port at exactly this host address.
    pub fn publisher(&self, protocol: Protocol, at: SocketAddr) -> Option<SandboxId> {
        self.index.ports.at(protocol, at.port(), at.ip())
    }

    /// The MTU of a network in bytes: by its option, else of its uplink, else `--mtu`, else of the default route's
    /// interface, else 1500. A network with IPv6 has at least the minimum of IPv6 where no user chose its MTU.
    pub fn mtu(&self, network: &Network) -> u32 {
        let uplink = network.uplink.as_ref().map(|uplink| uplink.mtu);
        let least = if network.enable_ipv6 { IPV6_MIN_MTU } else { 0 };
        let of_host = self.host.mtu.map(|mtu| mtu.max(least));
        network.mtu.or(uplink).or(self.settings.mtu).or(of_host).unwrap_or(1500)
    }

    /// Refuses IPv6 on a network whose MTU is below the minimum of IPv6. The MTU of a macvlan network is its parent's
    /// unless an option has another.
    pub(super) fn check_mtu(&self, network: &Network, parent: Option<u32>) -> Result<(), Refusal> {
        let mtu = match &network.macvlan {
            Some(_) => network.mtu.or(parent),
            None => Some(self.mtu(network)),
        };
        match mtu.filter(|mtu| network.enable_ipv6 && *mtu < IPV6_MIN_MTU) {
            Some(mtu) => Err(Refusal::MtuWithoutIpv6 { network: network.name.clone(), mtu }),
            None => Ok(()),
        }
    }

    /// Whether the endpoints of a network may communicate with one another: by its option, else for the default bridge
    /// `--icc`, else yes, as in Docker.
    pub fn icc(&self, network: &Network) -> bool {
        network.icc.unwrap_or(network.user_defined() || self.settings.icc)
    }
}

#[cfg(test)]
mod tests;
