//! The picture of a host of several engines, from the links of its namespaces and the engines' records.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{Member, Network, Picture, Port, Sandbox, Uplink, Way, natural};
use crate::explain::{KnownContainer, KnownPort};
use fairway_model::{PortRange, SandboxId};
use fairway_walk::{Interface, NamespaceId, NetworkNamespace, Topology, is_link_local};

/// The identifier of a namespace of another engine in a picture.
fn identifier_of(namespace: NamespaceId) -> SandboxId {
    let mut bytes = [0; 32];
    let number = u64::try_from(namespace.0).unwrap_or_default().to_be_bytes();
    for (byte, digit) in bytes.iter_mut().zip(number) {
        *byte = digit;
    }
    SandboxId::new(bytes)
}

/// A network by its engine and its name.
type Key = (String, String);

/// A network while it is collected.
struct Found {
    bridge: Option<String>,
    /// The interface of the host that it is upon.
    upon: Option<String>,
    members: Vec<Member>,
}

impl Picture {
    /// The picture of a host's containers. `only` selects networks by name; empty means all.
    pub fn of_engines(
        hostname: String,
        topology: &Topology,
        containers: &[KnownContainer],
        only: &[&str],
    ) -> Self {
        let host = topology.host();
        let mut networks: BTreeMap<Key, Found> = BTreeMap::new();
        let mut sandboxes: Vec<Sandbox> = Vec::new();
        let (mut on_host, mut nowhere) = (Vec::new(), Vec::new());
        let mut groups = groups(containers);
        groups.sort_by(|one, other| natural(name(one), name(other)));
        for group in groups {
            let Some(first) = group.first() else { continue };
            let number = sandboxes.len();
            let places = members(topology, first, number);
            let places: Vec<_> = places
                .into_iter()
                .filter(|(key, ..)| only.is_empty() || only.contains(&key.1.as_str()))
                .collect();
            if places.is_empty() && !only.is_empty() {
                continue;
            }
            if places.is_empty() {
                let member = Member {
                    sandbox: number,
                    addresses: Vec::new(),
                    interface: String::new(),
                    port: String::new(),
                    home: true,
                };
                if first.namespace == Some(NamespaceId::HOST) {
                    on_host.push(member)
                } else {
                    nowhere.push(member)
                }
            }
            for (key, bridge, upon, member) in places {
                let found =
                    networks.entry(key).or_insert_with(|| Found { bridge, upon, members: Vec::new() });
                found.members.push(member);
            }
            sandboxes.push(sandbox(topology, &group, number));
        }
        let bridges: BTreeSet<&str> = networks.values().filter_map(|it| it.bridge.as_deref()).collect();
        let uplinks = uplinks(host, &bridges);
        let networks =
            networks.into_iter().map(|((engine, name), found)| network(host, &uplinks, engine, name, found));
        let mut networks: Vec<Network> = networks.collect();
        networks.sort_by(|one, other| {
            one.driver.cmp(&other.driver).then_with(|| natural(&one.name, &other.name))
        });
        for (mut group, members) in
            [(super::network::of_the_host(), on_host), (super::network::without_network(), nowhere)]
        {
            group.members = members;
            networks.extend(Some(group).filter(|it| !it.members.is_empty()));
        }
        let rules = vec!["Networks of one engine are kept apart by its own rules.".to_owned()];
        let mut picture = Self { host: hostname, rules, uplinks, networks, sandboxes, ..Self::default() };
        picture.find_places();
        picture
    }

    /// Marks the namespaces of a topology, so that walks through it are drawn in a picture of engines.
    pub fn mark_namespaces(topology: &mut Topology) {
        for (place, namespace) in topology.namespaces.iter_mut().enumerate().skip(1) {
            namespace.sandbox = Some(identifier_of(NamespaceId(place)));
        }
    }
}

/// Containers that share a namespace are drawn as one.
fn groups(containers: &[KnownContainer]) -> Vec<Vec<&KnownContainer>> {
    let mut groups: Vec<Vec<&KnownContainer>> = Vec::new();
    for container in containers {
        let same = |group: &&mut Vec<&KnownContainer>| {
            let own = container.namespace.filter(|it| *it != NamespaceId::HOST);
            own.is_some() && group.first().is_some_and(|it| it.namespace == own)
        };
        match groups.iter_mut().find(same) {
            // The container that the namespace was made for has its networks.
            Some(group) if group.first().is_some_and(|it| it.networks.is_empty()) => {
                group.insert(0, container)
            }
            Some(group) => group.push(container),
            None => groups.push(vec![container]),
        }
    }
    groups
}

/// The name of the container that containers are drawn as.
fn name<'a>(group: &[&'a KnownContainer]) -> &'a str {
    group.first().map_or("", |it| &it.name)
}

/// The places of a container on networks: key, bridge, interface of the host that the network is upon, and member.
fn members(
    topology: &Topology,
    container: &KnownContainer,
    number: usize,
) -> Vec<(Key, Option<String>, Option<String>, Member)> {
    let host = topology.host();
    let engine = || container.engine_name.clone();
    let texts = |addresses: &[IpNet]| -> Vec<String> {
        let global = addresses.iter().map(IpNet::addr).filter(|it| !is_link_local(*it));
        global.map(|it| it.to_string()).collect()
    };
    let mut found = Vec::new();
    if let Some(own) = container.namespace.filter(|it| *it != NamespaceId::HOST) {
        for interface in topology[own].interfaces.iter().filter(|it| !it.loopback && !it.addresses.is_empty())
        {
            let port = interface.peer.filter(|(at, _)| *at == NamespaceId::HOST);
            let port = port.and_then(|(_, index)| host.interface(index));
            let bridge = port.and_then(|it| host.interface(it.bridge?));
            let upon = interface.macvlan_parent.filter(|it| it.namespace == NamespaceId::HOST);
            let upon = upon.and_then(|it| host.interface(it.parent)).map(|it| it.name.clone());
            let name = recorded(container, interface)
                .or_else(|| bridge.map(|it| it.name.clone()))
                .or_else(|| upon.clone())
                .unwrap_or_else(|| port.map_or_else(|| interface.name.clone(), |it| it.name.clone()));
            let member = Member {
                sandbox: number,
                addresses: texts(&interface.addresses),
                interface: interface.name.clone(),
                port: port.map_or_else(String::new, |it| it.name.clone()),
                home: found.is_empty(),
            };
            found.push(((engine(), name), bridge.map(|it| it.name.clone()), upon, member));
        }
        return found;
    }
    if container.namespace.is_none() {
        for network in &container.networks {
            let member = Member {
                sandbox: number,
                addresses: network.addresses.iter().map(ToString::to_string).collect(),
                interface: String::new(),
                port: String::new(),
                home: found.is_empty(),
            };
            found.push(((engine(), network.name.clone()), None, None, member));
        }
    }
    found
}

/// The name of the network that an interface is on, by the engine's records.
fn recorded(container: &KnownContainer, interface: &Interface) -> Option<String> {
    let has = |address| interface.addresses.iter().any(|own| own.addr() == address);
    let network = container.networks.iter().find(|it| it.addresses.iter().any(|address| has(*address)))?;
    Some(network.name.clone())
}

fn sandbox(topology: &Topology, group: &[&KnownContainer], number: usize) -> Sandbox {
    let first = group.first().copied();
    let place = first.and_then(|it| it.namespace);
    let own = place.filter(|it| *it != NamespaceId::HOST);
    let mut notes = Vec::new();
    if place.is_none() {
        notes.push("does not run".to_owned());
    }
    notes.extend(group.iter().skip(1).map(|it| format!("with {}", it.name)));
    let ports: BTreeSet<Port> = group.iter().flat_map(|it| &it.ports).map(port).collect();
    Sandbox {
        id: identifier_of(own.unwrap_or(NamespaceId(topology.namespaces.len() + number))),
        name: own.map_or_else(
            || first.map_or_else(String::new, |it| it.name.clone()),
            |it| topology.name(it).to_owned(),
        ),
        running: place.is_some(),
        places: Vec::new(),
        ports: ports.into_iter().collect(),
        notes,
    }
}

fn port(of: &KnownPort) -> Port {
    let at = if of.host_address.is_unspecified() { "*".to_owned() } else { of.host_address.to_string() };
    let inside = of.container_port.map(|first| {
        let last = first.saturating_add(of.host_ports.last - of.host_ports.first);
        PortRange { first, last }.to_string()
    });
    Port {
        host: Some(format!("{at}:{}", of.host_ports)),
        inside: format!("{}/{}", inside.unwrap_or_else(|| "?".to_owned()), of.protocol),
    }
}

fn network(
    host: &NetworkNamespace,
    uplinks: &[Uplink],
    engine: String,
    name: String,
    found: Found,
) -> Network {
    let bridge = found.bridge.as_deref().and_then(|name| host.interface_named(name));
    let nets = || bridge.into_iter().flat_map(|it| &it.addresses).filter(|it| !is_link_local(it.addr()));
    Network {
        name,
        driver: engine,
        gateways: nets().map(|it| it.addr().to_string()).collect(),
        subnets: nets().map(|it| format!("{} · gateway {}", it.trunc(), it.addr())).collect(),
        marks: Vec::new(),
        way: found.bridge.is_some().then_some(Way::Nat),
        uplink: found.upon.as_ref().and_then(|name| uplinks.iter().position(|it| it.name == *name)),
        together: true,
        bridge: found.bridge.or(found.upon),
        members: found.members,
        traffic: None,
        collapsed: Vec::new(),
    }
}

/// The interfaces with an address or a default route that are no bridge of a network.
fn uplinks(host: &NetworkNamespace, bridges: &BTreeSet<&str>) -> Vec<Uplink> {
    let others = host.interfaces.iter().filter(|it| !it.loopback && !bridges.contains(it.name.as_str()));
    let found = others.map(|it| super::uplink::uplink(host, it));
    found.filter(|it| !it.addresses.is_empty() || !it.routers.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::{EngineWords, KnownNetwork};
    use crate::graph::{Format, draw};
    use fairway_model::Protocol;
    use fairway_walk::{add_interface, empty_namespace};

    const WEB: NamespaceId = NamespaceId(1);
    const DB: NamespaceId = NamespaceId(2);

    fn interface(index: u32, name: &str, kind: &str, net: &str) -> Interface {
        Interface {
            index,
            name: name.to_owned(),
            kind: kind.to_owned(),
            up: true,
            addresses: (!net.is_empty()).then(|| net.parse().unwrap()).into_iter().collect(),
            ..Interface::default()
        }
    }

    fn topology() -> Topology {
        let mut host = empty_namespace("host");
        add_interface(&mut host, interface(2, "eth0", "", "10.0.0.2/24"));
        add_interface(&mut host, interface(3, "docker0", "bridge", "172.17.0.1/16"));
        for (index, name) in [(4, "vethaaa"), (5, "vethbbb")] {
            add_interface(&mut host, Interface { bridge: Some(3), ..interface(index, name, "veth", "") });
        }
        let inside = |name: &str, net| {
            let mut inside = empty_namespace(name);
            add_interface(&mut inside, interface(2, "eth0", "veth", net));
            inside
        };
        let all = vec![host, inside("web", "172.17.0.2/16"), inside("netns:db", "172.17.0.3/16")];
        let mut topology = Topology { namespaces: all };
        topology.join((NamespaceId::HOST, 4), (WEB, 2));
        topology.join((NamespaceId::HOST, 5), (DB, 2));
        topology
    }

    fn container(engine: &str, name: &str, namespace: Option<NamespaceId>) -> KnownContainer {
        KnownContainer {
            engine: EngineWords::Docker,
            engine_name: engine.to_owned(),
            name: name.to_owned(),
            namespace,
            networks: Vec::new(),
            ports: Vec::new(),
        }
    }

    fn containers() -> Vec<KnownContainer> {
        let mut web = container("docker", "web", Some(WEB));
        web.networks =
            vec![KnownNetwork { name: "bridge".to_owned(), addresses: vec!["172.17.0.2".parse().unwrap()] }];
        web.ports = vec![KnownPort {
            protocol: Protocol::Tcp,
            host_address: "0.0.0.0".parse().unwrap(),
            host_ports: PortRange { first: 8080, last: 8081 },
            container_port: Some(80),
        }];
        let mut stopped = container("podman", "old", None);
        stopped.networks = vec![KnownNetwork { name: "podman".to_owned(), addresses: Vec::new() }];
        vec![
            container("docker", "sidecar", Some(WEB)),
            web,
            container("ip netns", "db", Some(DB)),
            container("docker", "agent", Some(NamespaceId::HOST)),
            stopped,
        ]
    }

    fn picture(only: &[&str]) -> Picture {
        Picture::of_engines("box".to_owned(), &topology(), &containers(), only)
    }

    #[test]
    fn networks_are_those_of_the_records_or_of_the_bridge() {
        let picture = picture(&[]);
        let names: Vec<String> =
            picture.networks.iter().map(|it| format!("{} {} {:?}", it.driver, it.name, it.bridge)).collect();
        assert_eq!(
            names,
            [
                "docker bridge Some(\"docker0\")",
                "ip netns docker0 Some(\"docker0\")",
                "podman podman None",
                " host None"
            ]
        );
        assert_eq!(picture.networks[0].subnets, ["172.17.0.0/16 · gateway 172.17.0.1"]);
        assert_eq!(picture.networks[0].members[0].port, "vethaaa");
        let uplinks: Vec<&str> = picture.uplinks.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(uplinks, ["eth0"]);
    }

    #[test]
    fn containers_in_one_namespace_are_drawn_once() {
        let picture = picture(&[]);
        let shown = |it: &Sandbox| {
            let ports: Vec<String> = it.ports.iter().map(Port::text).collect();
            format!("{} {} {:?} {:?}", it.name, it.running, ports, it.notes)
        };
        let shown: Vec<String> = picture.sandboxes.iter().map(shown).collect();
        assert_eq!(
            shown,
            [
                "agent true [] []",
                "netns:db true [] []",
                "old false [] [\"does not run\"]",
                "web true [\"*:8080-8081 → 80-81/tcp\"] [\"with sidecar\"]",
            ]
        );
    }

    #[test]
    fn a_network_is_selected_by_name() {
        let picture = picture(&["bridge"]);
        assert_eq!((picture.networks.len(), picture.sandboxes.len()), (1, 1));
        assert_eq!(picture.networks[0].name, "bridge");
    }

    #[test]
    fn every_format_draws_it() {
        for format in Format::ALL {
            let text = draw(&picture(&[]), format);
            for word in ["docker", "172.17.0.2", "8080-8081", "does not run"] {
                assert!(text.contains(word), "{format}: {word}");
            }
        }
    }

    #[test]
    fn marked_namespaces_are_those_of_the_picture() {
        let mut topology = topology();
        Picture::mark_namespaces(&mut topology);
        let picture = picture(&[]);
        let id = |name: &str| picture.sandboxes.iter().find(|it| it.name == name).map(|it| it.id);
        assert_eq!(topology[WEB].sandbox, id("web"));
        assert_eq!(topology[DB].sandbox, id("netns:db"));
        assert_eq!(topology.host().sandbox, None);
    }
}
