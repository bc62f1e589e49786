//! What a World allows, refuses and decides.

mod changes;
mod limits;
mod records;
mod sandboxes;

use std::net::{IpAddr, Ipv4Addr};

use fairway_model::SubnetRequest;

use super::*;
use fairway_model::{
    EndpointRequest, Namespace, PortRange, Protocol, PublishRequest, SandboxKind, SandboxOptions,
};

pub(crate) fn world() -> (World, Rng) {
    let (mut world, mut rng) = (World::default(), Rng::new(1));
    let configure = Command::Configure { settings: Box::default(), host: Box::default() };
    world.apply(configure, 0, &mut rng).unwrap();
    (world, rng)
}

pub(crate) fn network(name: &str, subnet: Option<&str>) -> Command {
    Command::CreateNetwork(CreateNetwork {
        name: name.to_owned(),
        subnets: subnet
            .map(|text| SubnetRequest { subnet: text.parse().ok(), ..SubnetRequest::default() })
            .into_iter()
            .collect(),
        ..CreateNetwork::default()
    })
}

pub(crate) fn sandbox(name: &str, networks: &[(&str, EndpointRequest)], options: SandboxOptions) -> Command {
    let networks = networks.iter().map(|(name, request)| ((*name).to_owned(), request.clone()));
    Command::CreateSandbox(Box::new(CreateSandbox {
        name: Some(name.to_owned()),
        kind: SandboxKind::Run,
        network: NetworkChoice::Networks(networks.collect()),
        options,
    }))
}

pub(crate) fn start(name: &str) -> Command {
    let namespace = Namespace { path: format!("/run/netns/{name}"), device: 4, inode: 5 };
    Command::StartSandbox { sandbox: name.to_owned(), process: None, namespace: Some(namespace) }
}

pub(crate) fn publish(host: Option<u16>, container: u16) -> SandboxOptions {
    let request = PublishRequest {
        host_address: None,
        host_ports: host.map(PortRange::single),
        container_ports: PortRange::single(container),
        protocol: Protocol::Tcp,
    };
    SandboxOptions { publish: vec![request], ..SandboxOptions::default() }
}

fn fixed(address: [u8; 4]) -> EndpointRequest {
    EndpointRequest { ipv4: Some(Ipv4Addr::from(address)), ..EndpointRequest::default() }
}

pub(crate) fn addresses(world: &World, name: &str) -> Vec<IpAddr> {
    let id = world.find_sandbox(name).unwrap().id;
    let endpoints = world.endpoints_of_sandbox(id);
    endpoints.iter().flat_map(|e| e.allocation.iter()).flat_map(|a| a.addresses()).collect()
}

pub(crate) fn run(world: &mut World, rng: &mut Rng, commands: impl IntoIterator<Item = Command>) {
    for command in commands {
        world.apply(command.clone(), 1, rng).unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
    }
}

pub(crate) fn refused(world: &mut World, rng: &mut Rng, command: Command) -> String {
    world.apply(command.clone(), 1, rng).expect_err(&format!("{command:?}")).to_string()
}

#[test]
fn the_predefined_networks_are_there_with_dockers_subnet() {
    let (world, _) = world();
    let bridge = world.find_network("bridge").unwrap();
    assert_eq!(bridge.bridge, "fairway0");
    assert_eq!(bridge.ipv4().unwrap().subnet.to_string(), "172.17.0.0/16");
    assert_eq!(bridge.ipv4().unwrap().gateway.to_string(), "172.17.0.1");
    assert!(world.find_network("host").unwrap().predefined);
    assert!(world.find_network("none").unwrap().predefined);
}

#[test]
fn addresses_are_allocated_lowest_first_and_released() {
    let (mut world, mut rng) = world();
    let d = &mut rng;
    run(&mut world, d, ["a", "b"].map(|name| sandbox(name, &[], SandboxOptions::default())));
    run(&mut world, d, ["a", "b"].map(start));
    assert_eq!(addresses(&world, "a"), [IpAddr::from([172, 17, 0, 2])]);
    assert_eq!(addresses(&world, "b"), [IpAddr::from([172, 17, 0, 3])]);
    run(&mut world, d, [Command::StopSandbox { sandbox: "a".to_owned(), exit: 0.into(), process: None }]);
    run(&mut world, d, [sandbox("c", &[], SandboxOptions::default()), start("c")]);
    assert_eq!(addresses(&world, "c"), [IpAddr::from([172, 17, 0, 2])]);
}

#[test]
fn a_requested_address_is_reserved_while_the_sandbox_is_stopped() {
    let (mut world, mut rng) = world();
    let d = &mut rng;
    let first = fixed([10, 1, 0, 2]);
    run(
        &mut world,
        d,
        [network("app", Some("10.1.0.0/24")), sandbox("a", &[("app", first)], Default::default())],
    );
    run(
        &mut world,
        d,
        [sandbox("b", &[("app", EndpointRequest::default())], Default::default()), start("b")],
    );
    assert_eq!(addresses(&world, "b"), [IpAddr::from([10, 1, 0, 3])], "10.1.0.2 is reserved");
    let stop = |name: &str| Command::StopSandbox { sandbox: name.to_owned(), exit: 0.into(), process: None };
    run(&mut world, d, [start("a"), stop("a"), start("a")]);
    assert_eq!(addresses(&world, "a"), [IpAddr::from([10, 1, 0, 2])]);
}

#[test]
fn the_first_to_start_has_an_address_that_several_request() {
    let (mut world, mut rng) = world();
    let d = &mut rng;
    let stop = |name: &str| Command::StopSandbox { sandbox: name.to_owned(), exit: 0.into(), process: None };
    run(&mut world, d, [network("app", Some("10.1.0.0/24"))]);
    for name in ["a", "b"] {
        run(&mut world, d, [sandbox(name, &[("app", fixed([10, 1, 0, 2]))], Default::default())]);
    }
    run(&mut world, d, [start("b")]);
    assert_eq!(
        refused(&mut world, d, start("a")),
        "Address already in use: 10.1.0.2 on network app is that of container b"
    );
    run(&mut world, d, [stop("b"), start("a")]);
    assert_eq!(addresses(&world, "a"), [IpAddr::from([10, 1, 0, 2])]);
    // What one gives up, the other still reserves.
    let remove = |name: &str| Command::RemoveSandbox { sandbox: name.to_owned() };
    run(&mut world, d, [stop("a"), remove("a")]);
    for name in ["c", "d"] {
        run(
            &mut world,
            d,
            [sandbox(name, &[("app", EndpointRequest::default())], Default::default()), start(name)],
        );
    }
    assert_eq!(addresses(&world, "c"), [IpAddr::from([10, 1, 0, 3])]);
    run(&mut world, d, [remove("b"), stop("d"), start("d")]);
    assert_eq!(addresses(&world, "d"), [IpAddr::from([10, 1, 0, 2])]);
}

#[test]
fn a_port_is_published_once() {
    let (mut world, mut rng) = world();
    let d = &mut rng;
    run(&mut world, d, [sandbox("p1", &[], publish(Some(8080), 80)), start("p1")]);
    run(&mut world, d, [sandbox("p2", &[], publish(Some(8080), 80))]);
    let text = refused(&mut world, d, start("p2"));
    assert_eq!(
        text,
        "Bind for 0.0.0.0:8080 failed: port is already allocated: container p1 publishes 8080/tcp"
    );
    assert!(addresses(&world, "p2").is_empty(), "a refusal gives nothing");
    run(
        &mut world,
        d,
        [Command::StopSandbox { sandbox: "p1".to_owned(), exit: 0.into(), process: None }, start("p2")],
    );
}

#[test]
fn a_random_port_is_the_same_for_both_families_and_not_an_avoided_one() {
    let (mut world, mut rng) = world();
    let d = &mut rng;
    run(&mut world, d, [sandbox("p", &[], publish(None, 80))]);
    let all_but_one: Vec<u16> = (49_153..=65_535).filter(|port| *port != 60_000).collect();
    let mut context = Context { avoided_ports: &all_but_one, ..Context::new(1, d) };
    let Draft { world, .. } = world.decide(start("p"), &mut context).unwrap();
    let publications = &world.find_sandbox("p").unwrap().publications;
    assert_eq!(publications.len(), 2);
    assert!(publications.iter().all(|publication| publication.host_ports == PortRange::single(60_000)));
}

#[test]
fn published_ports_and_default_route_follow_the_gateway_endpoint() {
    let (mut world, mut rng) = world();
    let d = &mut rng;
    run(&mut world, d, [network("app", Some("10.1.0.0/24")), network("back", Some("10.2.0.0/24"))]);
    run(&mut world, d, [sandbox("a", &[("back", Default::default())], publish(Some(80), 80)), start("a")]);
    let id = world.find_sandbox("a").unwrap().id;
    let target = |world: &World| world.publication_target(id, true).map(|(_, address)| address);
    assert_eq!(target(&world), Some(IpAddr::from([10, 2, 0, 2])));
    let connect = |network: &str, gateway_priority| Command::Connect {
        network: network.to_owned(),
        sandbox: "a".to_owned(),
        request: EndpointRequest { gateway_priority, ..Default::default() },
    };
    run(&mut world, d, [connect("app", 0)]);
    assert_eq!(target(&world), Some(IpAddr::from([10, 1, 0, 2])), "app comes before back");
    run(&mut world, d, [connect("bridge", 1)]);
    assert_eq!(target(&world), Some(IpAddr::from([172, 17, 0, 2])), "priority comes first");
    run(&mut world, d, [Command::Disconnect { network: "bridge".to_owned(), sandbox: "a".to_owned() }]);
    assert_eq!(target(&world), Some(IpAddr::from([10, 1, 0, 2])));
}

#[test]
fn an_internal_network_publishes_nothing_and_says_so() {
    let (mut world, mut rng) = world();
    let d = &mut rng;
    let internal = CreateNetwork { name: "in".to_owned(), internal: true, ..CreateNetwork::default() };
    run(&mut world, d, [Command::CreateNetwork(internal)]);
    run(&mut world, d, [sandbox("a", &[("in", Default::default())], publish(Some(80), 80))]);
    let change = world.apply(start("a"), 1, d).unwrap();
    assert_eq!(change.warnings, ["Published ports of a are discarded: it is on internal networks only"]);
    let connect = Command::Connect {
        network: "bridge".to_owned(),
        sandbox: "a".to_owned(),
        request: EndpointRequest::default(),
    };
    run(&mut world, d, [connect]);
    assert_eq!(world.find_sandbox("a").unwrap().publications.len(), 2, "published once there is a way");
}

#[test]
fn a_default_bridge_that_no_longer_fits_is_refused_by_name() {
    let (mut world, mut rng) = world();
    let d = &mut rng;
    run(&mut world, d, [sandbox("a", &[], Default::default()), start("a")]);
    let settings = Settings { bridge_address: "10.9.0.1/24".parse().ok(), ..Settings::default() };
    let configure = Command::Configure { settings: Box::new(settings), host: Box::default() };
    assert_eq!(
        refused(&mut world, d, configure.clone()),
        "--bip 10.9.0.1/24 does not fit running containers: a has 172.17.0.2: stop it first"
    );
    run(
        &mut world,
        d,
        [
            Command::StopSandbox { sandbox: "a".to_owned(), exit: 0.into(), process: None },
            configure,
            start("a"),
        ],
    );
    assert_eq!(addresses(&world, "a"), [IpAddr::from([10, 9, 0, 2])]);
}

#[test]
fn networks_and_sandboxes_are_found_by_id_name_and_prefix() {
    let (mut world, mut rng) = world();
    let d = &mut rng;
    run(&mut world, d, [network("app", None)]);
    let id = world.find_network("app").unwrap().id;
    assert_eq!(world.find_network(&id.to_string()).unwrap().name, "app");
    assert_eq!(world.find_network(&id.to_string()[..20]).unwrap().name, "app");
    assert_eq!(world.find_network("ap").unwrap_err(), Refusal::NoSuchNetwork("ap".to_owned()));
    assert!(matches!(world.find_sandbox("nosuch"), Err(Refusal::NoSuchSandbox(_))));
}

#[test]
fn refusals_name_the_object_and_the_reason() {
    let (mut world, mut rng) = world();
    let d = &mut rng;
    run(&mut world, d, [network("app", Some("172.25.0.0/16"))]);
    run(&mut world, d, [sandbox("c1", &[("app", fixed([172, 25, 3, 3]))], Default::default()), start("c1")]);
    let connect = |network: &str, sandbox: &str, request| Command::Connect {
        network: network.to_owned(),
        sandbox: sandbox.to_owned(),
        request,
    };
    let alias = EndpointRequest { aliases: vec!["foo".to_owned()], ..Default::default() };
    let cases = [
        (network("app", None), "network with name app already exists"),
        (network("bridge", None), "operation is not permitted on predefined bridge network"),
        (
            Command::RemoveNetwork { network: "bridge".to_owned() },
            "bridge is a pre-defined network and cannot be removed",
        ),
        (Command::RemoveNetwork { network: "nosuch".to_owned() }, "network nosuch not found"),
        (connect("nosuch", "c1", Default::default()), "network nosuch not found"),
        (connect("app", "nosuchc", Default::default()), "No such container: nosuchc"),
        (connect("app", "c1", Default::default()), "endpoint with name c1 already exists in network app"),
        (
            connect("host", "c1", Default::default()),
            "container cannot be disconnected from host network or connected to host network",
        ),
        (
            connect("none", "c1", Default::default()),
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        ),
        (
            connect("bridge", "c1", alias),
            "invalid endpoint settings: network-scoped aliases are only supported for user-defined networks: bridge is not one",
        ),
        (
            connect("bridge", "c1", fixed([172, 17, 0, 99])),
            "invalid endpoint settings: user-specified IP address is supported on user-defined networks only: bridge is not one",
        ),
        (
            sandbox("c2", &[("app", fixed([10, 9, 9, 9]))], Default::default()),
            "invalid endpoint settings: no configured subnet of network app contains IP address 10.9.9.9",
        ),
        (
            sandbox("c2", &[("app", fixed([172, 25, 0, 1]))], Default::default()),
            "Address already in use: 172.25.0.1 on network app is the gateway",
        ),
        (
            sandbox("c2", &[("app", fixed([172, 25, 255, 255]))], Default::default()),
            "Address already in use: 172.25.255.255 on network app is reserved (the first or last of its subnet)",
        ),
    ];
    for (command, expected) in cases {
        assert_eq!(refused(&mut world, d, command), expected);
    }
}

#[test]
fn option_values_with_line_breaks_are_refused() {
    let (mut world, mut rng) = world();
    let bad = "x\n10.0.0.1 trusted".to_owned();
    let options = [
        SandboxOptions { hostname: bad.clone(), ..Default::default() },
        SandboxOptions { dns_search: vec![bad.clone()], ..Default::default() },
        SandboxOptions { dns_options: vec![bad.clone()], ..Default::default() },
        SandboxOptions { extra_hosts: vec![(bad.clone(), None)], ..Default::default() },
    ];
    for options in options {
        refused(&mut world, &mut rng, sandbox("a", &[], options));
    }
    run(&mut world, &mut rng, [network("app", None)]);
    let alias = EndpointRequest { aliases: vec![bad], ..Default::default() };
    refused(&mut world, &mut rng, sandbox("a", &[("app", alias)], Default::default()));
}
