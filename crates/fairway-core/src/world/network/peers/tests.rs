use super::*;
use crate::world::{Command, CreateNetwork};
use fairway_model::Rng;
use fairway_model::SubnetRequest;
use fairway_model::{HostFacts, HostRoute};

fn world() -> (World, Rng) {
    let (mut world, mut rng) = (World::default(), Rng::new(1));
    let to = |destination: &str| HostRoute {
        destination: destination.parse().unwrap(),
        interface: "eth0".to_owned(),
    };
    let host = HostFacts { routes: vec![to("10.10.50.0/24"), to("172.30.9.0/24")], ..HostFacts::default() };
    let configure = Command::Configure { settings: Box::default(), host: Box::new(host) };
    world.apply(configure, 0, &mut rng).unwrap();
    (world, rng)
}

fn routed(name: &str, subnet: &str, peers: &str) -> CreateNetwork {
    CreateNetwork {
        name: name.to_owned(),
        driver: "routed".to_owned(),
        subnets: vec![SubnetRequest { subnet: subnet.parse().ok(), ..SubnetRequest::default() }],
        options: [(PEERS.to_owned(), peers.to_owned())].into(),
        ..CreateNetwork::default()
    }
}

#[test]
fn peers_are_kept_as_they_are_asked_for() {
    let (mut world, mut rng) = world();
    let request = routed("net", "172.30.1.0/24", "172.30.2.0/24@10.10.50.98, 172.30.3.0/24@10.10.50.97");
    world.apply(Command::CreateNetwork(request), 0, &mut rng).unwrap();
    let network = world.find_network("net").unwrap();
    let peers: Vec<_> = network.peers.iter().map(Peer::to_string).collect();
    assert_eq!(peers, ["172.30.2.0/24@10.10.50.98", "172.30.3.0/24@10.10.50.97"]);
    assert_eq!(network.driver, Driver::Routed);
    // A peer's subnet is taken.
    let subnet = |text: &str| SubnetRequest { subnet: text.parse().ok(), ..SubnetRequest::default() };
    let other = CreateNetwork {
        name: "other".to_owned(),
        subnets: vec![subnet("172.30.2.0/25")],
        ..CreateNetwork::default()
    };
    let error = world.apply(Command::CreateNetwork(other), 0, &mut rng).unwrap_err().to_string();
    assert!(error.contains("172.30.2.0/24") && error.contains("net"), "{error}");
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let cases = [
        ("172.30.1.128/25@10.10.50.98", "does not lead out of 172.30.1.0/24"),
        ("172.30.2.0/24@172.30.1.9", "does not lead out of 172.30.1.0/24"),
        ("172.30.2.0/24@172.30.2.9", "does not lead out"),
        ("172.30.2.0/24@10.10.50.98,172.30.2.0/25@10.10.50.97", "another peer's"),
        ("172.17.0.0/24@10.10.50.98", "172.17.0.0/16, which is network bridge's"),
        ("172.30.9.0/24@10.10.50.98", "cannot add peer 172.30.9.0/24: the host has a route to it via eth0"),
        ("nonsense", "SUBNET@HOST"),
    ];
    for (peers, reason) in cases {
        let (mut world, mut rng) = world();
        let create = Command::CreateNetwork(routed("net", "172.30.1.0/24", peers));
        let error = world.apply(create, 0, &mut rng).unwrap_err().to_string();
        assert!(error.contains(reason), "{peers}: {error}");
    }
    let (mut world, mut rng) = world();
    let request = routed("net", "172.30.1.0/24", "172.30.2.0/24@10.10.50.98");
    let bridge = CreateNetwork { driver: "bridge".to_owned(), ..request.clone() };
    let error = world.apply(Command::CreateNetwork(bridge), 0, &mut rng).unwrap_err().to_string();
    assert!(error.contains("only a network of the driver routed"), "{error}");
    let internal = CreateNetwork { internal: true, ..request };
    let error = world.apply(Command::CreateNetwork(internal), 0, &mut rng).unwrap_err().to_string();
    assert!(error.contains("drop --internal"), "{error}");
}
