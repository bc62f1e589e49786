use crate::world::tests::{network, publish, refused, run, sandbox, start, world};
use crate::world::{Command, CreateNetwork, CreateSandbox, NetworkChoice, World};
use fairway_model::{EndpointRequest, SandboxKind, SandboxOptions};

fn join(name: &str) -> [(&str, EndpointRequest); 1] {
    [(name, EndpointRequest::default())]
}

fn connect(network: &str, sandbox: &str) -> Command {
    let (network, sandbox) = (network.to_owned(), sandbox.to_owned());
    Command::Connect { network, sandbox, request: EndpointRequest::default() }
}

fn disconnect(network: &str, sandbox: &str) -> Command {
    Command::Disconnect { network: network.to_owned(), sandbox: sandbox.to_owned() }
}

fn stop(sandbox: &str) -> Command {
    Command::StopSandbox { sandbox: sandbox.to_owned(), exit: 0.into(), process: None }
}

fn published(world: &World, name: &str) -> Vec<u16> {
    let publications = &world.find_sandbox(name).unwrap().publications;
    publications.iter().map(|publication| publication.host_ports.first).collect()
}

/// A requested MAC address belongs to one running endpoint; the one that follows from the IPv4 address gives way to it.
#[test]
fn a_mac_address_belongs_to_one_endpoint() {
    let (mut world, mut rng) = world();
    run(&mut world, &mut rng, [network("app", None), sandbox("first", &join("app"), Default::default())]);
    run(&mut world, &mut rng, [start("first")]);
    let mac = |world: &World, name: &str| {
        let id = world.find_sandbox(name).unwrap().id;
        world.endpoints_of_sandbox(id)[0].allocation.as_ref().unwrap().mac
    };
    let derived = mac(&world, "first");
    let with_mac = [("bridge", EndpointRequest { mac: Some(derived), ..EndpointRequest::default() })];
    run(&mut world, &mut rng, [sandbox("second", &with_mac, Default::default())]);
    let refusal = refused(&mut world, &mut rng, start("second"));
    assert!(refusal.contains(&derived.to_string()) && refusal.contains("first"), "{refusal}");
    run(&mut world, &mut rng, [stop("first"), start("second")]);
    assert_eq!(mac(&world, "second"), derived);
    // Started again it has the same IPv4 address, and another MAC address.
    run(&mut world, &mut rng, [start("first")]);
    assert_ne!(mac(&world, "first"), derived);
    run(&mut world, &mut rng, [stop("first"), stop("second"), start("first")]);
    assert_eq!(mac(&world, "first"), derived);
}

#[test]
fn a_bridge_has_a_limit_of_ports() {
    let (mut world, mut rng) = world();
    let d = &mut rng;
    run(&mut world, d, [network("app", Some("10.0.0.0/16")), network("other", None)]);
    for number in 0..1023 {
        let name = format!("s{number}");
        run(&mut world, d, [sandbox(&name, &join("app"), Default::default()), start(&name)]);
    }
    // One more may be made, for another may have stopped when it starts.
    run(&mut world, d, [sandbox("more", &join("app"), Default::default())]);
    let bridge = world.find_network("app").unwrap().bridge.clone();
    let expected = format!("cannot join network app: its bridge {bridge} has 1023 ports");
    for command in [start("more"), connect("app", "elsewhere")] {
        if let Command::Connect { .. } = command {
            run(
                &mut world,
                d,
                [sandbox("elsewhere", &join("other"), Default::default()), start("elsewhere")],
            );
        }
        let refusal = refused(&mut world, d, command);
        assert!(refusal.starts_with(&expected), "{refusal}");
    }
    run(&mut world, d, [stop("s7"), start("more"), stop("more"), connect("app", "elsewhere")]);
}

#[test]
fn a_stopped_container_does_not_start_without_its_removed_network() {
    let (mut world, mut rng) = world();
    let d = &mut rng;
    run(&mut world, d, [network("app", None), network("back", None), network("other", None)]);
    run(&mut world, d, [sandbox("a", &join("app"), Default::default()), connect("back", "a")]);
    let remove = |network: &str| Command::RemoveNetwork { network: network.to_owned() };
    run(&mut world, d, [remove("app"), remove("back")]);
    let refusal = refused(&mut world, d, start("a"));
    assert!(
        refusal.starts_with("network app not found: create it and connect container a to it"),
        "{refusal}"
    );
    // Another of that name is another network.
    run(&mut world, d, [network("app", None)]);
    assert_eq!(refused(&mut world, d, start("a")), refusal);
    run(&mut world, d, [connect("app", "a")]);
    assert!(refused(&mut world, d, start("a")).starts_with("network back not found"));
    run(&mut world, d, [disconnect("back", "a"), start("a"), stop("a")]);
    assert_eq!(refused(&mut world, d, disconnect("back", "a")), "network back not found");
    // Who left all of its networks wants none.
    run(&mut world, d, [disconnect("app", "a"), start("a")]);
}

#[test]
fn ports_are_published_while_there_is_a_gateway_network() {
    let (mut world, mut rng) = world();
    let d = &mut rng;
    let internal = Command::CreateNetwork(CreateNetwork {
        name: "inn".to_owned(),
        internal: true,
        ..Default::default()
    });
    run(&mut world, d, [network("app", None), network("other", None), internal]);
    run(&mut world, d, [sandbox("a", &join("app"), publish(Some(8080), 80)), start("a")]);
    run(&mut world, d, [sandbox("b", &join("app"), publish(Some(8080), 80))]);
    assert_eq!(published(&world, "a"), [8080, 8080]);
    assert!(refused(&mut world, d, start("b")).contains("already allocated"));
    run(&mut world, d, [disconnect("app", "a"), start("b")]);
    assert_eq!(published(&world, "a"), [0; 0]);
    assert!(refused(&mut world, d, connect("other", "a")).contains("already allocated: container b"));
    run(&mut world, d, [stop("b"), connect("inn", "a")]);
    assert_eq!(published(&world, "a"), [0; 0]);
    run(&mut world, d, [connect("other", "a")]);
    assert_eq!(published(&world, "a"), [8080, 8080]);
}

#[test]
fn connect_and_disconnect_name_network_and_sandbox_in_the_change() {
    let (mut world, mut rng) = world();
    run(&mut world, &mut rng, [network("app", None), sandbox("a", &[], Default::default()), start("a")]);
    let ids = (world.find_network("app").unwrap().id, world.find_sandbox("a").unwrap().id);
    for command in [connect("app", "a"), disconnect("app", "a")] {
        let change = world.apply(command, 1, &mut rng).unwrap();
        assert_eq!((change.network, change.sandbox), (Some(ids.0), Some(ids.1)));
    }
}

#[test]
fn a_requested_interface_name_is_used_once_in_a_container() {
    let (mut world, mut rng) = world();
    let named = |network: &str, sandbox: &str| Command::Connect {
        network: network.to_owned(),
        sandbox: sandbox.to_owned(),
        request: EndpointRequest {
            driver_options: [("com.docker.network.endpoint.ifname".to_owned(), "wan0".to_owned())].into(),
            ..EndpointRequest::default()
        },
    };
    run(&mut world, &mut rng, [network("one", None), network("two", None)]);
    run(&mut world, &mut rng, [sandbox("a", &[], Default::default()), start("a"), named("one", "a")]);
    let id = world.find_sandbox("a").unwrap().id;
    let names = world.endpoints_of_sandbox(id).into_iter().map(|it| it.allocation.as_ref().unwrap());
    assert_eq!(names.map(|it| it.interface.as_str()).collect::<Vec<_>>(), ["eth0", "wan0"]);
    let text = refused(&mut world, &mut rng, named("two", "a"));
    assert_eq!(text, "interface name wan0 is already used in container a");
}

#[test]
fn a_running_container_has_the_resolver_from_its_first_user_defined_network_on() {
    let (mut world, mut rng) = world();
    let resolver = |world: &World, name: &str| world.find_sandbox(name).unwrap().resolver;
    run(&mut world, &mut rng, [network("app", None)]);
    for name in ["stopped", "running"] {
        run(&mut world, &mut rng, [sandbox(name, &[], Default::default())]);
    }
    run(&mut world, &mut rng, [connect("app", "stopped"), start("running")]);
    assert!(!resolver(&world, "stopped") && !resolver(&world, "running"));
    run(&mut world, &mut rng, [connect("app", "running"), start("stopped")]);
    assert!(resolver(&world, "stopped") && resolver(&world, "running"));
    run(&mut world, &mut rng, [disconnect("app", "running")]);
    assert!(resolver(&world, "running"), "its resolv.conf keeps the resolver");
    run(&mut world, &mut rng, [stop("running"), start("running")]);
    assert!(!resolver(&world, "running"));
}

#[test]
fn a_container_without_network_is_disconnected_from_none_before_it_is_connected() {
    let (mut world, mut rng) = world();
    let create = CreateSandbox {
        name: Some("a".to_owned()),
        kind: SandboxKind::Run,
        network: NetworkChoice::None,
        options: SandboxOptions::default(),
    };
    run(&mut world, &mut rng, [network("app", None), Command::CreateSandbox(Box::new(create))]);
    assert!(refused(&mut world, &mut rng, connect("app", "a")).contains("private (none) mode"));
    let change = world.apply(disconnect("none", "a"), 1, &mut rng).unwrap();
    let ids = (world.find_network("none").unwrap().id, world.find_sandbox("a").unwrap().id);
    assert_eq!((change.network, change.sandbox), (Some(ids.0), Some(ids.1)));
    run(&mut world, &mut rng, [connect("app", "a"), start("a")]);
}
