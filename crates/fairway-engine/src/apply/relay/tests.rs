//! What the World admits fits into messages to the relay.

use std::net::{IpAddr, Ipv6Addr};

use fairway_core::plan::plan;
use fairway_core::world::{Command, CreateNetwork, CreateSandbox, NetworkChoice, World};
use fairway_model::{
    EndpointRequest, HostFacts, NameServer, Namespace, Rng, SandboxKind, SandboxOptions, SubnetRequest,
};
use fairway_relay::client::RelayClient;
use fairway_relay::server::{self, Configuration};

use super::*;

/// The networks of the World.
const NETWORKS: usize = 600;

/// A name of so many bytes with a number.
fn name(number: usize, length: usize) -> String {
    let labels = format!("{number:0>length$}").into_bytes().into_iter().enumerate();
    labels.map(|(place, byte)| if place % 50 == 49 { '.' } else { byte.into() }).collect()
}

fn network(number: usize) -> String {
    name(number, 128)
}

/// A World with more networks than a sandbox may have.
fn world() -> World {
    let mut world = World::default();
    let server = |n| NameServer::from(IpAddr::from(Ipv6Addr::from(u128::MAX - n)));
    let host = HostFacts { nameservers: (0..4_000).map(server).collect(), ..HostFacts::default() };
    let configure = Command::Configure { settings: Box::default(), host: Box::new(host) };
    world.apply(configure, 0, &mut Rng::new(1)).unwrap();
    for number in 0..NETWORKS {
        let subnet = format!("10.{}.{}.0/24", number / 256, number % 256).parse().unwrap();
        let create = CreateNetwork {
            name: network(number),
            subnets: vec![SubnetRequest { subnet: Some(subnet), ..SubnetRequest::default() }],
            options: [("fairway.domain".to_owned(), name(number, 189))].into(),
            ..CreateNetwork::default()
        };
        world.apply(Command::CreateNetwork(create), 0, &mut Rng::new(number as u64 + 2)).unwrap();
    }
    world
}

/// The World with a sandbox on some networks, the first of them with this request; none if it refuses.
fn with_sandbox(world: &World, networks: usize, request: EndpointRequest) -> Option<World> {
    let mut world = world.clone();
    let mut networks: Vec<_> =
        (0..networks).map(|number| (network(number), EndpointRequest::default())).collect();
    networks[0].1 = request;
    let server = |n| IpAddr::from(Ipv6Addr::from(u128::MAX - n));
    let create = CreateSandbox {
        name: Some(name(1, 128)),
        kind: SandboxKind::Run,
        network: NetworkChoice::Networks(networks),
        options: SandboxOptions {
            hostname: name(1, 64),
            dns: (0..4_000).map(server).collect(),
            ..SandboxOptions::default()
        },
    };
    world.apply(Command::CreateSandbox(Box::new(create)), 0, &mut Rng::new(1_000)).ok()?;
    Some(world)
}

/// The most of something that the World admits.
fn most(admits: impl Fn(usize) -> bool) -> usize {
    let mut refused = 2;
    while admits(refused) {
        refused *= 2;
    }
    let mut admitted = refused / 2;
    while refused - admitted > 1 {
        let middle = admitted.midpoint(refused);
        if admits(middle) { admitted = middle } else { refused = middle }
    }
    admitted
}

#[test]
fn the_largest_records_that_the_world_admits_fit_into_messages() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relay.sock");
    let listener = server::listen(&path).unwrap();
    std::thread::spawn(move || server::run(listener, Configuration::default()));
    let relay = RelayClient::connect(&path).unwrap();
    let world = world();
    let networks = most(|count| with_sandbox(&world, count, EndpointRequest::default()).is_some());
    assert!(networks < NETWORKS, "there is a limit");
    let send_most = |networks, request: &dyn Fn(usize) -> EndpointRequest| {
        let most = most(|count| with_sandbox(&world, networks, request(count)).is_some());
        let mut world = with_sandbox(&world, networks, request(most)).unwrap();
        let namespace = Some(Namespace { path: "/run/netns/full".to_owned(), device: 4, inode: 5 });
        let start = Command::StartSandbox { sandbox: name(1, 128), process: None, namespace };
        world.apply(start, 0, &mut Rng::new(1_001)).unwrap();
        let plan = plan(&world);
        let records = plan.objects().filter_map(|(key, object)| relay_record(key, object));
        let records = records.filter(|record| !matches!(record, Record::Port { .. }));
        let changes = records.map(|record| RelayChange::Insert { record, sockets: Vec::new() });
        relay.apply(changes.collect()).unwrap();
    };
    for length in [3, 253] {
        let aliases = |count| (0..count).map(|number| name(number, length)).collect();
        send_most(1, &|count| EndpointRequest { aliases: aliases(count), ..EndpointRequest::default() });
    }
    // The name of a target on a network may be any text.
    let links = |count| (0..count).map(|number| ("\u{1}\"\\".to_owned(), name(number, 4))).collect();
    send_most(networks, &|count| EndpointRequest { links: links(count), ..EndpointRequest::default() });
}
