//! What the filter of a trace needs to know of this host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use fairway_containers::{Container, PublishedPort};
use fairway_inspect::trace::{Proxied, PublishedPair, TracedContainer, TracedHost};
use fairway_walk::{Interface, NamespaceId, NetworkNamespace, Topology};
use ipnet::IpNet;

use crate::host::Host;

impl Host {
    /// The namespaces of this host with what their containers publish. The place of each is its [`NamespaceId`].
    pub(super) fn traced(&self) -> TracedHost {
        let places: BTreeMap<u64, usize> =
            self.listed.iter().enumerate().map(|(place, it)| (it.namespace.inode, place)).collect();
        let mut guests: BTreeMap<usize, Vec<&Container>> = BTreeMap::new();
        for container in self.containers.containers.iter().filter(|it| it.state.exists()) {
            let place = container.namespace.as_ref().and_then(|it| places.get(&it.inode));
            guests.entry(place.copied().unwrap_or_default()).or_default().push(container);
        }
        let ports = |place: usize| guests.get(&place).into_iter().flatten().flat_map(|it| &it.ports);
        traced(&self.topology, |place| ports(place).flat_map(pairs).collect())
    }
}

/// The host of a topology, given what is published for the namespace at each place.
fn traced(topology: &Topology, published: impl Fn(usize) -> Vec<PublishedPair>) -> TracedHost {
    let host = topology.host();
    let addresses: Vec<IpAddr> = addresses(host).map(|net| net.addr()).collect();
    let gateways: Vec<IpAddr> = host
        .routes
        .iter()
        .filter(|it| it.destination.prefix_len() == 0)
        .filter_map(|it| it.gateway)
        .collect();
    let mut subnets: BTreeSet<IpNet> = BTreeSet::new();
    let mut proxied = Vec::new();
    let containers = topology.iter().map(|(id, namespace)| {
        let on_host = id == NamespaceId::HOST;
        let own = self::addresses(namespace).filter(|net| on_host || !addresses.contains(&net.addr()));
        let own: Vec<IpNet> = own.collect();
        let published = if on_host { Vec::new() } else { published(id.0) };
        if !on_host {
            // A router of the host, in a namespace, is outside.
            let inside =
                own.iter().filter(|net| !is_link_local(net.addr()) && !gateways.contains(&net.addr()));
            subnets.extend(inside.map(|net| network(*net, &gateways)));
            proxied.extend(published.iter().flat_map(|pair| connections(pair, &own)));
        }
        TracedContainer {
            label: namespace.name.clone(),
            // Programs in a namespace with loopback alone have packets for themselves only.
            running: !on_host && self::addresses(namespace).next().is_some(),
            on_host,
            addresses: own.iter().map(IpNet::addr).collect(),
            networks: namespace.interfaces.iter().filter_map(|it| segment(topology, it)).collect(),
            published,
            behind: behind(topology, id),
        }
    });
    let containers = containers.collect();
    TracedHost {
        addresses,
        subnets: subnets.into_iter().collect(),
        containers,
        proxied,
        bridges_seen: host.bridge_netfilter,
    }
}

/// The addresses of a namespace but those of loopback.
fn addresses(namespace: &NetworkNamespace) -> impl Iterator<Item = IpNet> {
    let interfaces = namespace.interfaces.iter().filter(|it| !it.loopback);
    interfaces.flat_map(|it| it.addresses.iter().copied())
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// The network of a container's address; of a container on the LAN of the host the address alone.
fn network(net: IpNet, gateways: &[IpAddr]) -> IpNet {
    if gateways.iter().any(|gateway| net.contains(gateway)) { net.addr().into() } else { net.trunc() }
}

/// The connections that a userland proxy makes for a published port.
fn connections(pair: &PublishedPair, own: &[IpNet]) -> impl Iterator<Item = Proxied> {
    let PublishedPair { host_address, host_port, container_port } = *pair;
    own.iter().filter_map(move |net| {
        Some(Proxied {
            protocol: host_port.1,
            at: SocketAddr::new(host_address, host_port.0),
            target: SocketAddr::new(net.addr(), container_port?.0),
        })
    })
}

fn pairs(port: &PublishedPort) -> impl Iterator<Item = PublishedPair> {
    let (protocol, host_address) = (port.protocol.number(), port.host_address);
    let (first, inner) = (port.host_ports.first, port.container_port);
    port.host_ports.iter().map(move |outer| PublishedPair {
        host_address,
        host_port: (outer, protocol),
        container_port: inner.map(|inner| (inner.saturating_add(outer - first), protocol)),
    })
}

/// What an interface shares with those of its neighbors: the bridge, the parent, or the pair that it leads to.
fn segment(topology: &Topology, interface: &Interface) -> Option<String> {
    if let Some(parent) = &interface.macvlan_parent {
        return Some(format!("{}/{}", parent.namespace.0, parent.parent));
    }
    let (namespace, index) = interface.peer?;
    let bridge = topology.namespaces.get(namespace.0)?.interface(index)?.bridge;
    Some(format!("{}/{}", namespace.0, bridge.unwrap_or(index)))
}

/// The namespaces that packets of a namespace pass on their way to the host, as those of rootless engines do: linked ones
/// that lead on to others, until one is linked to the host.
fn behind(topology: &Topology, id: NamespaceId) -> Vec<usize> {
    let interfaces =
        |place: usize| topology.namespaces.get(place).map(|it| it.interfaces.as_slice()).unwrap_or_default();
    let leads_elsewhere =
        |there: usize, from: usize| interfaces(there).iter().any(|it| !it.loopback && to(it) != Some(from));
    let mut found = vec![id.0];
    let mut next = 0;
    while let Some(place) = found.get(next).copied() {
        next += 1;
        let linked: BTreeSet<usize> = interfaces(place).iter().filter_map(to).collect();
        if linked.contains(&NamespaceId::HOST.0) || place == NamespaceId::HOST.0 {
            continue;
        }
        let on = linked.into_iter().filter(|there| leads_elsewhere(*there, place));
        let on: Vec<usize> = on.filter(|there| !found.contains(there)).collect();
        found.extend(on);
    }
    found.split_off(1)
}

/// The namespace that an interface leads to.
fn to(interface: &Interface) -> Option<usize> {
    let parent = interface.macvlan_parent.as_ref().map(|it| it.namespace.0);
    interface.peer.map(|(namespace, _)| namespace.0).or(parent)
}

#[cfg(test)]
mod tests {
    use fairway_walk::{Route, RouteKind};

    use super::*;

    fn interface(index: u32, addresses: &[&str], peer: Option<(usize, u32)>) -> Interface {
        Interface {
            index,
            name: format!("i{index}"),
            addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
            peer: peer.map(|(namespace, index)| (NamespaceId(namespace), index)),
            ..Interface::default()
        }
    }

    fn namespace(name: &str, interfaces: Vec<Interface>) -> NetworkNamespace {
        NetworkNamespace { name: name.to_owned(), interfaces, ..NetworkNamespace::default() }
    }

    /// A host with a LAN, a bridge with two containers, one behind a namespace of its own, and one on the LAN.
    fn topology() -> Topology {
        let mut host = namespace(
            "host",
            vec![
                interface(1, &["10.10.50.99/24"], None),
                interface(2, &["172.17.0.1/16"], None),
                Interface { bridge: Some(2), ..interface(3, &[], Some((1, 5))) },
                Interface { bridge: Some(2), ..interface(4, &[], Some((2, 5))) },
                interface(6, &[], Some((5, 5))),
            ],
        );
        host.routes = vec![Route {
            table: 254,
            destination: "0.0.0.0/0".parse().unwrap(),
            kind: RouteKind::Unicast,
            gateway: Some("10.10.50.1".parse().unwrap()),
            interface: 1,
            metric: 0,
            source: None,
        }];
        let rootless = vec![
            interface(7, &["10.10.50.99/24"], None),
            interface(8, &["10.88.0.1/16"], None),
            Interface { bridge: Some(8), ..interface(9, &[], Some((4, 5))) },
        ];
        let namespaces = vec![
            host,
            namespace("web", vec![interface(5, &["172.17.0.2/16", "fe80::2/64"], Some((0, 3)))]),
            namespace("other", vec![interface(5, &["172.17.0.3/16"], Some((0, 4)))]),
            namespace("rootless", rootless),
            namespace("inner", vec![interface(5, &["10.88.0.2/16"], Some((3, 9)))]),
            namespace("lan", vec![interface(5, &["10.10.50.7/24"], Some((0, 6)))]),
            namespace("router", vec![interface(5, &["10.10.50.1/24"], None)]),
            namespace("empty", vec![Interface { loopback: true, ..interface(1, &["127.0.0.1/8"], None) }]),
        ];
        Topology { namespaces }
    }

    #[test]
    fn subnets_are_those_of_containers_and_not_the_lan() {
        let subnets = traced(&topology(), |_| Vec::new()).subnets;
        let subnets: Vec<String> = subnets.iter().map(ToString::to_string).collect();
        assert_eq!(subnets, ["10.10.50.7/32", "10.88.0.0/16", "172.17.0.0/16"]);
    }

    #[test]
    fn containers_on_one_bridge_are_neighbors() {
        let all = traced(&topology(), |_| Vec::new()).containers;
        assert_eq!(all[1].networks, all[2].networks);
        assert!(
            all[1].networks.is_disjoint(&all[4].networks) && all[1].networks.is_disjoint(&all[5].networks)
        );
        let running: Vec<&str> = all.iter().filter(|it| it.running).map(|it| it.label.as_str()).collect();
        assert_eq!(running, ["web", "other", "rootless", "inner", "lan", "router"]);
    }

    #[test]
    fn packets_of_a_rootless_container_pass_the_namespace_before_the_host() {
        let all = traced(&topology(), |_| Vec::new()).containers;
        assert_eq!(all[4].behind, [3]);
        assert_eq!([&all[1].behind, &all[2].behind, &all[3].behind], [&[0; 0]; 3]);
    }

    #[test]
    fn an_address_that_the_host_has_too_is_no_containers_own() {
        let all = traced(&topology(), |_| Vec::new()).containers;
        assert_eq!(all[3].addresses, ["10.88.0.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn ports_that_are_published_have_a_pair_each() {
        let port = PublishedPort {
            protocol: fairway_model::Protocol::Udp,
            host_address: "0.0.0.0".parse().unwrap(),
            host_ports: fairway_model::PortRange { first: 8000, last: 8001 },
            container_port: Some(53),
        };
        let found: Vec<PublishedPair> = pairs(&port).collect();
        let ports: Vec<_> = found.iter().map(|it| (it.host_port, it.container_port)).collect();
        assert_eq!(ports, [((8000, 17), Some((53, 17))), ((8001, 17), Some((54, 17)))]);
        let unknown = PublishedPort { container_port: None, ..port };
        assert!(pairs(&unknown).all(|it| it.container_port.is_none()));
        let traced = traced(&topology(), |place| if place == 1 { found.clone() } else { Vec::new() });
        assert_eq!(traced.proxied.len(), 4, "for each address of the container");
        assert_eq!(traced.containers[1].published.len(), 2);
    }
}
