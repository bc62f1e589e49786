use std::net::IpAddr;

use crate::object::Key;
use crate::object::SetName;
use crate::plan::fragment;
use crate::world::tests::{addresses, publish, refused, run, sandbox, start, world};
use crate::world::{Command, CreateNetwork, World};
use fairway_model::Rng;
use fairway_model::SubnetRequest;
use fairway_model::{EndpointRequest, GatewayMode, PortRange, Publication, Settings};

const MODE4: &str = "com.docker.network.bridge.gateway_mode_ipv4";
const MODE6: &str = "com.docker.network.bridge.gateway_mode_ipv6";

fn network(name: &str, subnets: &[&str], internal: bool, options: &[(&str, &str)]) -> Command {
    let subnet = |text: &&str| SubnetRequest { subnet: text.parse().ok(), ..SubnetRequest::default() };
    Command::CreateNetwork(CreateNetwork {
        name: name.to_owned(),
        subnets: subnets.iter().map(subnet).collect(),
        internal,
        options: options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..CreateNetwork::default()
    })
}

fn join(name: &str) -> [(&str, EndpointRequest); 1] {
    [(name, EndpointRequest::default())]
}

fn connect(network: &str, sandbox: &str, gateway_priority: i32) -> Command {
    Command::Connect {
        network: network.to_owned(),
        sandbox: sandbox.to_owned(),
        request: EndpointRequest { gateway_priority, ..EndpointRequest::default() },
    }
}

fn disconnect(network: &str, sandbox: &str) -> Command {
    Command::Disconnect { network: network.to_owned(), sandbox: sandbox.to_owned() }
}

fn publications(world: &World, name: &str) -> Vec<(IpAddr, u16, u16, bool)> {
    let shown = |p: &Publication| (p.host_address, p.host_ports.first, p.container_port, p.routed);
    world.find_sandbox(name).unwrap().publications.iter().map(shown).collect()
}

const ANY4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
const ANY6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED);

fn routed_world() -> (World, Rng) {
    let (mut world, mut rng) = world();
    let both = [(MODE4, "routed"), (MODE6, "routed")];
    run(
        &mut world,
        &mut rng,
        [
            network("routed", &["10.1.0.0/24", "fd01::/64"], false, &both),
            network("half", &["10.2.0.0/24", "fd02::/64"], false, &both[1..]),
            network("plain", &["10.3.0.0/24", "fd03::/64"], false, &[]),
        ],
    );
    (world, rng)
}

/// What is open straight at the addresses of a sandbox.
fn straight(world: &World, name: &str) -> Vec<String> {
    let id = world.find_sandbox(name).unwrap().id;
    let fragment = fragment(world, fairway_model::Owner::Publications(id));
    let ports = fragment.keys().filter_map(crate::policy::port::direct_port);
    ports.map(|(protocol, at)| format!("{} {}/{protocol}", at.ip(), at.port())).collect()
}

fn holds(world: &World, name: &str, set: SetName) -> bool {
    let id = world.find_sandbox(name).unwrap().id;
    let fragment = fragment(world, fairway_model::Owner::Publications(id));
    fragment.keys().any(|key| matches!(key, Key::Element(found, _) if *found == set))
}

#[test]
fn what_is_routed_has_no_host_port_that_others_could_not_have() {
    let (mut world, mut rng) = routed_world();
    let d = &mut rng;
    for name in ["a", "b"] {
        run(&mut world, d, [sandbox(name, &join("routed"), publish(Some(8080), 80)), start(name)]);
        assert_eq!(publications(&world, name), [(ANY4, 8080, 80, true), (ANY6, 8080, 80, true)]);
    }
    assert_eq!(straight(&world, "a"), ["10.1.0.2 80/tcp", "fd01::2 80/tcp"]);
    assert!(!holds(&world, "a", SetName::Published4) && !holds(&world, "a", SetName::Hairpin4));
    // One that is translated has it, in the family where it is.
    run(&mut world, d, [sandbox("c", &join("half"), publish(Some(8080), 80)), start("c")]);
    assert_eq!(publications(&world, "c"), [(ANY4, 8080, 80, false), (ANY6, 8080, 80, true)]);
    assert_eq!(straight(&world, "c"), ["fd02::2 80/tcp"]);
    assert!(holds(&world, "c", SetName::Published4) && !holds(&world, "c", SetName::Published6));
    run(&mut world, d, [sandbox("e", &join("plain"), publish(Some(8080), 80))]);
    let refusal = refused(&mut world, d, start("e"));
    assert!(refusal.starts_with("Bind for 0.0.0.0:8080 failed: port is already allocated"), "{refusal}");
}

#[test]
fn a_random_port_is_drawn_where_it_has_a_meaning() {
    let (mut world, mut rng) = routed_world();
    let d = &mut rng;
    run(&mut world, d, [sandbox("a", &join("routed"), publish(None, 80)), start("a")]);
    assert_eq!(publications(&world, "a"), [(ANY4, 80, 80, true), (ANY6, 80, 80, true)]);
    run(&mut world, d, [connect("plain", "a", 1)]);
    let now = publications(&world, "a");
    assert!(now[0].1 > 1024 && now[0].1 == now[1].1, "{now:?}");
    assert!(now.iter().all(|publication| !publication.3), "{now:?}");
}

#[test]
fn publications_follow_the_gateway_from_mode_to_mode() {
    let (mut world, mut rng) = routed_world();
    let d = &mut rng;
    run(&mut world, d, [sandbox("a", &join("routed"), publish(Some(8080), 80)), start("a")]);
    // Routed ports live on, also where the gateway is elsewhere.
    run(&mut world, d, [connect("plain", "a", 1)]);
    assert_eq!(publications(&world, "a"), [(ANY4, 8080, 80, false), (ANY6, 8080, 80, false)]);
    assert_eq!(straight(&world, "a"), ["10.1.0.2 80/tcp", "fd01::2 80/tcp"]);
    // Back, and the port is free for others.
    run(&mut world, d, [disconnect("plain", "a")]);
    assert_eq!(publications(&world, "a"), [(ANY4, 8080, 80, true), (ANY6, 8080, 80, true)]);
    run(&mut world, d, [sandbox("b", &join("plain"), publish(Some(8080), 80)), start("b")]);
    let refusal = refused(&mut world, d, connect("plain", "a", 1));
    assert!(refusal.contains("container b publishes 8080/tcp"), "{refusal}");
    assert_eq!(world.endpoints_of_sandbox(world.find_sandbox("a").unwrap().id).len(), 1);
    // A disconnect succeeds, and warns about discarded ports.
    run(&mut world, d, [connect("plain", "a", -1)]);
    let change = world.apply(disconnect("routed", "a"), 1, d).unwrap();
    assert_eq!(change.warnings.len(), 2, "{:?}", change.warnings);
    let warning = "A published port of a is discarded: Bind for 0.0.0.0:8080 failed";
    assert!(change.warnings[0].starts_with(warning), "{:?}", change.warnings);
    assert_eq!(publications(&world, "a"), []);
}

#[test]
fn what_is_routed_can_be_published_and_unpublished_while_it_runs() {
    let (mut world, mut rng) = routed_world();
    let d = &mut rng;
    run(&mut world, d, [sandbox("a", &join("half"), publish(Some(8080), 80)), start("a")]);
    let publish = |ports: (u16, u16), to: (u16, u16)| Command::Publish {
        sandbox: "a".to_owned(),
        requests: vec![fairway_model::PublishRequest {
            host_address: None,
            host_ports: Some(PortRange { first: ports.0, last: ports.1 }),
            container_ports: PortRange { first: to.0, last: to.1 },
            protocol: fairway_model::Protocol::Udp,
        }],
    };
    run(&mut world, d, [publish((9000, 9002), (50, 52))]);
    let all = ["fd02::2 50/udp", "fd02::2 51/udp", "fd02::2 52/udp", "fd02::2 80/tcp"];
    assert_eq!(
        straight(&world, "a").into_iter().collect::<std::collections::BTreeSet<_>>(),
        all.map(str::to_owned).into()
    );
    let unpublish = |text: &str| Command::Unpublish {
        sandbox: "a".to_owned(),
        requests: vec![fairway_model::parse::unpublish(text).unwrap()],
    };
    run(&mut world, d, [unpublish("9001/udp"), unpublish("0:80")]);
    assert_eq!(straight(&world, "a"), ["fd02::2 50/udp", "fd02::2 52/udp"]);
    let left =
        [(ANY4, 9000, 50, false), (ANY4, 9002, 52, false), (ANY6, 9000, 50, true), (ANY6, 9002, 52, true)];
    assert_eq!(publications(&world, "a"), left);
    // It is so again after a restart.
    run(
        &mut world,
        d,
        [Command::StopSandbox { sandbox: "a".to_owned(), exit: 0.into(), process: None }, start("a")],
    );
    let mut again = publications(&world, "a");
    again.sort();
    assert_eq!(again, left);
}

#[test]
fn isolated_networks_have_no_gateway_to_reserve_an_address_for() {
    let (mut world, mut rng) = world();
    let d = &mut rng;
    run(&mut world, d, [network("point", &["10.1.0.0/31"], true, &[(MODE4, "isolated")])]);
    let point = world.find_network("point").unwrap();
    assert_eq!(world.gateway_mode(point, true), GatewayMode::Isolated);
    assert!(!world.bridge_has_address(point, true));
    for name in ["a", "b"] {
        run(&mut world, d, [sandbox(name, &join("point"), Default::default()), start(name)]);
    }
    let both = ["a", "b"].map(|name| addresses(&world, name));
    assert_eq!(both, [[IpAddr::from([10, 1, 0, 0])], [IpAddr::from([10, 1, 0, 1])]]);
    // One that only is internal has a gateway: the host is reached by it.
    run(&mut world, d, [network("inner", &["10.2.0.0/31"], true, &[])]);
    run(&mut world, d, ["c", "e"].map(|name| sandbox(name, &join("inner"), Default::default())));
    run(&mut world, d, [start("c")]);
    refused(&mut world, d, start("e"));
}

#[test]
fn who_may_go_straight_follows_from_settings_and_trust() {
    let (mut world, mut rng) = routed_world();
    let d = &mut rng;
    let trusting = [("com.docker.network.bridge.trusted_host_interfaces", "eth1")];
    run(&mut world, d, [network("trusting", &["10.4.0.0/24"], false, &trusting)]);
    for (name, network) in [("a", "plain"), ("b", "trusting"), ("c", "routed")] {
        run(&mut world, d, [sandbox(name, &join(network), publish(None, 80)), start(name)]);
    }
    let local = fairway_model::PublishRequest {
        host_address: Some(IpAddr::from([127, 0, 0, 1])),
        host_ports: None,
        container_ports: PortRange::single(81),
        protocol: fairway_model::Protocol::Tcp,
    };
    let requests = vec![local];
    for name in ["a", "b"] {
        let (sandbox, requests) = (name.to_owned(), requests.clone());
        run(&mut world, d, [Command::Publish { sandbox, requests }]);
    }
    assert_eq!(straight(&world, "a"), Vec::<String>::new());
    assert_eq!(straight(&world, "b"), ["10.4.0.2 80/tcp"], "and not what is the host's own");
    let settings = fairway_model::Settings { allow_direct_routing: true, ..Default::default() };
    run(&mut world, d, [Command::Configure { settings: Box::new(settings), host: Box::default() }]);
    assert_eq!(straight(&world, "a"), ["10.3.0.2 80/tcp", "fd03::2 80/tcp"]);
    assert_eq!(straight(&world, "c"), ["10.1.0.2 80/tcp", "fd01::2 80/tcp"]);
}

#[test]
fn gateway_modes_decide_about_nat_and_direct_access() {
    let (mut world, mut rng) = world();
    let modes = ["nat", "nat-unprotected", "routed", "isolated"];
    let subnets = |n: usize| [format!("10.{n}.0.0/24"), format!("fd0{n}::/64")];
    for (n, mode) in modes.into_iter().enumerate() {
        let subnets = subnets(n + 1);
        let subnets: Vec<&str> = subnets.iter().map(String::as_str).collect();
        let internal = mode == "isolated";
        run(&mut world, &mut rng, [network(mode, &subnets, internal, &[(MODE4, mode), (MODE6, mode)])]);
    }
    run(&mut world, &mut rng, [network("inside", &["10.9.0.0/24", "fd09::/64"], true, &[])]);
    let answers = |name: &str, ipv4| {
        let network = world.find_network(name).unwrap();
        [
            world.is_masqueraded(network, ipv4),
            world.is_unprotected(network, ipv4),
            world.is_routed(network, ipv4),
            world.allows_direct_access(network, ipv4),
            world.bridge_has_address(network, ipv4),
            world.bridge_has_ipv6(network),
        ]
    };
    for ipv4 in [true, false] {
        assert_eq!(answers("nat", ipv4), [true, false, false, false, true, true]);
        assert_eq!(answers("nat-unprotected", ipv4), [true, true, false, false, true, true]);
        assert_eq!(answers("routed", ipv4), [false, false, true, true, true, true]);
        assert_eq!(answers("isolated", ipv4), [false, false, false, false, false, false]);
        assert_eq!(answers("inside", ipv4), [false, false, false, false, true, true]);
        assert_eq!(answers("bridge", ipv4), [true, false, false, false, true, false]);
    }
}

#[test]
fn direct_access_is_allowed_by_the_daemon_the_driver_or_a_trusted_interface() {
    let (mut world, mut rng) = world();
    let trusted = "com.docker.network.bridge.trusted_host_interfaces";
    run(
        &mut world,
        &mut rng,
        [
            network("trusting", &["10.1.0.0/24"], false, &[(trusted, "eth1")]),
            network("inside", &["10.2.0.0/24"], true, &[(trusted, "eth1")]),
            network("plain", &["10.3.0.0/24"], false, &[("com.docker.network.host_ipv4", "10.0.0.9")]),
            network("guarded", &["10.5.0.0/24"], false, &[("fairway.guard", "strict")]),
        ],
    );
    let Command::CreateNetwork(request) = network("far", &["10.4.0.0/24"], false, &[]) else {
        unreachable!()
    };
    let request = CreateNetwork { driver: "routed".to_owned(), ..request };
    run(&mut world, &mut rng, [Command::CreateNetwork(request)]);
    let direct = |world: &World| {
        ["trusting", "inside", "plain", "far"]
            .map(|name| world.allows_direct_access(world.find_network(name).unwrap(), true))
    };
    assert_eq!(direct(&world), [true, false, false, true]);
    let plain = world.find_network("plain").unwrap();
    assert_eq!(world.outbound_source(plain, true), Some(IpAddr::from([10, 0, 0, 9])));
    assert_eq!(world.outbound_source(plain, false), None);
    let strict = |name: &str| world.has_strict_guard(world.find_network(name).unwrap());
    assert!(strict("guarded") && !strict("plain"));
    let settings = Settings { allow_direct_routing: true, masquerade: false, ..Settings::default() };
    let configure = Command::Configure { settings: Box::new(settings), host: Box::default() };
    run(&mut world, &mut rng, [configure]);
    assert_eq!(direct(&world), [true, false, true, true]);
    let plain = world.find_network("plain").unwrap();
    assert!(!world.is_masqueraded(plain, true));
    assert_eq!(world.outbound_source(plain, true), None, "outbound traffic keeps its source address");
}
