use std::net::IpAddr;

use fairway_model::{MacAddress, MacvlanMode};

use super::{LinkTie, Observation, Tie};
use crate::{
    End, FlowPosition, Interface, LinkProgram, NamespaceId, Origin, Proxy, Sender, Step, Topology, Tuple,
    Walker, add_default_route, add_interface, empty_namespace, walk_connection,
};

const HOST: NamespaceId = NamespaceId::HOST;
const WEB: NamespaceId = NamespaceId(1);
const DB: NamespaceId = NamespaceId(2);

fn interface(index: u32, name: &str, kind: &str, addresses: &[&str]) -> Interface {
    Interface {
        index,
        name: name.to_owned(),
        kind: kind.to_owned(),
        mac: MacAddress([2, 0, 0, 0, mac_byte(addresses), u8::try_from(index).unwrap()]),
        up: true,
        addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
        forwarding: (true, true),
        ..Interface::default()
    }
}

fn mac_byte(addresses: &[&str]) -> u8 {
    addresses.iter().flat_map(|it| it.bytes()).fold(0, u8::wrapping_add)
}

fn observation(name: &str, interfaces: Vec<Interface>, ties: &[LinkTie]) -> Observation {
    let mut namespace = empty_namespace(name);
    interfaces.into_iter().for_each(|it| add_interface(&mut namespace, it));
    Observation { namespace, ties: ties.to_vec(), ..Observation::default() }
}

fn pair(index: u32, other: u32, namespace: Option<i32>) -> LinkTie {
    LinkTie { index, tie: Tie::Pair, other, namespace }
}

/// A host with a bridge of two containers whose interfaces have the same index, as containers' have.
fn host_of_two() -> Vec<Observation> {
    let port = |index, name| Interface { bridge: Some(3), ..interface(index, name, "veth", &[]) };
    let bridge = interface(3, "docker0", "bridge", &["172.17.0.1/16"]);
    let ports = vec![bridge, port(11, "vethaaa"), port(12, "vethbbb")];
    let mut host = observation("host", ports, &[pair(11, 2, Some(0)), pair(12, 2, Some(1))]);
    host.ids = [(0, WEB), (1, DB)].into();
    let inside = |name, address, other| {
        let eth0 = interface(2, "eth0", "veth", &[address]);
        let mut inside = observation(name, vec![eth0], &[pair(2, other, Some(0))]);
        add_default_route(&mut inside.namespace, "172.17.0.1".parse().unwrap(), 2);
        inside.ids = [(0, HOST)].into();
        inside
    };
    vec![host, inside("web", "172.17.0.2/16", 11), inside("database", "172.17.0.3/16", 12)]
}

fn peer(topology: &Topology, place: (NamespaceId, u32)) -> Option<(NamespaceId, u32)> {
    topology[place.0].interface(place.1).unwrap().peer
}

#[test]
fn veth_pairs_are_joined_by_the_ids_of_namespaces() {
    let topology = Topology::of_observations(host_of_two());
    assert_eq!(peer(&topology, (HOST, 11)), Some((WEB, 2)));
    assert_eq!(peer(&topology, (HOST, 12)), Some((DB, 2)));
    assert_eq!(peer(&topology, (WEB, 2)), Some((HOST, 11)));
    assert_eq!(peer(&topology, (DB, 2)), Some((HOST, 12)));
}

#[test]
fn without_ids_the_indexes_of_both_ends_decide() {
    let mut observations = host_of_two();
    observations.iter_mut().for_each(|it| it.ids.clear());
    let topology = Topology::of_observations(observations);
    assert_eq!(peer(&topology, (HOST, 11)), Some((WEB, 2)));
    assert_eq!(peer(&topology, (DB, 2)), Some((HOST, 12)));
}

#[test]
fn an_end_that_two_namespaces_claim_is_joined_to_none() {
    let mut observations = host_of_two();
    observations.iter_mut().for_each(|it| it.ids.clear());
    // A container in another container, with the same indexes.
    let eth0 = interface(2, "eth0", "veth", &[]);
    observations.push(observation("nested", vec![eth0], &[pair(2, 11, Some(4))]));
    let topology = Topology::of_observations(observations);
    assert_eq!(peer(&topology, (HOST, 11)), None);
    assert_eq!(peer(&topology, (HOST, 12)), Some((DB, 2)));
}

#[test]
fn an_id_decides_against_equal_indexes() {
    let mut observations = host_of_two();
    let eth0 = interface(2, "eth0", "veth", &[]);
    observations.push(observation("nested", vec![eth0], &[pair(2, 11, Some(4))]));
    let topology = Topology::of_observations(observations);
    assert_eq!(peer(&topology, (HOST, 11)), Some((WEB, 2)));
    assert_eq!(peer(&topology, (NamespaceId(3), 2)), None);
}

#[test]
fn both_ends_of_a_pair_may_be_in_one_namespace() {
    let interfaces = vec![interface(5, "one", "veth", &[]), interface(6, "other", "veth", &[])];
    let topology = Topology::of_observations(vec![observation(
        "host",
        interfaces,
        &[pair(5, 6, None), pair(6, 5, None)],
    )]);
    assert_eq!(peer(&topology, (HOST, 5)), Some((HOST, 6)));
    assert_eq!(peer(&topology, (HOST, 6)), Some((HOST, 5)));
}

#[test]
fn an_end_in_a_namespace_that_cannot_be_seen_has_no_peer() {
    let mut observations = host_of_two();
    observations.truncate(2);
    let topology = Topology::of_observations(observations);
    assert_eq!(peer(&topology, (HOST, 11)), Some((WEB, 2)));
    assert_eq!(peer(&topology, (HOST, 12)), None);
}

#[test]
fn a_macvlan_knows_its_parent_in_another_namespace() {
    let host = observation("host", vec![interface(2, "eth0", "", &["10.0.0.1/24"])], &[]);
    let tie = LinkTie { index: 7, tie: Tie::Macvlan(MacvlanMode::Vepa), other: 2, namespace: Some(0) };
    let mut inside = observation("web", vec![interface(7, "eth0", "macvlan", &["10.0.0.9/24"])], &[tie]);
    inside.ids = [(0, HOST)].into();
    let topology = Topology::of_observations(vec![host, inside]);
    let parent = topology[WEB].interface(7).unwrap().macvlan_parent.unwrap();
    assert_eq!((parent.namespace, parent.parent, parent.mode), (HOST, 2, MacvlanMode::Vepa));
}

#[test]
fn a_walk_takes_the_port_that_leads_to_the_address_and_goes_on_inside() {
    let topology = Topology::of_observations(host_of_two());
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let tuple = Tuple {
        protocol: 1,
        source: address("172.17.0.2"),
        destination: address("172.17.0.3"),
        source_port: 0,
        destination_port: 0,
    };
    let walk = Walker::new(&topology).walk_from_program(Sender::of(WEB), tuple, FlowPosition::First);
    let ports: Vec<&str> = walk
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Bridged { to, .. } => to.as_deref(),
            _ => None,
        })
        .collect();
    assert_eq!(ports, ["vethbbb"]);
    assert!(matches!(walk.end, End::Delivered { namespace: DB, .. }), "{:?}", walk.end);
}

#[test]
fn a_namespace_that_is_read_as_a_whole_keeps_its_name_and_ties() {
    let topology = Topology::of_observations(host_of_two());
    let mut read = empty_namespace("4026532281");
    add_interface(&mut read, interface(2, "eth0", "veth", &["172.17.0.2/16", "fd00::2/64"]));
    let observed = topology.with_ties(WEB, read).namespace;
    assert_eq!(observed.name, "web");
    let eth0 = observed.interface(2).unwrap();
    assert_eq!((eth0.peer, eth0.addresses.len()), (Some((HOST, 11)), 2));
}

#[test]
fn a_packet_that_leaves_by_a_tunnel_says_where_the_tunnel_leads() {
    let mut tunnel = interface(2, "vx0", "vxlan", &["10.9.0.1/24"]);
    tunnel.carrier = "vxlan tunnel 42 to 10.0.0.7".to_owned();
    let topology = Topology::of_observations(vec![observation("host", vec![tunnel], &[])]);
    let tuple = Tuple {
        protocol: 1,
        source: "10.9.0.1".parse().unwrap(),
        destination: "10.9.0.2".parse().unwrap(),
        source_port: 0,
        destination_port: 0,
    };
    let walk = Walker::new(&topology).walk_from_program(Sender::of(HOST), tuple, FlowPosition::First);
    let said = walk.end.sentence(&topology);
    assert!(said.starts_with("leaves host by vx0 (vxlan tunnel 42 to 10.0.0.7) for 10.9.0.2,"), "{said}");
}

#[test]
fn a_program_at_a_link_is_named_in_its_direction() {
    let mut observations = host_of_two();
    let program = |what: &str, input| LinkProgram { what: what.to_owned(), input, output: !input };
    for interface in &mut observations[0].namespace.interfaces {
        match interface.name.as_str() {
            "vethaaa" => {
                interface.programs =
                    vec![program("XDP program 7", true), program("the tc program out", false)]
            }
            "vethbbb" => interface.programs = vec![program("the discipline netem", false)],
            _ => {}
        }
    }
    let topology = Topology::of_observations(observations);
    let tuple = Tuple {
        protocol: 1,
        source: "172.17.0.2".parse().unwrap(),
        destination: "172.17.0.3".parse().unwrap(),
        source_port: 0,
        destination_port: 0,
    };
    let walk = walk_connection(&topology, Origin::Local(WEB), tuple, Proxy::default());
    let named: Vec<String> = walk
        .first
        .steps
        .iter()
        .filter(|step| matches!(step, Step::Program { .. }))
        .flat_map(|step| step.records(&topology))
        .map(|it| format!("{} {}", it.location(), it.text()))
        .collect();
    assert_eq!(
        named,
        [
            "vethaaa XDP program 7 may change or drop it here",
            "vethbbb the discipline netem may change or drop it here"
        ]
    );
    assert_eq!(
        walk.sentence(&topology),
        "It is answered; the server sees 172.17.0.2. Provided that it is not changed or dropped by XDP program 7 at vethaaa of host, or by the discipline netem at vethbbb of host, or by the tc program out at vethaaa of host."
    );
}
