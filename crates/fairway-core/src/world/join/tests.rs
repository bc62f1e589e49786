use fairway_model::{Namespace, PortRange, Protocol, PublishRequest, SandboxId, SandboxKind, SandboxOptions};

use super::*;
use crate::world::Command;
use crate::world::tests::{addresses, network, refused, run, world};

fn described(name: &str, subnet: &str) -> CreateNetwork {
    CreateNetwork {
        name: name.to_owned(),
        subnets: vec![SubnetRequest { subnet: subnet.parse().ok(), ..SubnetRequest::default() }],
        ..CreateNetwork::default()
    }
}

fn namespace(inode: u64) -> Namespace {
    Namespace { path: format!("/run/netns/{inode}"), device: 4, inode }
}

fn id(number: u8) -> SandboxId {
    SandboxId::new([number; 32])
}

fn join(number: u8, name: &str, networks: &[CreateNetwork], ports: &[u16]) -> Join {
    let publish = |port: &u16| PublishRequest {
        host_address: None,
        host_ports: Some(PortRange::single(*port)),
        container_ports: PortRange::single(80),
        protocol: Protocol::Tcp,
    };
    let on = networks.iter().map(|network| (network.name.clone(), EndpointRequest::default()));
    Join {
        id: id(number),
        networks: networks.to_vec(),
        sandbox: CreateSandbox {
            name: Some(name.to_owned()),
            kind: SandboxKind::Attached,
            network: NetworkChoice::Networks(on.collect()),
            options: SandboxOptions {
                publish: ports.iter().map(publish).collect(),
                ..SandboxOptions::default()
            },
        },
        process: None,
        namespace: Some(namespace(u64::from(number))),
    }
}

fn command(request: Join) -> Command {
    Command::Join(Box::new(request))
}

fn leave(number: u8, networks: &[&str]) -> Command {
    let networks = networks.iter().map(|name| (*name).to_owned()).collect();
    Command::Leave { sandbox: id(number).to_string(), networks }
}

fn names(world: &World) -> Vec<&str> {
    world.networks().filter(|it| it.user_defined()).map(|it| it.name.as_str()).collect()
}

#[test]
fn a_described_network_lives_as_long_as_its_endpoints() {
    let (mut world, mut rng) = world();
    let (one, two) = (described("one", "10.1.0.0/24"), described("two", "10.2.0.0/24"));
    run(&mut world, &mut rng, [command(join(1, "a", &[one.clone(), two], &[]))]);
    run(&mut world, &mut rng, [command(join(2, "b", &[one], &[]))]);
    assert_eq!(addresses(&world, "a").len(), 2);
    run(&mut world, &mut rng, [leave(1, &["one", "two"])]);
    assert_eq!(names(&world), ["one"], "the other container is on it");
    assert!(world.sandbox(id(1)).is_none());
    run(&mut world, &mut rng, [leave(2, &[])]);
    assert_eq!(names(&world), [""; 0]);
}

#[test]
fn the_end_of_the_namespace_removes_described_networks_too() {
    let (mut world, mut rng) = world();
    run(&mut world, &mut rng, [command(join(1, "a", &[described("one", "10.1.0.0/24")], &[]))]);
    run(
        &mut world,
        &mut rng,
        [Command::StopSandbox { sandbox: "a".to_owned(), exit: 0.into(), process: None }],
    );
    assert_eq!(names(&world), [""; 0]);
    run(&mut world, &mut rng, [command(join(1, "a", &[described("one", "10.1.0.0/24")], &[]))]);
    let disconnect = Command::Disconnect { network: "one".to_owned(), sandbox: "a".to_owned() };
    run(&mut world, &mut rng, [disconnect]);
    assert_eq!(names(&world), [""; 0]);
}

#[test]
fn a_running_container_joins_and_leaves_further_networks_with_the_same_ports() {
    let (mut world, mut rng) = world();
    let (one, two) = (described("one", "10.1.0.0/24"), described("two", "10.2.0.0/24"));
    run(&mut world, &mut rng, [command(join(1, "a", &[one], &[8080]))]);
    let published = world.sandbox(id(1)).unwrap().publications.clone();
    assert!(!published.is_empty());
    run(&mut world, &mut rng, [command(join(1, "ignored", std::slice::from_ref(&two), &[8080]))]);
    assert_eq!(world.sandbox(id(1)).unwrap().publications, published, "each port once");
    assert_eq!(world.sandbox(id(1)).unwrap().name, "a");
    run(&mut world, &mut rng, [leave(1, &["one"])]);
    assert_eq!((names(&world), addresses(&world, "a").len()), (vec!["two"], 1));
    run(&mut world, &mut rng, [command(join(1, "a", &[described("three", "10.3.0.0/24")], &[8080, 8081]))]);
    assert_eq!(world.sandbox(id(1)).unwrap().options.publish.len(), 2, "a further port is published");
    let text = refused(&mut world, &mut rng, command(join(1, "a", &[two], &[])));
    assert_eq!(text, "container a is on network two already: a container has one interface on each network");
}

#[test]
fn each_network_of_a_container_has_a_number_that_no_other_has() {
    let (a, b, c) =
        (described("a", "10.89.0.0/24"), described("b", "10.89.1.0/24"), described("c", "10.89.2.0/24"));
    let (mut world, mut rng) = world();
    let numbers = |world: &World| {
        let named =
            |it: &&fairway_model::Endpoint| (world.network(it.network).unwrap().name.clone(), it.number);
        world.endpoints_of_sandbox(id(1)).iter().map(named).collect::<BTreeMap<_, _>>()
    };
    let expected =
        |numbers: &[(&str, u8)]| numbers.iter().map(|(name, it)| ((*name).to_owned(), *it)).collect();
    run(&mut world, &mut rng, [command(join(1, "web", &[b, c.clone()], &[]))]);
    assert_eq!(numbers(&world), expected(&[("b", 0), ("c", 1)]));
    run(&mut world, &mut rng, [leave(1, &["b"])]);
    run(&mut world, &mut rng, [command(join(1, "web", &[a], &[]))]);
    assert_eq!(numbers(&world), expected(&[("a", 0), ("c", 1)]));
    run(&mut world, &mut rng, [leave(1, &["c"])]);
    run(&mut world, &mut rng, [command(join(1, "web", &[c], &[]))]);
    assert_eq!(numbers(&world), expected(&[("a", 0), ("c", 1)]));
}

#[test]
fn a_refused_join_leaves_nothing() {
    let (mut world, mut rng) = world();
    run(&mut world, &mut rng, [command(join(1, "a", &[described("one", "10.1.0.0/24")], &[8080]))]);
    let before = names(&world).len();
    let text =
        refused(&mut world, &mut rng, command(join(2, "b", &[described("two", "10.2.0.0/24")], &[8080])));
    assert!(text.contains("port is already allocated: container a publishes 8080/tcp"), "{text}");
    assert_eq!(names(&world).len(), before);
    let other =
        Join { namespace: Some(namespace(99)), ..join(1, "a", &[described("two", "10.2.0.0/24")], &[]) };
    let text = refused(&mut world, &mut rng, command(other));
    assert_eq!(text, "container a runs in another network namespace: stop it first");
    assert_eq!(names(&world).len(), before);
}

#[test]
fn names_of_containers_of_two_engines_may_be_equal() {
    let (mut world, mut rng) = world();
    let one = described("one", "10.1.0.0/24");
    run(
        &mut world,
        &mut rng,
        [command(join(1, "a", std::slice::from_ref(&one), &[])), command(join(2, "a", &[one], &[]))],
    );
    assert_eq!(world.sandbox(id(2)).unwrap().name, "a-020202020202");
}

#[test]
fn another_description_changes_the_network_in_place_or_is_refused_by_name() {
    let (mut world, mut rng) = world();
    let one = described("one", "10.1.0.0/24");
    run(&mut world, &mut rng, [command(join(1, "a", std::slice::from_ref(&one), &[]))]);
    let before = (world.find_network("one").unwrap().id, addresses(&world, "a"));
    let with = |option: &str, value: &str| {
        let mut request = one.clone();
        request.options.insert(option.to_owned(), value.to_owned());
        request
    };
    run(&mut world, &mut rng, [command(join(2, "b", &[with("com.docker.network.driver.mtu", "1300")], &[]))]);
    let network = world.find_network("one").unwrap();
    assert_eq!((network.mtu, network.transient), (Some(1300), true));
    assert_eq!((network.id, addresses(&world, "a")), before);
    let refusals = [
        (described("one", "10.9.0.0/24"), "subnet"),
        (with("com.docker.network.bridge.name", "br9"), "bridge"),
        (CreateNetwork { driver: "macvlan".to_owned(), ..one.clone() }, "driver"),
    ];
    for (request, part) in refusals {
        let text = refused(&mut world, &mut rng, command(join(3, "c", &[request], &[])));
        let expected = format!(
            "network one exists with another {part}: disconnect its containers first (a, b), or give this one another name"
        );
        assert_eq!(text, expected);
    }
    // Without containers there is nothing to differ from.
    run(&mut world, &mut rng, [leave(1, &[]), leave(2, &[])]);
    run(&mut world, &mut rng, [command(join(3, "c", &[described("one", "10.9.0.0/24")], &[]))]);
}

#[test]
fn a_container_may_join_a_network_of_the_user_which_stays() {
    let (mut world, mut rng) = world();
    run(&mut world, &mut rng, [network("app", Some("10.1.0.0/24"))]);
    run(
        &mut world,
        &mut rng,
        [command(join(1, "a", &[described("app", "10.1.0.0/24")], &[])), leave(1, &[])],
    );
    assert_eq!(names(&world), ["app"]);
}

#[test]
fn an_option_of_a_network_is_changed_and_removed() {
    let (mut world, mut rng) = world();
    run(&mut world, &mut rng, [network("app", Some("10.1.0.0/24"))]);
    let update = |value: Option<&str>| Command::UpdateNetwork {
        network: "app".to_owned(),
        options: [("com.docker.network.driver.mtu".to_owned(), value.map(str::to_owned))].into(),
    };
    run(&mut world, &mut rng, [update(Some("1300"))]);
    assert_eq!(world.find_network("app").unwrap().mtu, Some(1300));
    run(&mut world, &mut rng, [update(None)]);
    assert_eq!(world.find_network("app").unwrap().mtu, None);
    let text = refused(&mut world, &mut rng, update(Some("many")));
    assert!(text.starts_with("invalid option com.docker.network.driver.mtu=many"), "{text}");
    let bridge = Command::UpdateNetwork {
        network: "app".to_owned(),
        options: [("com.docker.network.bridge.name".to_owned(), Some("br9".to_owned()))].into(),
    };
    let text = refused(&mut world, &mut rng, bridge);
    assert!(text.starts_with("network app exists with another bridge"), "{text}");
}
