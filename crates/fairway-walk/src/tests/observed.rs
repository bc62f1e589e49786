//! Planned namespaces that are replaced with observed ones.

use super::{TCP, address};
use crate::{
    Interface, Listener, MacvlanParent, NamespaceId, NetworkNamespace, Survey, Topology, empty_namespace,
};
use fairway_model::{MacAddress, MacvlanMode, SandboxId};

const HOST: NamespaceId = NamespaceId::HOST;
const ONE: NamespaceId = NamespaceId(1);
const OTHER: NamespaceId = NamespaceId(2);

fn interface(index: u32, name: &str, peer: Option<(NamespaceId, u32)>) -> Interface {
    Interface { index, name: name.to_owned(), mac: mac(index), peer, ..Interface::default() }
}

fn mac(last: u32) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, last as u8])
}

fn namespace(name: &str, interfaces: Vec<Interface>) -> NetworkNamespace {
    NetworkNamespace { name: name.to_owned(), interfaces, ..NetworkNamespace::default() }
}

fn listener(port: u16, owner: &str) -> Listener {
    Listener {
        protocol: TCP,
        address: address("::"),
        port,
        both_families: true,
        interface: None,
        held: false,
        owner: owner.to_owned(),
        proxy: None,
    }
}

fn macvlan(index: u32, parent: (NamespaceId, u32)) -> Interface {
    let parent = MacvlanParent { namespace: parent.0, parent: parent.1, mode: MacvlanMode::Bridge };
    Interface { macvlan_parent: Some(parent), ..interface(index, "lan", None) }
}

/// A host with a port for each of two sandboxes; the sandboxes are linked, and the second one has a macvlan.
fn planned() -> Topology {
    let mut host = namespace(
        "host",
        vec![
            interface(10, "eth0", None),
            interface(11, "port1", Some((ONE, 2))),
            interface(12, "port2", Some((OTHER, 2))),
        ],
    );
    host.listeners = vec![listener(8080, "the proxy")];
    let mut one = namespace(
        "one",
        vec![interface(2, "eth0", Some((HOST, 11))), interface(3, "link", Some((OTHER, 13)))],
    );
    one.sandbox = Some(SandboxId::new([1; 32]));
    let interfaces = vec![
        interface(12, "eth0", Some((HOST, 12))),
        interface(13, "link", Some((ONE, 3))),
        macvlan(14, (HOST, 10)),
    ];
    Topology { namespaces: vec![host, one, namespace("other", interfaces)] }
}

fn peer(topology: &Topology, namespace: NamespaceId, index: u32) -> Option<(NamespaceId, u32)> {
    topology[namespace].interface(index).unwrap().peer
}

#[test]
fn the_observed_host_keeps_the_planned_connections_by_the_names_of_its_interfaces() {
    let mut topology = planned();
    // The kernel gave other indexes, in another order.
    let mut host = namespace(
        "host",
        vec![
            interface(22, "port2", None),
            interface(21, "port1", None),
            interface(23, "docker0", None),
            interface(20, "eth0", None),
        ],
    );
    host.listeners = vec![listener(8080, "the socket 77"), listener(8081, "the socket 78")];
    topology.replace_host(host);
    assert_eq!((peer(&topology, HOST, 21), peer(&topology, HOST, 22)), (Some((ONE, 2)), Some((OTHER, 2))));
    assert_eq!((peer(&topology, HOST, 20), peer(&topology, HOST, 23)), (None, None));
    assert_eq!(peer(&topology, ONE, 2), Some((HOST, 21)));
    assert_eq!(topology[OTHER].interface(14).unwrap().macvlan_parent.unwrap().parent, 20);
    let owners: Vec<_> = topology.host().listeners.iter().map(|it| it.owner.as_str()).collect();
    assert_eq!(owners, ["the proxy", "the socket 78"]);
}

#[test]
fn interfaces_that_the_observed_host_lacks_are_not_connected() {
    let mut topology = planned();
    topology.namespaces[2].interfaces.push(macvlan(15, (ONE, 3)));
    topology.replace_host(namespace("host", vec![interface(21, "port1", None)]));
    assert_eq!(topology.host().interfaces.len(), 1);
    assert_eq!(topology[OTHER].interface(14).unwrap().macvlan_parent.unwrap().parent, 0);
    // A parent in another namespace is not the host's.
    assert_eq!(topology[OTHER].interface(15).unwrap().macvlan_parent.unwrap().parent, 3);
    let mut none = Topology::default();
    none.replace_host(empty_namespace("host"));
    assert_eq!(none, Topology::default());
}

#[test]
fn an_observed_sandbox_keeps_its_name_and_its_planned_connections() {
    let mut topology = planned();
    let observed = vec![interface(1, "lo", None), interface(7, "eth0", None), interface(3, "renamed", None)];
    let survey = Survey { namespace: namespace("as seen", observed), veth_pairs: vec![(7, 11), (9, 99)] };
    topology.replace_sandbox(ONE, &survey);
    assert_eq!(topology.name(ONE), "one");
    assert_eq!(topology.of_sandbox(SandboxId::new([1; 32])), Some(ONE));
    assert_eq!(topology.of_sandbox(SandboxId::new([2; 32])), None);
    // The port's other end is known by the pairs, the link to the other sandbox by its MAC address.
    assert_eq!((peer(&topology, HOST, 11), peer(&topology, ONE, 7)), (Some((ONE, 7)), Some((HOST, 11))));
    assert_eq!((peer(&topology, ONE, 3), peer(&topology, OTHER, 13)), (Some((OTHER, 13)), Some((ONE, 3))));
    assert_eq!(peer(&topology, HOST, 12), Some((OTHER, 2)));
    assert_eq!(peer(&topology, ONE, 1), None);
}

#[test]
fn an_observed_macvlan_is_found_by_its_mac_address_or_else_its_name() {
    let planned_parent = planned()[OTHER].interface(14).unwrap().macvlan_parent;
    let parents = |interfaces: Vec<Interface>| {
        let mut topology = planned();
        topology.replace_sandbox(OTHER, &Survey { namespace: namespace("", interfaces), veth_pairs: vec![] });
        let interfaces = &topology[OTHER].interfaces;
        interfaces.iter().filter(|it| it.macvlan_parent.is_some()).map(|it| it.index).collect::<Vec<_>>()
    };
    assert!(planned_parent.is_some());
    let with_mac = |index, name: &str, of| Interface { mac: mac(of), ..interface(index, name, None) };
    assert_eq!(parents(vec![with_mac(4, "lan", 4), with_mac(5, "eth1", 14)]), [5]);
    assert_eq!(parents(vec![with_mac(4, "lan", 4), with_mac(5, "eth1", 5)]), [4]);
    assert_eq!(parents(vec![with_mac(5, "eth1", 5)]), [0; 0]);
    // Loopback has a MAC address of zeros, as a planned interface may have.
    let loopback = Interface { loopback: true, ..with_mac(1, "lo", 14) };
    assert_eq!(parents(vec![loopback, with_mac(4, "lan", 4)]), [4]);
}

#[test]
fn joined_interfaces_are_each_others_peers() {
    let mut topology = planned();
    topology.join((HOST, 10), (OTHER, 14));
    assert_eq!(
        (peer(&topology, HOST, 10), peer(&topology, OTHER, 14)),
        (Some((OTHER, 14)), Some((HOST, 10)))
    );
    let before = topology.clone();
    topology.change_interface((HOST, 99), |interface| interface.up = true);
    assert_eq!(topology, before);
    topology.change_interface((HOST, 10), |interface| interface.up = true);
    assert!(topology.host().interface(10).unwrap().up && !topology.host().interface(11).unwrap().up);
    assert_eq!((topology.name(OTHER), topology.name(NamespaceId(3))), ("other", ""));
}
