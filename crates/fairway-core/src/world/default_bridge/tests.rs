use crate::world::tests::{addresses, network, refused, run, sandbox, start, world};
use crate::world::{Command, RecordKey, World};
use fairway_model::{DefaultBridge, EndpointRequest, HostFacts, HostRoute, Owner, Rng, Settings};

fn route(destination: &str, interface: &str) -> HostRoute {
    HostRoute { destination: destination.parse().unwrap(), interface: interface.to_owned() }
}

/// A host with the bridge `own0`.
fn host(addresses: &[&str]) -> HostFacts {
    HostFacts {
        bridges: vec!["own0".to_owned()],
        addresses: addresses.iter().map(|address| route(address, "own0")).collect(),
        ..HostFacts::default()
    }
}

fn configure(bridge: DefaultBridge, ipv6: bool, host: HostFacts) -> Command {
    Command::Configure {
        settings: Box::new(Settings { bridge, ipv6, ..Settings::default() }),
        host: Box::new(host),
    }
}

fn named(name: &str) -> DefaultBridge {
    DefaultBridge::Named(name.to_owned())
}

fn stop(sandbox: &str) -> Command {
    Command::StopSandbox { sandbox: sandbox.to_owned(), exit: 0.into(), process: None }
}

/// The default network's bridge, and its subnets with gateways.
fn shown(world: &World) -> (String, Vec<String>) {
    let network = world.find_network("bridge").unwrap();
    let subnets =
        network.subnets.iter().map(|it| format!("{}/{}", it.gateway, it.subnet.prefix_len())).collect();
    (network.bridge.clone(), subnets)
}

#[test]
fn an_existing_bridge_gives_its_addresses_to_the_default_network() {
    let (mut world, mut rng) = world();
    let both = host(&["192.0.2.1/24", "fd02::1/64", "fe80::1/64"]);
    run(&mut world, &mut rng, [configure(named("own0"), true, both)]);
    assert_eq!(shown(&world), ("own0".to_owned(), vec!["192.0.2.1/24".to_owned(), "fd02::1/64".to_owned()]));
    let adopted = world.find_network("bridge").unwrap().adopted.clone().unwrap();
    assert_eq!(adopted.len(), 2, "without the link-local address");
    run(&mut world, &mut rng, [configure(named("fairway0"), false, HostFacts::default())]);
    assert_eq!(shown(&world).0, "fairway0", "the name of Fairway's own bridge");
    assert_eq!(world.find_network("bridge").unwrap().adopted, None);
}

#[test]
fn an_existing_bridge_must_be_there_with_an_address_of_each_family() {
    let (mut world, mut rng) = world();
    let cases = [
        (
            configure(named("own1"), false, host(&[])),
            "cannot use bridge own1: it does not exist: create it (ip link add own1 type bridge), or drop --bridge",
        ),
        (
            configure(named("own0"), false, host(&["fd02::1/64"])),
            "cannot use bridge own0: it has no IPv4 address: add one, or choose another --bridge",
        ),
        (
            configure(named("own0"), true, host(&["192.0.2.1/24"])),
            "cannot use bridge own0: it has no IPv6 address: add one, or choose another --bridge",
        ),
    ];
    for (command, expected) in cases {
        assert_eq!(refused(&mut world, &mut rng, command), expected);
    }
    let Command::CreateNetwork(mut request) = network("other", Some("10.5.0.0/24")) else { unreachable!() };
    request.options.insert("com.docker.network.bridge.name".to_owned(), "own0".to_owned());
    run(&mut world, &mut rng, [Command::CreateNetwork(request)]);
    let text = refused(&mut world, &mut rng, configure(named("own0"), false, host(&["192.0.2.1/24"])));
    assert!(text.starts_with("bridge name own0 is taken by network other"), "{text}");
}

#[test]
fn the_default_network_is_disabled_once_no_container_runs_on_it() {
    let (mut world, mut rng) = world();
    let id = world.find_network("bridge").unwrap().id;
    run(&mut world, &mut rng, [sandbox("a", &[], Default::default()), start("a")]);
    let endpoint = world.endpoints().next().unwrap().clone();
    let disable = configure(DefaultBridge::Disabled, false, HostFacts::default());
    assert_eq!(
        refused(&mut world, &mut rng, disable.clone()),
        "cannot disable the default bridge: container a runs on it: stop it first"
    );
    run(&mut world, &mut rng, [stop("a")]);
    let change = world.apply(disable.clone(), 1, &mut rng).unwrap();
    assert!(world.find_network("bridge").is_err() && world.endpoints().next().is_none());
    for key in [RecordKey::Network(id), RecordKey::Endpoint(endpoint.id)] {
        assert!(change.records.contains(&key), "{key:?}");
    }
    let sandbox = endpoint.sandbox;
    for owner in [
        Owner::Network(id),
        Owner::Endpoint(endpoint.id),
        Owner::Sandbox(sandbox),
        Owner::Publications(sandbox),
    ] {
        assert!(change.owners.contains(&owner), "{owner:?}");
    }
    let change = world.apply(disable, 1, &mut rng).unwrap();
    assert!(!change.records.contains(&RecordKey::Network(id)), "nothing is left to remove");
    // A sandbox without a network has none now.
    run(&mut world, &mut rng, [crate::world::tests::sandbox("b", &[], Default::default()), start("b")]);
    assert!(addresses(&world, "b").is_empty());
}

#[test]
fn ipv6_of_the_default_bridge_is_disabled_once_no_container_has_it() {
    let (mut world, mut rng) = world();
    let six = |ipv6| configure(DefaultBridge::Managed, ipv6, HostFacts::default());
    run(&mut world, &mut rng, [six(true), sandbox("a", &[], Default::default()), start("a")]);
    let given = addresses(&world, "a");
    assert_eq!(given.len(), 2);
    assert_eq!(
        refused(&mut world, &mut rng, six(false)),
        format!(
            "cannot disable IPv6 on the default bridge: container a has {}: stop it first, or add --ipv6",
            given[1]
        )
    );
    run(&mut world, &mut rng, [six(true), stop("a"), six(false), start("a")]);
    assert_eq!(addresses(&world, "a").len(), 1);
}

#[test]
fn the_default_subnet_is_kept_while_it_is_free_or_in_use() {
    let (mut world, mut rng) = (World::default(), Rng::new(1));
    let managed = |host| configure(DefaultBridge::Managed, false, host);
    let on = |address: &str| HostFacts { addresses: vec![route(address, "eth0")], ..HostFacts::default() };
    run(&mut world, &mut rng, [managed(HostFacts::default())]);
    assert_eq!(shown(&world).1, ["172.17.0.1/16"]);
    // An address of the host within the subnet, which would be lost.
    run(&mut world, &mut rng, [sandbox("a", &[], Default::default()), start("a")]);
    run(&mut world, &mut rng, [managed(on("172.17.0.1/16"))]);
    assert_eq!(shown(&world).1, ["172.17.0.1/16"], "a container runs on it");
    run(&mut world, &mut rng, [stop("a")]);
    let change = world.apply(managed(on("172.17.0.9/16")), 1, &mut rng).unwrap();
    assert_eq!(shown(&world).1, ["172.18.0.1/16"]);
    assert!(
        change.warnings.iter().any(|it| it.starts_with("the default bridge leaves subnet 172.17.0.0/16: ")),
        "{:?}",
        change.warnings
    );
    run(&mut world, &mut rng, [managed(HostFacts::default())]);
    assert_eq!(shown(&world).1, ["172.18.0.1/16"], "a free subnet is kept");
}

#[test]
fn a_new_overlap_with_the_host_is_warned_of_once() {
    let (mut world, mut rng) = world();
    let facts = HostFacts { routes: vec![route("172.17.9.0/24", "eth0")], ..HostFacts::default() };
    let overlap = |world: &mut World, rng: &mut Rng| {
        let command = configure(DefaultBridge::Managed, false, facts.clone());
        world.apply(command, 1, rng).unwrap().warnings
    };
    let warnings = overlap(&mut world, &mut rng);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("overlaps 172.17.9.0/24 of eth0"), "{warnings:?}");
    assert!(overlap(&mut world, &mut rng).is_empty());
}

#[test]
fn a_container_on_another_network_does_not_hold_the_default_subnet() {
    let (mut world, mut rng) = world();
    let on_app = [("app", EndpointRequest::default())];
    run(&mut world, &mut rng, [network("app", None), sandbox("a", &on_app, Default::default()), start("a")]);
    run(&mut world, &mut rng, [configure(DefaultBridge::Disabled, false, HostFacts::default())]);
    assert!(world.find_network("bridge").is_err());
}

#[test]
fn a_flag_whose_subnet_the_host_uses_is_refused_by_name() {
    let flags = |bip: &str, fixed_cidr: &str| Settings {
        bridge_address: bip.parse().ok(),
        fixed_cidr: fixed_cidr.parse().ok(),
        ..Settings::default()
    };
    let cases = [
        (
            flags("10.9.8.7/24", ""),
            vec![route("10.9.8.7/32", "lo")],
            "invalid --bip 10.9.8.7/24: 10.9.8.7 is the host's address at lo",
        ),
        (
            flags("", "10.9.8.0/24"),
            vec![route("10.9.8.7/24", "eth0")],
            "invalid --fixed-cidr 10.9.8.0/24: 10.9.8.7 is the host's address at eth0",
        ),
    ];
    for (settings, addresses, expected) in cases {
        let (mut world, mut rng) = world();
        let host = HostFacts { addresses, ..HostFacts::default() };
        let command = Command::Configure { settings: Box::new(settings), host: Box::new(host) };
        let text = refused(&mut world, &mut rng, command);
        assert_eq!(text, format!("{expected}, and the host would lose it: choose another subnet"));
    }
}

/// A subnet that was accepted before the host had the address is kept; another address of it is new.
#[test]
fn a_present_subnet_of_a_flag_is_kept_when_the_host_gets_an_address_in_it() {
    let (mut world, mut rng) = world();
    let configure = |bip: &str, addresses: &[&str]| {
        let settings = Settings { bridge_address: bip.parse().ok(), ..Settings::default() };
        let addresses = addresses.iter().map(|it| route(it, "eth0")).collect();
        let host = HostFacts { addresses, ..HostFacts::default() };
        Command::Configure { settings: Box::new(settings), host: Box::new(host) }
    };
    run(&mut world, &mut rng, [configure("10.9.8.7/24", &[])]);
    run(&mut world, &mut rng, [configure("10.9.8.7/24", &["10.9.8.7/24"])]);
    assert_eq!(shown(&world).1, ["10.9.8.7/24"]);
    let text = refused(&mut world, &mut rng, configure("10.9.8.8/24", &["10.9.8.8/24"]));
    assert!(text.starts_with("invalid --bip 10.9.8.8/24: "), "{text}");
}
