use crate::world::tests::{network, refused, run, sandbox, start, world};
use crate::world::{Command, CreateNetwork, RecordKey};
use fairway_model::{EndpointRequest, HostFacts, HostRoute, Owner, SubnetRequest};

fn create(name: &str, subnet: Option<&str>, change: impl FnOnce(&mut CreateNetwork)) -> Command {
    let Command::CreateNetwork(mut request) = network(name, subnet) else { unreachable!() };
    change(&mut request);
    Command::CreateNetwork(request)
}

#[test]
fn an_unknown_driver_is_refused_with_the_drivers() {
    let (mut world, mut rng) = world();
    let command = create("app", None, |request| request.driver = "overlay".to_owned());
    assert_eq!(
        refused(&mut world, &mut rng, command),
        "plugin \"overlay\" not found: the driver can be bridge, routed, lan, macvlan or ptp"
    );
    for (driver, text) in [("host", "only one instance of \"host\" network is allowed"), ("null", "only one")]
    {
        let command = create("app", None, |request| request.driver = driver.to_owned());
        assert!(refused(&mut world, &mut rng, command).starts_with(text));
    }
    run(&mut world, &mut rng, [create("app", None, |request| request.driver = "default".to_owned())]);
}

#[test]
fn sandboxes_of_a_network_without_addresses_have_interfaces_alone() {
    let (mut world, mut rng) = world();
    let without = |change: &dyn Fn(&mut CreateNetwork)| {
        create("bare", None, |request| {
            request.options.insert("fairway.addresses".to_owned(), "false".to_owned());
            change(request);
        })
    };
    let subnet = SubnetRequest { subnet: "10.1.0.0/24".parse().ok(), ..SubnetRequest::default() };
    for (command, reason) in [
        (without(&|request| request.subnets = vec![subnet.clone()]), "drop --subnet"),
        (without(&|request| request.enable_ipv6 = Some(true)), "drop --ipv4 and --ipv6"),
        (without(&|request| request.driver = "routed".to_owned()), "add -d bridge"),
        (
            without(&|request| drop(request.options.insert("fairway.guard".into(), "strict".into()))),
            "drop fairway.guard",
        ),
    ] {
        let refusal = refused(&mut world, &mut rng, command);
        assert!(refusal.contains("fairway.addresses") && refusal.contains(reason), "{refusal}");
    }
    let join = [("bare", EndpointRequest::default()), ("app", EndpointRequest::default())];
    run(
        &mut world,
        &mut rng,
        [
            without(&|_| ()),
            network("app", Some("10.1.0.0/24")),
            sandbox("a", &join, Default::default()),
            start("a"),
        ],
    );
    let bare = world.find_network("bare").unwrap();
    assert_eq!((bare.enable_ipv4, bare.enable_ipv6, bare.subnets.len()), (false, false, 0));
    let endpoint = world.endpoints_of_network(bare.id).next().unwrap();
    let allocation = endpoint.allocation.as_ref().unwrap();
    assert_eq!(allocation.addresses().count(), 0);
    // The way out is the other network's.
    let gateway = world.default_route_endpoint(endpoint.sandbox, true).unwrap();
    assert_eq!(world.network(gateway.network).unwrap().name, "app");
    let update = [("fairway.names".to_owned(), Some("false".to_owned()))].into();
    let update = Command::UpdateNetwork { network: "bare".to_owned(), options: update };
    run(&mut world, &mut rng, [update]);
}

#[test]
fn removing_a_network_disconnects_stopped_containers() {
    let (mut world, mut rng) = world();
    let join = [("app", EndpointRequest::default())];
    run(&mut world, &mut rng, [network("app", Some("10.1.0.0/24")), sandbox("a", &join, Default::default())]);
    let (id, endpoint) = (world.find_network("app").unwrap().id, world.endpoints().next().unwrap().clone());
    let remove = Command::RemoveNetwork { network: "app".to_owned() };
    run(&mut world, &mut rng, [start("a")]);
    let text = refused(&mut world, &mut rng, remove.clone());
    let expected = format!("network app has active endpoints (name:\"a\" id:\"{}\")", endpoint.id.short());
    assert!(text.contains(&expected), "{text}");
    run(
        &mut world,
        &mut rng,
        [Command::StopSandbox { sandbox: "a".to_owned(), exit: 0.into(), process: None }],
    );
    let change = world.apply(remove, 1, &mut rng).unwrap();
    assert_eq!(change.network, Some(id));
    let sandbox = endpoint.sandbox;
    for key in [RecordKey::Network(id), RecordKey::Endpoint(endpoint.id), RecordKey::Sandbox(sandbox)] {
        assert!(change.records.contains(&key), "{key:?}");
    }
    for owner in [
        Owner::Network(id),
        Owner::Endpoint(endpoint.id),
        Owner::Sandbox(sandbox),
        Owner::Publications(sandbox),
    ] {
        assert!(change.owners.contains(&owner), "{owner:?}");
    }
    assert_eq!(world.find_sandbox("a").unwrap().removed_networks, ["app"]);
    // Name and subnet are free again.
    run(&mut world, &mut rng, [network("app", Some("10.1.0.0/24"))]);
}

fn host_with_bridge() -> Command {
    let own =
        |address: &str| HostRoute { destination: address.parse().unwrap(), interface: "own0".to_owned() };
    let host = HostFacts {
        bridges: vec!["own0".to_owned()],
        addresses: vec![own("192.0.2.1/24"), own("fd02::1/64")],
        ..HostFacts::default()
    };
    Command::Configure { settings: Box::default(), host: Box::new(host) }
}

fn on_bridge(name: &str, bridge: &str, ipv6: bool, subnets: Vec<SubnetRequest>) -> Command {
    create(name, None, |request| {
        request.options.insert("com.docker.network.bridge.name".to_owned(), bridge.to_owned());
        request.enable_ipv6 = Some(ipv6);
        request.subnets = subnets;
    })
}

#[test]
fn a_network_on_an_existing_bridge_has_its_addresses() {
    let asked = |subnet: &str| SubnetRequest { subnet: subnet.parse().ok(), ..SubnetRequest::default() };
    let ranged = SubnetRequest { ip_range: "192.0.2.128/25".parse().ok(), ..SubnetRequest::default() };
    let cases: [(bool, Vec<SubnetRequest>, &[&str]); 5] = [
        (false, Vec::new(), &["192.0.2.1/24"]),
        (true, Vec::new(), &["192.0.2.1/24", "fd02::1/64"]),
        (true, vec![asked("fd02::/64")], &["192.0.2.1/24", "fd02::1/64"]),
        (false, vec![asked("10.7.0.0/24")], &["10.7.0.1/24"]),
        (false, vec![ranged], &["192.0.2.1/24"]),
    ];
    for (ipv6, subnets, expected) in cases {
        let (mut world, mut rng) = world();
        run(&mut world, &mut rng, [host_with_bridge(), on_bridge("app", "own0", ipv6, subnets.clone())]);
        let network = world.find_network("app").unwrap();
        let given: Vec<String> =
            network.subnets.iter().map(|it| format!("{}/{}", it.gateway, it.subnet.prefix_len())).collect();
        assert_eq!(given, expected, "{subnets:?}");
        assert_eq!(network.adopted.as_ref().map(Vec::len), Some(2));
        assert_eq!(network.bridge, "own0");
        let text = refused(&mut world, &mut rng, on_bridge("two", "own0", false, Vec::new()));
        assert!(text.starts_with("bridge name own0 is taken by network app"), "{text}");
    }
    let (mut world, mut rng) = world();
    run(&mut world, &mut rng, [host_with_bridge(), on_bridge("app", "new0", false, Vec::new())]);
    let network = world.find_network("app").unwrap();
    assert_eq!((network.adopted.as_ref(), network.bridge.as_str()), (None, "new0"));
    assert_eq!(network.ipv4().unwrap().subnet.to_string(), "172.18.0.0/16");
}

#[test]
fn default_options_apply_where_the_request_has_none() {
    let (mut world, mut rng) = world();
    let mtu = "com.docker.network.driver.mtu";
    let options = [("bridge".to_owned(), [(mtu.to_owned(), "1400".to_owned())].into())];
    let settings = fairway_model::Settings { network_options: options.into(), ..Default::default() };
    let configure = Command::Configure { settings: Box::new(settings), host: Box::default() };
    let own = create("own", None, |request| {
        request.options.insert(mtu.to_owned(), "1300".to_owned());
    });
    let routed = create("far", None, |request| request.driver = "routed".to_owned());
    run(&mut world, &mut rng, [configure, network("app", None), own, routed]);
    let mtu = |name: &str| world.mtu(world.find_network(name).unwrap());
    assert_eq!((mtu("app"), mtu("own"), mtu("far")), (1400, 1300, 1500));
}

#[test]
fn an_unknown_option_of_a_network_causes_a_warning() {
    let (mut world, mut rng) = world();
    let unknown = create("app", None, |request| {
        request.options.insert("fairway.gard".to_owned(), "strict".to_owned());
    });
    let change = world.apply(unknown, 1, &mut rng).unwrap();
    assert_eq!(change.warnings, ["the option fairway.gard is unknown and has no effect"]);
}

#[test]
fn a_network_is_internal_by_flag_or_by_option() {
    let (mut world, mut rng) = world();
    let option = create("option", None, |request| {
        request.options.insert("com.docker.network.internal".to_owned(), "true".to_owned());
    });
    let flag = create("flag", None, |request| request.internal = true);
    run(&mut world, &mut rng, [option, flag, network("neither", None)]);
    let internal = |name: &str| world.find_network(name).unwrap().internal;
    assert_eq!([internal("option"), internal("flag"), internal("neither")], [true, true, false]);
}

#[test]
fn a_subnet_of_the_host_is_refused_where_the_bridge_would_have_an_address() {
    let (mut world, mut rng) = world();
    let own = HostRoute { destination: "10.1.0.5/24".parse().unwrap(), interface: "eth0".to_owned() };
    let host = Box::new(HostFacts { addresses: vec![own], ..HostFacts::default() });
    run(&mut world, &mut rng, [Command::Configure { settings: Box::default(), host }]);
    let text = refused(&mut world, &mut rng, network("app", Some("10.1.0.0/24")));
    assert!(text.contains("10.1.0.0/24") && text.contains("eth0"), "{text}");
    let isolated = create("app", Some("10.1.0.0/24"), |request| {
        let option = "com.docker.network.bridge.gateway_mode_ipv4".to_owned();
        (request.internal, request.options) = (true, [(option, "isolated".to_owned())].into());
    });
    run(&mut world, &mut rng, [isolated]);
}
