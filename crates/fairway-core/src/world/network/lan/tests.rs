use super::*;
use crate::world::{Command, CreateSandbox, NetworkChoice};
use fairway_model::{EndpointRequest, MacAddress, Namespace, SandboxKind, SandboxOptions, UplinkRoute};

fn world() -> (World, Rng) {
    let (mut world, mut rng) = (World::default(), Rng::new(1));
    let configure = Command::Configure { settings: Box::default(), host: Box::default() };
    world.apply(configure, 0, &mut rng).unwrap();
    (world, rng)
}

fn uplink(parent: &str) -> Uplink {
    let route = |destination: &str, gateway: Option<&str>| UplinkRoute {
        destination: destination.parse().unwrap(),
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        metric: 0,
    };
    Uplink {
        parent: parent.to_owned(),
        mac: MacAddress([2, 0, 0, 0, 0, 9]),
        mtu: 1400,
        addresses: ["10.10.50.99/24", "fd50::99/64"].map(|address| address.parse().unwrap()).into(),
        routes: vec![
            route("10.10.50.0/24", None),
            route("0.0.0.0/0", Some("10.10.50.1")),
            route("::/0", Some("fe80::1")),
        ],
        boot: "boot".to_owned(),
        unusable: None,
    }
}

fn lan(name: &str, parent: &str) -> CreateNetwork {
    CreateNetwork {
        name: name.to_owned(),
        driver: "lan".to_owned(),
        options: [("parent".to_owned(), parent.to_owned())].into(),
        uplink: Some(Box::new(uplink(parent))),
        ..CreateNetwork::default()
    }
}

fn refusal(request: CreateNetwork) -> String {
    let (mut world, mut rng) = world();
    world.apply(Command::CreateNetwork(request), 0, &mut rng).unwrap_err().to_string()
}

/// The host's own route to the LAN is no overlap; one by another interface is.
#[test]
fn routes_by_other_interfaces_overlap_a_lan_network() {
    let (mut world, mut rng) = world();
    world.apply(Command::CreateNetwork(lan("lan", "eth0")), 0, &mut rng).unwrap();
    let route = |destination: &str, interface: &str| fairway_model::HostRoute {
        destination: destination.parse().unwrap(),
        interface: interface.to_owned(),
    };
    let routes =
        vec![route("10.10.50.0/24", "eth0"), route("10.10.50.0/25", "tun0"), route("10.10.51.0/24", "tun1")];
    let host = Box::new(fairway_model::HostFacts { routes, ..Default::default() });
    world.apply(Command::Configure { settings: Box::default(), host }, 0, &mut rng).unwrap();
    let overlapping = world.overlapping_routes(world.find_network("lan").unwrap());
    assert_eq!(overlapping.map(|it| it.interface.as_str()).collect::<Vec<_>>(), ["tun0"]);
}

/// A lan network has the subnet of the host's own interface: that is no overlap.
#[test]
fn the_hosts_address_on_the_lan_is_no_overlap() {
    let (mut world, mut rng) = world();
    let own = |destination: &str| fairway_model::HostRoute {
        destination: destination.parse().unwrap(),
        interface: "eth0".to_owned(),
    };
    let host = fairway_model::HostFacts {
        addresses: vec![own("10.10.50.99/24")],
        routes: vec![own("10.10.50.0/24")],
        ..Default::default()
    };
    let configure = Command::Configure { settings: Box::default(), host: Box::new(host) };
    world.apply(configure, 0, &mut rng).unwrap();
    let change = world.apply(Command::CreateNetwork(lan("lan", "eth0")), 0, &mut rng).unwrap();
    assert_eq!(change.warnings.len(), 1, "{:?}", change.warnings);
    assert!(change.warnings[0].contains("--ip-range"), "{:?}", change.warnings);
}

#[test]
fn subnet_and_gateway_are_those_of_the_lan() {
    let (mut world, mut rng) = world();
    let request = CreateNetwork { enable_ipv6: Some(true), ..lan("lan", "eth0") };
    let change = world.apply(Command::CreateNetwork(request), 0, &mut rng).unwrap();
    let [warning] = &change.warnings[..] else { panic!("{:?}", change.warnings) };
    assert!(warning.contains("--ip-range") && warning.contains("10.10.50.0/24"), "{warning}");
    let network = world.find_network("lan").unwrap();
    let shown = |subnet: &Subnet| format!("{} {} {:?}", subnet.subnet, subnet.gateway, subnet.auxiliary);
    assert_eq!(
        network.subnets.iter().map(shown).collect::<Vec<_>>(),
        [
            "10.10.50.0/24 10.10.50.1 {\"host\": 10.10.50.99}".to_owned(),
            "fd50::/64 fe80::1 {\"host1\": fd50::99}".to_owned(),
        ]
    );
    assert_eq!(world.mtu(network), 1400);
}

#[test]
fn interfaces_that_cannot_be_an_uplink_are_refused_with_the_reason() {
    let with = |option: &str, value: &str| {
        let mut request = lan("lan", "eth0");
        request.options.insert(option.to_owned(), value.to_owned());
        refusal(request)
    };
    assert!(
        refusal(CreateNetwork { options: Default::default(), ..lan("lan", "eth0") })
            .contains("-o parent=eth0")
    );
    assert!(
        refusal(CreateNetwork { uplink: None, ..lan("lan", "eth0") }).contains("no such interface: eth0")
    );
    assert!(refusal(CreateNetwork { internal: true, ..lan("lan", "eth0") }).contains("drop --internal"));
    assert!(with("com.docker.network.bridge.enable_icc", "false").contains("reach one another"));
    let unusable = Some("it is a port of the bridge br9".to_owned());
    let busy =
        CreateNetwork { uplink: Some(Box::new(Uplink { unusable, ..uplink("eth0") })), ..lan("lan", "eth0") };
    let refused = refusal(busy);
    assert!(refused.contains("eth0") && refused.contains("br9"), "{refused}");
    let bare = Uplink { addresses: Vec::new(), ..uplink("eth0") };
    assert!(
        refusal(CreateNetwork { uplink: Some(Box::new(bare)), ..lan("lan", "eth0") }).contains("--subnet")
    );
    let alone = Uplink { routes: Vec::new(), ..uplink("eth0") };
    assert!(
        refusal(CreateNetwork { uplink: Some(Box::new(alone)), ..lan("lan", "eth0") })
            .contains("--subnet and --gateway")
    );

    let (mut world, mut rng) = world();
    world.apply(Command::CreateNetwork(lan("one", "eth0")), 0, &mut rng).unwrap();
    let refused =
        world.apply(Command::CreateNetwork(lan("two", "eth0")), 0, &mut rng).unwrap_err().to_string();
    assert!(refused.contains("eth0") && refused.contains("one"), "{refused}");
}

#[test]
fn the_lan_has_the_default_route_and_publishes_nothing() {
    let (mut world, mut rng) = world();
    world.apply(Command::CreateNetwork(lan("zlan", "eth0")), 0, &mut rng).unwrap();
    let create = CreateSandbox {
        name: Some("box".to_owned()),
        kind: SandboxKind::Run,
        network: NetworkChoice::Networks(Vec::new()),
        options: SandboxOptions {
            publish: fairway_model::parse::publish("8080:80").unwrap(),
            ..SandboxOptions::default()
        },
    };
    world.apply(Command::CreateSandbox(Box::new(create)), 0, &mut rng).unwrap();
    let namespace = Namespace { path: "/run/netns/box".to_owned(), device: 4, inode: 5 };
    let (sandbox, namespace) = ("box".to_owned(), Some(namespace));
    let start = Command::StartSandbox { sandbox, process: None, namespace };
    world.apply(start, 0, &mut rng).unwrap();
    let id = world.find_sandbox("box").unwrap().id;
    assert!(world.publication_target(id, true).is_some());
    let request = EndpointRequest { ipv4: "10.10.50.95".parse().ok(), ..EndpointRequest::default() };
    let connect = Command::Connect { network: "zlan".to_owned(), sandbox: "box".to_owned(), request };
    let change = world.apply(connect, 0, &mut rng).unwrap();
    assert!(
        change.warnings.iter().any(|warning| warning.contains("its gateway is on a LAN")),
        "{:?}",
        change.warnings
    );
    assert_eq!(world.publication_target(id, true), None);
    let gateway = world.gateway_endpoint(id, true).unwrap();
    assert_eq!(world.network(gateway.network).unwrap().name, "zlan");
    // The host's own address is never allocated.
    let disconnect = Command::Disconnect { network: "zlan".to_owned(), sandbox: "box".to_owned() };
    world.apply(disconnect, 0, &mut rng).unwrap();
    assert!(world.publication_target(id, true).is_some());
    let request = EndpointRequest { ipv4: "10.10.50.99".parse().ok(), ..EndpointRequest::default() };
    let connect = Command::Connect { network: "zlan".to_owned(), sandbox: "box".to_owned(), request };
    let refused = world.apply(connect, 0, &mut rng).unwrap_err().to_string();
    assert!(refused.contains("auxiliary address host"), "{refused}");
}

#[test]
fn addresses_in_use_on_the_lan_are_not_allocated_for_a_while() {
    let (mut world, mut rng) = world();
    let mut request = lan("lan", "eth0");
    let range = SubnetRequest {
        subnet: "10.10.50.0/24".parse().ok(),
        ip_range: "10.10.50.128/30".parse().ok(),
        ..SubnetRequest::default()
    };
    request.subnets = vec![range];
    world.apply(Command::CreateNetwork(request), 0, &mut rng).unwrap();
    let mac = MacAddress([2, 0, 0, 0, 0, 7]);
    let held = |address: &str| Command::AddressInUse {
        network: "lan".to_owned(),
        address: address.parse().unwrap(),
        mac,
    };
    let given = |world: &mut World, rng: &mut Rng, name: &str, asked: Option<&str>, now: i64| {
        let request =
            EndpointRequest { ipv4: asked.and_then(|it| it.parse().ok()), ..EndpointRequest::default() };
        let create = CreateSandbox {
            name: Some(name.to_owned()),
            kind: SandboxKind::Attached,
            network: NetworkChoice::Networks(vec![("lan".to_owned(), request)]),
            options: SandboxOptions::default(),
        };
        let namespace = Some(Namespace { path: format!("/run/netns/{name}"), device: 4, inode: 5 });
        let attach = Command::Attach { create: Box::new(create), process: None, namespace };
        let id = world.apply(attach, now, rng)?.sandbox.unwrap();
        let allocation = world.endpoints_of_sandbox(id)[0].allocation.clone().unwrap();
        Ok::<_, crate::world::Undecided>(allocation.ipv4.unwrap().to_string())
    };
    let draft = world.decide(held("10.10.50.128"), &mut crate::world::Context::new(0, &mut rng)).unwrap();
    assert!(!draft.releases(&world), "the network changes, and stays");
    world.apply(held("10.10.50.128"), 0, &mut rng).unwrap();
    world.apply(held("10.10.50.130"), 1, &mut rng).unwrap();
    assert_eq!(given(&mut world, &mut rng, "a", None, 2).unwrap(), "10.10.50.129");
    assert_eq!(given(&mut world, &mut rng, "b", None, 2).unwrap(), "10.10.50.131");
    let full = given(&mut world, &mut rng, "c", None, 2).unwrap_err();
    assert!(full.to_string().contains("10.10.50.128/30"), "{full}");
    // A requested address is probed again.
    assert_eq!(given(&mut world, &mut rng, "c", Some("10.10.50.128"), 3).unwrap(), "10.10.50.128");
    // An hour later the first is forgotten.
    world.apply(held("10.10.50.131"), 1 + 3_600_000_000_000, &mut rng).unwrap();
    let network = world.find_network("lan").unwrap();
    assert_eq!(
        network.addresses_in_use.keys().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.10.50.131"]
    );
}

#[test]
fn an_interface_is_used_by_networks_of_one_driver() {
    let macvlan = |name: &str, parent: &str| CreateNetwork {
        driver: "macvlan".to_owned(),
        parent: Some(fairway_model::ParentFacts {
            mac: Some(MacAddress([2, 0, 0, 0, 0, 9])),
            ..Default::default()
        }),
        uplink: None,
        ..lan(name, parent)
    };
    let (mut world, mut rng) = world();
    let mut create = |request| world.apply(Command::CreateNetwork(request), 0, &mut rng).map(drop);
    create(macvlan("cameras", "eth0")).unwrap();
    let refused = create(lan("lan", "eth0")).unwrap_err().to_string();
    assert!(refused.contains("eth0") && refused.contains("cameras"), "{refused}");
    create(lan("lan", "eth1")).unwrap();
    let refused = create(lan("again", "eth1")).unwrap_err().to_string();
    assert!(refused.contains("eth1") && refused.contains("lan"), "{refused}");
}

#[test]
fn an_address_of_the_host_that_has_a_name_gets_no_other() {
    let (mut world, mut rng) = world();
    let subnet = SubnetRequest {
        subnet: "10.10.50.0/24".parse().ok(),
        auxiliary: [("me".to_owned(), "10.10.50.99".parse().unwrap())].into(),
        ..SubnetRequest::default()
    };
    let request = CreateNetwork { subnets: vec![subnet], ..lan("lan", "eth0") };
    world.apply(Command::CreateNetwork(request), 0, &mut rng).unwrap();
    let names = |name: &str| {
        let network = world.find_network(name).unwrap();
        network.ipv4().unwrap().auxiliary.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(names("lan"), ["me"]);
}
