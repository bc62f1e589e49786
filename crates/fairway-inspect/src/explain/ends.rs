//! The two ends of a query: which namespace they are in, and by which address they are reached.

use std::net::IpAddr;

use fairway_core::world::World;
use fairway_model::{NetworkMode, SandboxId};
use fairway_walk::{Interface, NamespaceId, NetworkNamespace, Topology, is_link_local};

/// One end of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A running sandbox.
    Sandbox(SandboxId),
    /// The host.
    Host,
    /// A host on the LAN, with an address or with any.
    Lan(Option<IpAddr>),
    /// The owner of an address.
    Address(IpAddr),
    /// A network namespace of the topology, of whatever engine.
    Namespace(NamespaceId),
}

impl Peer {
    /// Whether the address is one of IPv4, of an end that is given by its address.
    pub fn is_ipv4(&self) -> Option<bool> {
        match self {
            Self::Address(address) | Self::Lan(Some(address)) => Some(address.is_ipv4()),
            Self::Sandbox(_) | Self::Host | Self::Lan(None) | Self::Namespace(_) => None,
        }
    }
}

/// Knows the ends of queries that are not addresses.
pub trait Ends {
    /// The name of an end in texts.
    fn name(&self, topology: &Topology, of: &Peer) -> String;
    /// The namespace that the programs of an end run in; none if it does not run.
    fn namespace(&self, topology: &Topology, of: &Peer) -> Option<NamespaceId>;
    /// The address by which an end is reached from another one: of the family of its address, else IPv4 first.
    fn address(&self, topology: &Topology, of: &Peer, from: &Peer) -> Option<IpAddr>;
}

impl Ends for World {
    fn name(&self, topology: &Topology, of: &Peer) -> String {
        match of {
            Peer::Sandbox(id) => self.sandbox(*id).map_or_else(|| id.to_string(), |it| it.name.clone()),
            other => ByTopology.name(topology, other),
        }
    }

    fn namespace(&self, topology: &Topology, of: &Peer) -> Option<NamespaceId> {
        let Peer::Sandbox(id) = of else { return ByTopology.namespace(topology, of) };
        let sandbox = self.sandbox(*id).filter(|sandbox| sandbox.running())?;
        if sandbox.mode == NetworkMode::Host {
            return Some(NamespaceId::HOST);
        }
        topology.of_sandbox(self.namespace_owner(sandbox)?.id)
    }

    fn address(&self, topology: &Topology, of: &Peer, from: &Peer) -> Option<IpAddr> {
        let Peer::Sandbox(id) = of else { return ByTopology.address(topology, of, from) };
        address_of(self, *id, from)
    }
}

/// The address of a sandbox for a peer: on a network that both share, else any.
fn address_of(world: &World, id: SandboxId, to: &Peer) -> Option<IpAddr> {
    let endpoints = world.endpoints_of_sandbox(id);
    let near = |network| matches!(to, Peer::Sandbox(other) if world.endpoint_on(*other, network).is_some());
    let shared = endpoints.iter().filter(|endpoint| near(endpoint.network));
    let addresses = shared.chain(&endpoints).filter_map(|it| it.allocation.as_ref());
    let addresses = addresses.flat_map(|allocation| allocation.addresses());
    addresses.min_by_key(|own| to.is_ipv4().is_some_and(|ipv4| own.is_ipv4() != ipv4))
}

/// The ends of a host of which nothing but its namespaces is known.
#[derive(Debug, Clone, Copy)]
pub struct ByTopology;

impl Ends for ByTopology {
    fn name(&self, topology: &Topology, of: &Peer) -> String {
        match of {
            Peer::Host => "host".to_owned(),
            Peer::Lan(None) => "lan".to_owned(),
            Peer::Lan(Some(address)) | Peer::Address(address) => address.to_string(),
            Peer::Namespace(id) => topology.name(*id).to_owned(),
            Peer::Sandbox(id) => id.to_string(),
        }
    }

    fn namespace(&self, topology: &Topology, of: &Peer) -> Option<NamespaceId> {
        match of {
            Peer::Host => Some(NamespaceId::HOST),
            Peer::Namespace(id) => Some(*id).filter(|id| id.0 < topology.namespaces.len()),
            Peer::Sandbox(id) => topology.of_sandbox(*id),
            Peer::Lan(_) | Peer::Address(_) => None,
        }
    }

    fn address(&self, topology: &Topology, of: &Peer, from: &Peer) -> Option<IpAddr> {
        let own = &topology[self.namespace(topology, of)?];
        let asking = self.namespace(topology, from).unwrap_or(NamespaceId::HOST);
        let shared = |address: &IpAddr| {
            let nets = topology[asking].interfaces.iter().filter(|it| !it.loopback);
            let mut nets =
                nets.flat_map(|it| &it.addresses).filter(|it| it.prefix_len() < it.max_prefix_len());
            nets.any(|net| net.contains(address))
        };
        let ipv4 = from.is_ipv4().unwrap_or(true);
        global_addresses(own).min_by_key(|address| (address.is_ipv4() != ipv4, !shared(address)))
    }
}

/// The addresses of a namespace by which others reach it.
fn global_addresses(namespace: &NetworkNamespace) -> impl Iterator<Item = IpAddr> {
    let usable = |it: &&Interface| !it.loopback && it.up;
    let all = namespace.interfaces.iter().filter(usable).flat_map(|it| &it.addresses);
    all.map(|net| net.addr()).filter(|address| !is_link_local(*address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fairway_walk::{Interface, add_interface, empty_namespace};

    fn namespace(name: &str, interfaces: &[&[&str]]) -> NetworkNamespace {
        let mut namespace = empty_namespace(name);
        for (place, addresses) in interfaces.iter().enumerate() {
            let interface = Interface {
                index: u32::try_from(place).unwrap() + 2,
                name: format!("eth{place}"),
                up: true,
                addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
                ..Interface::default()
            };
            add_interface(&mut namespace, interface);
        }
        namespace
    }

    fn reached(to: usize, from: Peer) -> Option<String> {
        let host = namespace("host", &[&["10.0.0.2/24"], &["172.18.0.1/16"]]);
        let web = namespace("web", &[&["172.17.0.2/16", "fd00::2/64"], &["172.18.0.2/16"]]);
        let db = namespace("db", &[&["172.18.0.3/16"], &["fe80::1/64", "172.17.0.3/16"]]);
        let six = namespace("six", &[&["fe80::3/64", "fd00::3/64"]]);
        let topology = Topology { namespaces: vec![host, web, db, six, namespace("none", &[])] };
        let address = ByTopology.address(&topology, &Peer::Namespace(NamespaceId(to)), &from);
        address.map(|it| it.to_string())
    }

    #[test]
    fn an_end_is_reached_by_the_address_of_a_network_that_both_have() {
        let of = |id| Peer::Namespace(NamespaceId(id));
        assert_eq!(reached(1, Peer::Host).as_deref(), Some("172.18.0.2"));
        assert_eq!(reached(1, of(2)).as_deref(), Some("172.17.0.2"));
        assert_eq!(reached(2, of(1)).as_deref(), Some("172.18.0.3"));
        assert_eq!(reached(1, Peer::Lan(None)).as_deref(), Some("172.18.0.2"));
        assert_eq!(reached(1, of(4)).as_deref(), Some("172.17.0.2"));
    }

    #[test]
    fn an_end_without_ipv4_is_reached_by_its_global_ipv6_address() {
        assert_eq!(reached(3, Peer::Host).as_deref(), Some("fd00::3"));
        assert_eq!(reached(4, Peer::Host), None);
        assert_eq!(reached(9, Peer::Host), None);
    }
}
