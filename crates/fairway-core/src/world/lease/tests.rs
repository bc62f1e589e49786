use std::net::Ipv4Addr;

use super::*;
use crate::world::tests::publish;
use crate::world::{Command, CreateNetwork, CreateSandbox, Draft, NetworkChoice};
use fairway_model::{Namespace, SandboxKind, SandboxOptions, Uplink, UplinkRoute};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 10, 50, 1);

fn world() -> (World, Rng) {
    let (mut world, mut rng) = (World::default(), Rng::new(1));
    let configure = Command::Configure { settings: Box::default(), host: Box::default() };
    world.apply(configure, 0, &mut rng).unwrap();
    world.apply(Command::CreateNetwork(network("lan", &[("fairway.dhcp", "true")])), 0, &mut rng).unwrap();
    (world, rng)
}

fn network(driver: &str, options: &[(&str, &str)]) -> CreateNetwork {
    let uplink = Uplink {
        parent: "eth0".to_owned(),
        mac: MacAddress([2, 0, 0, 0, 0, 9]),
        mtu: 1500,
        addresses: vec!["10.10.50.99/24".parse().unwrap()],
        routes: vec![UplinkRoute {
            destination: "0.0.0.0/0".parse().unwrap(),
            gateway: Some(SERVER.into()),
            metric: 0,
        }],
        boot: String::new(),
        unusable: None,
    };
    let options = [("parent", "eth0")].iter().chain(options);
    CreateNetwork {
        name: "lan".to_owned(),
        driver: driver.to_owned(),
        options: options.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        uplink: Some(Box::new(uplink)),
        ..CreateNetwork::default()
    }
}

fn attach(name: &str) -> Command {
    let create = CreateSandbox {
        name: Some(name.to_owned()),
        kind: SandboxKind::Attached,
        network: NetworkChoice::Networks(vec![("lan".to_owned(), Default::default())]),
        options: SandboxOptions::default(),
    };
    let namespace = Some(Namespace { path: "/run/netns/x".to_owned(), device: 4, inode: 5 });
    Command::Attach { create: Box::new(create), process: None, namespace }
}

fn needed(world: &World, rng: &mut Rng, name: &str) -> LeaseRequest {
    match world.decide(attach(name), &mut Context::new(0, rng)) {
        Err(Undecided::LeaseNeeded(request)) => *request,
        other => panic!("{other:?}"),
    }
}

fn lend(request: &LeaseRequest, last: u8) -> (String, Lease) {
    let lease = Lease {
        address: Ipv4Addr::new(10, 10, 50, last),
        netmask: Some(Ipv4Addr::new(255, 255, 255, 0)),
        mac: request.identity.mac,
        client: request.identity.client,
        server: SERVER,
        server_mac: MacAddress([2; 6]),
        renew_at: 1,
        rebind_at: 2,
        expires_at: 3,
        lost: false,
    };
    (request.network.clone(), lease)
}

#[test]
fn a_lease_is_needed_before_an_address_is_allocated() {
    let (world, mut rng) = world();
    let request = needed(&world, &mut rng, "web");
    assert_eq!((request.parent.as_str(), request.identity.hostname.as_str()), ("eth0", "web"));
    let (network, lease) = lend(&request, 50);
    let leases = [(network, lease.clone())];
    let mut context = Context { leases: &leases, ..Context::new(0, &mut rng) };
    let Draft { mut world, .. } = world.decide(attach("web"), &mut context).unwrap();
    let endpoint = world.endpoints().next().unwrap().clone();
    let given = endpoint.allocation.unwrap();
    assert_eq!((given.ipv4, given.mac), (Some(lease.address), lease.mac));
    // The lease is for one command.
    assert_ne!(needed(&world, &mut rng, "two").identity, request.identity);
    // What becomes of it is remembered, that of another is not.
    let renewed = Lease { expires_at: 9, ..lease };
    let command =
        |lease: &Lease| Command::LeaseRenewed { endpoint: endpoint.id, lease: Box::new(lease.clone()) };
    let change = world.apply(command(&renewed), 0, &mut rng).unwrap();
    assert_eq!(change.records.into_iter().collect::<Vec<_>>(), [RecordKey::Endpoint(endpoint.id)]);
    let other = Lease { address: SERVER, ..renewed.clone() };
    assert!(world.apply(command(&other), 0, &mut rng).unwrap().records.is_empty());
    let kept = world.endpoints().next().unwrap().allocation.clone().unwrap().lease;
    assert_eq!(kept, Some(renewed));
}

#[test]
fn without_a_server_it_is_decided_all_the_same() {
    let (world, mut rng) = world();
    let unknown = |world: &World, rng: &mut Rng, command| {
        world.decide(command, &mut Context { leases_unknown: true, ..Context::new(0, rng) })
    };
    let world = unknown(&world, &mut rng, attach("web")).unwrap().world;
    assert_eq!(world.endpoints().next().unwrap().allocation.clone().unwrap().lease, None);
    // What follows is decided nevertheless.
    let again = unknown(&world, &mut rng, attach("web")).unwrap_err();
    assert!(matches!(again, Undecided::Refused(Refusal::SandboxExists { .. })), "{again}");
    // The LAN is the way out, and no other endpoint has ports of the host for it.
    let on = |name: &str, networks: &[&str]| {
        let Command::Attach { mut create, .. } = attach(name) else { unreachable!() };
        create.network = NetworkChoice::Networks(
            networks.iter().map(|it| ((*it).to_owned(), Default::default())).collect(),
        );
        create.options = publish(Some(8080), 80);
        let namespace =
            Some(Namespace { path: format!("/run/netns/{name}"), device: 4, inode: name.len() as u64 });
        Command::Attach { create, process: None, namespace }
    };
    let draft = unknown(&world, &mut rng, on("cam", &["lan", "bridge"])).unwrap();
    assert!(draft.change.warnings[0].contains("its gateway is on a LAN"), "{:?}", draft.change.warnings);
    let two = unknown(&draft.world, &mut rng, on("two", &["lan"])).unwrap().world;
    unknown(&two, &mut rng, on("site", &["bridge"])).unwrap();
}

#[test]
fn a_lease_must_fit_the_network() {
    let (world, mut rng) = world();
    let request = needed(&world, &mut rng, "web");
    let (network, fit) = lend(&request, 50);
    let unfit = [
        (Lease { address: Ipv4Addr::new(10, 9, 0, 5), ..fit.clone() }, "10.9.0.5"),
        (Lease { address: Ipv4Addr::new(10, 10, 50, 99), ..fit.clone() }, "auxiliary address host"),
        (Lease { address: SERVER, ..fit.clone() }, "the gateway"),
        (Lease { netmask: Some(Ipv4Addr::new(255, 255, 0, 0)), ..fit.clone() }, "255.255.0.0"),
    ];
    for (lease, reason) in unfit {
        let leases = [(network.clone(), lease)];
        let mut context = Context { leases: &leases, ..Context::new(0, &mut rng) };
        let refused = world.decide(attach("web"), &mut context).unwrap_err();
        assert!(matches!(refused, Undecided::Refused(Refusal::LeaseUnfit { .. })), "{refused}");
        assert!(refused.to_string().contains(reason), "{refused}");
    }
}

/// The MAC address of a DHCP client: as requested, else derived from the endpoint's id, unless another endpoint has it.
#[test]
fn a_dhcp_client_has_a_mac_address_of_its_own() {
    let ((first, mut rng), (mut second, mut other_rng)) = (world(), world());
    let derived = needed(&first, &mut rng, "web").identity.mac;
    // The same World with another endpoint that has this address: the next id is the same.
    let holder = fairway_model::EndpointRequest { mac: Some(derived), ..Default::default() };
    let create = CreateSandbox {
        name: Some("holder".to_owned()),
        kind: SandboxKind::Attached,
        network: NetworkChoice::Networks(vec![("bridge".to_owned(), holder)]),
        options: SandboxOptions::default(),
    };
    let namespace = Some(Namespace { path: "/run/netns/holder".to_owned(), device: 4, inode: 6 });
    let hold = Command::Attach { create: Box::new(create), process: None, namespace };
    second.apply(hold, 0, &mut Rng::new(2)).unwrap();
    let chosen = needed(&second, &mut other_rng, "web").identity.mac;
    assert_ne!(chosen, derived);
    assert_eq!(needed(&first, &mut world().1, "web").identity.mac, derived, "derived from the id alone");
    // A lease for an address that another endpoint took meanwhile is refused.
    let (network, lease) = lend(&needed(&first, &mut world().1, "web"), 50);
    assert_eq!(lease.mac, derived);
    let leases = [(network, lease)];
    let decide = |of: &World| {
        let mut rng = world().1;
        of.decide(attach("web"), &mut Context { leases: &leases, ..Context::new(0, &mut rng) })
    };
    assert!(decide(&first).is_ok());
    let refused = decide(&second).unwrap_err().to_string();
    assert!(refused.contains(&format!("another endpoint took MAC address {derived}")), "{refused}");
}

#[test]
fn only_lans_have_a_server() {
    let (mut world, mut rng) = world();
    world.apply(Command::RemoveNetwork { network: "lan".to_owned() }, 0, &mut rng).unwrap();
    let ranged = fairway_model::SubnetRequest {
        ip_range: "10.10.50.128/28".parse().ok(),
        ..fairway_model::SubnetRequest::default()
    };
    let requests = [
        (network("bridge", &[("fairway.dhcp", "true")]), "-d lan"),
        (
            CreateNetwork { subnets: vec![ranged], ..network("lan", &[("fairway.dhcp", "true")]) },
            "--ip-range",
        ),
        (network("lan", &[("fairway.dhcp", "perhaps")]), "true or false"),
    ];
    for (request, reason) in requests {
        let refused = world.apply(Command::CreateNetwork(request), 0, &mut rng).unwrap_err().to_string();
        assert!(refused.contains("fairway.dhcp") && refused.contains(reason), "{refused}");
    }
}
