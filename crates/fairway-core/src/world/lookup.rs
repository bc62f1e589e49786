//! Finding things by what users call them, and following the ties between them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::{Refusal, World};
use fairway_model::{
    Driver, Endpoint, EndpointId, HostRoute, Network, NetworkId, NetworkMode, Protocol, Sandbox, SandboxId,
};

/// The only key of `ids` that starts with `prefix`, or how many do. Ids are in the order of their digits.
fn by_prefix<K, V>(ids: &BTreeMap<K, V>, prefix: &str) -> Result<K, usize>
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
    let mut found = ids.range::<K, _>(first..=last).map(|(id, _)| *id);
    match (found.next(), found.count()) {
        (Some(id), 0) => Ok(id),
        (None, _) => Err(0),
        (Some(_), others) => Err(others + 1),
    }
}

impl World {
    /// The networks, in the order of their ids.
    pub fn networks(&self) -> impl Iterator<Item = &Network> {
        self.networks.values()
    }

    /// The sandboxes, in the order of their ids.
    pub fn sandboxes(&self) -> impl Iterator<Item = &Sandbox> {
        self.sandboxes.values()
    }

    /// The endpoints, in the order of their ids.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.values()
    }

    /// A network by its id.
    pub fn network(&self, id: NetworkId) -> Option<&Network> {
        self.networks.get(&id)
    }

    /// A sandbox by its id.
    pub fn sandbox(&self, id: SandboxId) -> Option<&Sandbox> {
        self.sandboxes.get(&id)
    }

    /// An endpoint by its id.
    pub fn endpoint(&self, id: EndpointId) -> Option<&Endpoint> {
        self.endpoints.get(&id)
    }

    /// The routes of the host that meet a network's subnets: one within a subnet leads its addresses
    /// elsewhere, one around it leads to some that cannot be reached, for they seem to be on the network.
    pub fn overlapping_routes<'a>(&'a self, network: &'a Network) -> impl Iterator<Item = &'a HostRoute> {
        let meets = |route: &&HostRoute| {
            network
                .subnets
                .iter()
                .any(|it| it.subnet.contains(&route.destination) || route.destination.contains(&it.subnet))
        };
        // The network of a LAN, and of a bridge of the user's own, is where the host's own route to it leads.
        let own = |route: &&HostRoute| {
            let uplink = network.uplink.as_ref();
            uplink.is_some_and(|it| route.interface == it.parent) || route.interface == network.bridge
        };
        self.host.routes.iter().filter(meets).filter(move |route| !own(route))
    }

    /// A network by full id, by name, or by a prefix of its id.
    ///
    /// # Errors
    /// There is none, or the prefix is that of several.
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
        self.networks.get(&id).ok_or_else(unknown)
    }

    /// A sandbox by full id, by name (with or without Docker's leading slash), or by a prefix of
    /// its id.
    ///
    /// # Errors
    /// There is none, or the prefix is that of several.
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
        self.sandboxes.get(&id).ok_or_else(unknown)
    }

    /// The endpoints on a network, in the order of their ids.
    pub fn endpoints_of_network(&self, id: NetworkId) -> impl Iterator<Item = &Endpoint> {
        self.index.by_network.get(&id).into_iter().flatten().filter_map(|id| self.endpoints.get(id))
    }

    /// The endpoints of a sandbox, those that joined first, first.
    pub fn endpoints_of_sandbox(&self, id: SandboxId) -> Vec<&Endpoint> {
        let ids = self.index.by_sandbox.get(&id).into_iter().flatten();
        let mut endpoints: Vec<_> = ids.filter_map(|id| self.endpoints.get(id)).collect();
        endpoints.sort_by_key(|endpoint| endpoint.order);
        endpoints
    }

    /// The endpoint of a sandbox on a network.
    pub fn endpoint_on(&self, sandbox: SandboxId, network: NetworkId) -> Option<&Endpoint> {
        self.endpoints_of_sandbox(sandbox).into_iter().find(|endpoint| endpoint.network == network)
    }

    /// The sandbox whose namespace `sandbox` lives in: its own, or for `container:NAME` the other's.
    pub fn namespace_owner<'a>(&'a self, sandbox: &'a Sandbox) -> Option<&'a Sandbox> {
        match &sandbox.mode {
            NetworkMode::Shared(other) => self.sandboxes.get(other),
            _ => Some(sandbox),
        }
    }

    /// The endpoint through which a running sandbox has its default route and its published ports,
    /// for one family: the highest `--gw-priority`, then one on a LAN, then one with both families, then by network
    /// name, as in Docker 29. Internal networks have no way out and are never it.
    pub fn gateway_endpoint(&self, sandbox: SandboxId, ipv4: bool) -> Option<&Endpoint> {
        let usable = |endpoint: &&Endpoint| {
            let network = self.networks.get(&endpoint.network);
            network.is_some_and(|network| !network.internal)
                && endpoint
                    .allocation
                    .as_ref()
                    .is_some_and(|allocation| allocation.addresses().any(|address| address.is_ipv4() == ipv4))
        };
        let rank = |endpoint: &&Endpoint| {
            let families = endpoint.allocation.iter().flat_map(|a| a.addresses()).count();
            let network = self.networks.get(&endpoint.network);
            // Who is put on the LAN is reached there: answers must not go another way.
            let lan = network.is_some_and(|network| network.driver == Driver::Lan);
            let name = network.map(|network| network.name.clone());
            (-endpoint.request.gateway_priority, !lan, 2 - families.min(2), name)
        };
        self.endpoints_of_sandbox(sandbox).into_iter().filter(usable).min_by_key(rank)
    }

    /// The endpoint of a running sandbox that ports are published of, for one family: its way out, unless that is
    /// a LAN, where every port is reached without.
    pub fn publishing_endpoint(&self, sandbox: SandboxId, ipv4: bool) -> Option<&Endpoint> {
        self.gateway_endpoint(sandbox, ipv4).filter(|endpoint| {
            let driver = self.networks.get(&endpoint.network).map(|network| network.driver);
            driver.is_some_and(|driver| driver.has_bridge() && driver != Driver::Lan)
        })
    }

    /// Where traffic to a published port of a sandbox goes, for one family.
    pub fn publication_target(&self, sandbox: SandboxId, ipv4: bool) -> Option<(&Endpoint, IpAddr)> {
        let endpoint = self.publishing_endpoint(sandbox, ipv4)?;
        let address = endpoint.allocation.as_ref()?.addresses().find(|address| address.is_ipv4() == ipv4)?;
        Some((endpoint, address))
    }

    /// Who publishes a port at exactly this address of the host.
    pub fn publisher(&self, protocol: Protocol, at: SocketAddr) -> Option<SandboxId> {
        self.index.ports.at(protocol, at.port(), at.ip())
    }

    /// The largest packet of a network in bytes: as its option says, or as on its LAN, or `--mtu`, or as on the
    /// default route's interface, or 1500.
    pub fn mtu(&self, network: &Network) -> u32 {
        let uplink = network.uplink.as_ref().map(|uplink| uplink.mtu);
        network.mtu.or(uplink).or(self.settings.mtu).or(self.host.mtu).unwrap_or(1500)
    }

    /// Whether the endpoints of a network may talk to one another: as its option says; for the
    /// default bridge alone, as in Docker, `--icc`.
    pub fn icc(&self, network: &Network) -> bool {
        network.icc.unwrap_or(network.user_defined() || self.settings.icc)
    }
}
