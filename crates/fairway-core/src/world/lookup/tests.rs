use crate::world::tests::{network, refused, run, sandbox, start, world};
use crate::world::{Command, CreateNetwork, CreateSandbox, NetworkChoice, Refusal};
use fairway_model::{HostFacts, HostRoute, ParentFacts, SandboxKind, SandboxOptions, Settings};

#[test]
fn a_container_in_the_namespace_of_another_is_owned_by_it() {
    let (mut world, mut rng) = world();
    let guest = Command::CreateSandbox(Box::new(CreateSandbox {
        name: Some("guest".to_owned()),
        kind: SandboxKind::Run,
        network: NetworkChoice::Container("owner".to_owned()),
        options: SandboxOptions::default(),
    }));
    run(&mut world, &mut rng, [sandbox("owner", &[], Default::default()), guest]);
    let owner =
        |name: &str| world.namespace_owner(world.find_sandbox(name).unwrap()).map(|owner| owner.name.clone());
    assert_eq!(owner("guest"), Some("owner".to_owned()));
    assert_eq!(owner("owner"), Some("owner".to_owned()));
    let text = refused(&mut world, &mut rng, start("guest"));
    assert_eq!(text, "cannot join network of a non running container: owner");
    run(&mut world, &mut rng, [start("owner"), start("guest")]);
}

#[test]
fn an_id_prefix_must_be_unique() {
    let (mut world, mut rng) = world();
    let names: Vec<String> = (0..40).map(|number| format!("n{number}")).collect();
    run(&mut world, &mut rng, names.iter().map(|name| sandbox(name, &[], Default::default())));
    let ids: Vec<String> = world.sandboxes().map(|sandbox| sandbox.id.to_string()).collect();
    let first = &ids[0][..1];
    let count = ids.iter().filter(|id| id.starts_with(first)).count();
    assert!(count > 1, "40 ids share first digits");
    let expected = Refusal::AmbiguousSandbox { reference: first.to_owned(), count };
    assert_eq!(world.find_sandbox(first).unwrap_err(), expected);
    assert_eq!(world.find_sandbox(&ids[0][..20]).unwrap().id.to_string(), ids[0]);
    for unknown in ["", "zz", &"0".repeat(65)] {
        assert_eq!(world.find_sandbox(unknown).unwrap_err(), Refusal::NoSuchSandbox(unknown.to_owned()));
    }
}

#[test]
fn the_mtu_is_that_of_option_uplink_daemon_or_default_route() {
    let configure = |mtu, host_mtu| Command::Configure {
        settings: Box::new(Settings { mtu, ..Settings::default() }),
        host: Box::new(HostFacts { mtu: host_mtu, ..HostFacts::default() }),
    };
    let Command::CreateNetwork(mut request) = network("own", None) else { unreachable!() };
    request.options.insert("com.docker.network.driver.mtu".to_owned(), "1300".to_owned());
    for (daemon, host, expected) in
        [(None, None, 1500), (None, Some(9000), 9000), (Some(1400), Some(9000), 1400)]
    {
        let (mut world, mut rng) = world();
        run(&mut world, &mut rng, [configure(daemon, host), Command::CreateNetwork(request.clone())]);
        let mtu = |name: &str| world.mtu(world.find_network(name).unwrap());
        assert_eq!((mtu("bridge"), mtu("own")), (expected, 1300));
    }
}

#[test]
fn ipv6_needs_an_mtu_of_1280() {
    let configure = |mtu, host_mtu| Command::Configure {
        settings: Box::new(Settings { mtu, ..Settings::default() }),
        host: Box::new(HostFacts { mtu: host_mtu, ..HostFacts::default() }),
    };
    let create = |name: &str, driver: &str, mtu: &str| {
        let Command::CreateNetwork(request) = network(name, None) else { unreachable!() };
        let given = [mtu].into_iter().filter(|mtu| !mtu.is_empty());
        let options = given.map(|mtu| ("com.docker.network.driver.mtu".to_owned(), mtu.to_owned()));
        Command::CreateNetwork(CreateNetwork {
            driver: driver.to_owned(),
            enable_ipv6: Some(true),
            options: options.collect(),
            ..request
        })
    };
    for driver in ["bridge", "routed", "ptp", "macvlan"] {
        let (mut world, mut rng) = world();
        let text = refused(&mut world, &mut rng, create("small", driver, "1279"));
        assert!(text.starts_with("cannot use IPv6 on network small with an MTU of 1279"), "{driver}: {text}");
        assert!(text.contains("at least 1280 bytes (RFC 8200, section 5)"), "{driver}: {text}");
        run(&mut world, &mut rng, [create("app", driver, "1280")]);
    }
    let (mut world, mut rng) = world();
    run(&mut world, &mut rng, [configure(Some(1200), None), network("four", None)]);
    refused(&mut world, &mut rng, create("six", "bridge", ""));
    // No user chose the MTU of the host's default route.
    run(&mut world, &mut rng, [configure(None, Some(1200)), create("six", "bridge", "")]);
    let mtu = |name: &str| world.mtu(world.find_network(name).unwrap());
    assert_eq!((mtu("four"), mtu("six")), (1200, 1280));
    let text = refused(&mut world, &mut rng, configure(Some(1200), None));
    assert!(text.starts_with("cannot use IPv6 on network six"), "{text}");
}

#[test]
fn icc_of_the_default_bridge_is_the_daemons_setting() {
    let (mut world, mut rng) = world();
    let icc = |name: &str, value: &str| {
        let Command::CreateNetwork(request) = network(name, None) else { unreachable!() };
        let options = [("com.docker.network.bridge.enable_icc".to_owned(), value.to_owned())].into();
        Command::CreateNetwork(CreateNetwork { options, ..request })
    };
    run(&mut world, &mut rng, [network("plain", None), icc("on", "true"), icc("off", "false")]);
    for daemon in [true, false] {
        let settings = Box::new(Settings { icc: daemon, ..Settings::default() });
        run(&mut world, &mut rng, [Command::Configure { settings, host: Box::default() }]);
        let icc = |name: &str| world.icc(world.find_network(name).unwrap());
        assert_eq!([icc("bridge"), icc("plain"), icc("on"), icc("off")], [daemon, true, true, false]);
    }
}

#[test]
fn routes_that_overlap_a_network_are_found_in_both_directions() {
    let (mut world, mut rng) = world();
    run(&mut world, &mut rng, [network("app", Some("10.1.0.0/16"))]);
    let bridge = world.find_network("app").unwrap().bridge.clone();
    let route = |destination: &str, interface: &str| HostRoute {
        destination: destination.parse().unwrap(),
        interface: interface.to_owned(),
    };
    let routes = vec![
        route("10.1.2.0/24", "eth1"),
        route("10.0.0.0/8", "tun0"),
        route("10.2.0.0/16", "eth2"),
        route("10.1.0.0/16", &bridge),
    ];
    let host = Box::new(HostFacts { routes, ..HostFacts::default() });
    run(&mut world, &mut rng, [Command::Configure { settings: Box::default(), host }]);
    let overlapping = world.overlapping_routes(world.find_network("app").unwrap());
    assert_eq!(overlapping.map(|it| it.interface.as_str()).collect::<Vec<_>>(), ["eth1", "tun0"]);
}

/// The subnet of a macvlan network is that of its parent's LAN, a ptp network is on no host, and the bridge of an isolated
/// network has no address.
#[test]
fn no_route_overlaps_a_network_that_the_host_does_not_route_to() {
    let (mut world, mut rng) = world();
    let create = |name: &str, driver: &str, subnet: &str, option: Option<(&str, &str)>| {
        let Command::CreateNetwork(request) = network(name, Some(subnet)) else { unreachable!() };
        let options = option.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let parent = Some(ParentFacts::default());
        let internal = name == "isolated";
        Command::CreateNetwork(CreateNetwork {
            driver: driver.to_owned(),
            options,
            parent,
            internal,
            ..request
        })
    };
    let isolated = Some(("com.docker.network.bridge.gateway_mode_ipv4", "isolated"));
    let networks = [
        create("lan", "macvlan", "10.1.0.0/24", Some(("parent", "eth0"))),
        create("pair", "ptp", "10.2.0.0/24", None),
        create("isolated", "bridge", "10.3.0.0/24", isolated),
        create("app", "bridge", "10.4.0.0/24", None),
    ];
    run(&mut world, &mut rng, networks);
    let routes = ["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24", "10.4.0.0/24"]
        .map(|it| HostRoute { destination: it.parse().unwrap(), interface: "eth0".to_owned() });
    let host = Box::new(HostFacts { routes: routes.to_vec(), ..HostFacts::default() });
    run(&mut world, &mut rng, [Command::Configure { settings: Box::default(), host }]);
    let overlapped = world.networks().filter(|it| world.overlapping_routes(it).next().is_some());
    assert_eq!(overlapped.map(|it| it.name.as_str()).collect::<Vec<_>>(), ["app"]);
}

#[test]
fn options_conflict_with_the_namespace_of_another_container() {
    let (mut world, mut rng) = world();
    run(&mut world, &mut rng, [sandbox("owner", &[], Default::default())]);
    let cases = [
        (SandboxOptions { publish_all: true, ..Default::default() }, "port publishing"),
        (SandboxOptions { hostname: "web".to_owned(), ..Default::default() }, "hostname"),
        (SandboxOptions { dns: vec!["10.0.0.1".parse().unwrap()], ..Default::default() }, "dns"),
        (SandboxOptions { dns_search: vec!["example".to_owned()], ..Default::default() }, "dns"),
        (
            SandboxOptions { extra_hosts: vec![("db".to_owned(), None)], ..Default::default() },
            "custom host-to-IP mapping",
        ),
        (
            SandboxOptions { exposed: vec![(80, fairway_model::Protocol::Tcp)], ..Default::default() },
            "port exposing",
        ),
    ];
    for (options, option) in cases {
        let create = Command::CreateSandbox(Box::new(CreateSandbox {
            name: None,
            kind: SandboxKind::Run,
            network: NetworkChoice::Container("owner".to_owned()),
            options,
        }));
        let expected = format!("conflicting options: {option} and the container type network mode");
        assert_eq!(refused(&mut world, &mut rng, create), expected);
    }
}
