use std::net::IpAddr;

use fairway_model::{PortRange, Protocol};

use super::*;
use crate::object::{Key, Object};
use crate::plan::plan;
use crate::world::tests::{refused, run, world};
use crate::world::{Command, CreateNetwork};
use fairway_model::{EndpointRequest, SubnetRequest};

fn network_id(number: u8) -> NetworkId {
    NetworkId::new([number; 32])
}

fn endpoint_id(number: u8) -> EndpointId {
    EndpointId::new([number; 32])
}

fn container(number: u8) -> SandboxId {
    SandboxId::new([number; 32])
}

fn network(number: u8) -> Command {
    let subnet = format!("10.{number}.0.0/24").parse().ok();
    Command::CreateNetwork(CreateNetwork {
        id: Some(network_id(number)),
        name: format!("docker-{number}"),
        subnets: vec![SubnetRequest { subnet, ..SubnetRequest::default() }],
        ..CreateNetwork::default()
    })
}

fn join(endpoint: u8, network: u8, sandbox: u8, last: u8) -> Command {
    Command::JoinEndpoint(Box::new(JoinEndpoint {
        id: endpoint_id(endpoint),
        network: network_id(network),
        sandbox: container(sandbox),
        name: format!("container-{sandbox}"),
        labels: BTreeMap::new(),
        request: EndpointRequest { ipv4: Some([10, network, 0, last].into()), ..EndpointRequest::default() },
    }))
}

fn ports(endpoint: u8, host: Option<u16>) -> Command {
    let publish = |port| PublishRequest {
        host_address: None,
        host_ports: Some(PortRange::single(port)),
        container_ports: PortRange::single(80),
        protocol: Protocol::Tcp,
    };
    let ports = host.map(|port| vec![publish(port)]);
    Command::ExternalConnectivity { endpoint: endpoint_id(endpoint), ports }
}

fn identify(sandbox: u8, name: &str) -> Command {
    Command::IdentifySandbox {
        sandbox: container(sandbox),
        name: name.to_owned(),
        labels: [("a".to_owned(), "b".to_owned())].into(),
        process: None,
        namespace: Some(Namespace { path: "/run/docker/netns/1".to_owned(), device: 4, inode: 7 }),
    }
}

#[test]
fn a_link_is_handed_over_and_nothing_is_made_in_the_namespace() {
    let (mut world, mut rng) = world();
    run(&mut world, &mut rng, [network(1), join(1, 1, 9, 5), identify(9, "web")]);
    let plan = plan(&world);
    let Some(Object::Veth(link)) =
        plan.objects().map(|(_, object)| object).find(|it| matches!(it, Object::Veth(_)))
    else {
        panic!("there is no veth pair");
    };
    assert_eq!(link.namespace, None);
    assert_eq!(link.interface, link.host_interface.replacen("fw", "fp", 1));
    let inside =
        |key: &Key| matches!(key, Key::Netns(_) | Key::SandboxRoutes(_) | Key::File(..) | Key::View(_));
    assert!(plan.objects().all(|(key, _)| !inside(key)));
}

#[test]
fn ports_lead_to_the_endpoint_that_dockerd_names() {
    let (mut world, mut rng) = world();
    let d = &mut rng;
    run(&mut world, d, [network(1), network(2), join(1, 1, 9, 5), join(2, 2, 9, 5)]);
    let target = |world: &World| {
        let published = !world.sandbox(container(9)).unwrap().publications.is_empty();
        world.publication_target(container(9), true).map(|(_, address)| address).filter(|_| published)
    };
    run(&mut world, d, [ports(2, Some(8080))]);
    assert_eq!(target(&world), Some(IpAddr::from([10, 2, 0, 5])));
    run(&mut world, d, [ports(2, None)]);
    assert_eq!(target(&world), None);
    run(&mut world, d, [ports(1, Some(8080))]);
    assert_eq!(target(&world), Some(IpAddr::from([10, 1, 0, 5])));
    run(&mut world, d, [Command::DeleteEndpoint { endpoint: endpoint_id(1) }]);
    assert_eq!(target(&world), None);
    run(&mut world, d, [Command::DeleteEndpoint { endpoint: endpoint_id(2) }]);
    assert!(world.sandbox(container(9)).is_none());
}

#[test]
fn a_container_gets_its_name_when_it_is_known() {
    let (mut world, mut rng) = world();
    let d = &mut rng;
    run(&mut world, d, [network(1), join(1, 1, 8, 5), join(2, 1, 9, 6), identify(8, "web")]);
    assert_eq!(world.find_sandbox("web").unwrap().id, container(8));
    run(&mut world, d, [identify(9, "web")]);
    assert_eq!(world.find_sandbox("web").unwrap().id, container(8));
    assert_eq!(world.sandbox(container(9)).unwrap().name, "web-090909090909");
    run(&mut world, d, [identify(8, "other"), identify(9, "web")]);
    assert_eq!(world.find_sandbox("web").unwrap().id, container(9));
    assert!(world.find_sandbox("container-8").is_err());
    let name =
        Command::IdentifyNetwork { network: network_id(1), name: "app".to_owned(), labels: BTreeMap::new() };
    run(&mut world, d, [name]);
    assert_eq!(world.find_network("app").unwrap().id, network_id(1));
    assert!(world.find_network("docker-1").is_err());
}

#[test]
fn what_is_not_there_is_refused() {
    let (mut world, mut rng) = world();
    let d = &mut rng;
    run(&mut world, d, [network(1), join(1, 1, 9, 5)]);
    for (command, text) in [
        (join(1, 1, 9, 6), "endpoint 010101010101 already exists: disconnect its container first"),
        (join(2, 1, 9, 6), "endpoint with name container-9 already exists in network docker-1"),
        (
            join(2, 1, 8, 5),
            "Address already in use: 10.1.0.5 on network docker-1 is that of container container-9",
        ),
        (
            Command::DeleteEndpoint { endpoint: endpoint_id(3) },
            "endpoint 030303030303 not found: it was never joined, or its container has ended: start the container again",
        ),
    ] {
        assert_eq!(refused(&mut world, d, command), text);
    }
}
