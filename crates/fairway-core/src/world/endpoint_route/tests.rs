use std::collections::BTreeMap;

use crate::object::{Key, Object, SandboxRoutes};
use crate::plan::fragment;
use crate::world::tests::{publish, refused, run, sandbox, start, world};
use crate::world::{Command, CreateNetwork, World};
use fairway_model::{EndpointRequest, Owner, SubnetRequest};

fn map(options: &[(&str, &str)]) -> BTreeMap<String, String> {
    options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn network(name: &str, subnets: &[&str], options: &[(&str, &str)]) -> Command {
    let subnet = |text: &&str| SubnetRequest { subnet: text.parse().ok(), ..SubnetRequest::default() };
    Command::CreateNetwork(CreateNetwork {
        name: name.to_owned(),
        subnets: subnets.iter().map(subnet).collect(),
        options: map(options),
        ..CreateNetwork::default()
    })
}

fn with(options: &[(&str, &str)]) -> EndpointRequest {
    EndpointRequest { driver_options: map(options), ..EndpointRequest::default() }
}

fn connect(network: &str, options: &[(&str, &str)]) -> Command {
    Command::Connect { network: network.to_owned(), sandbox: "web".to_owned(), request: with(options) }
}

/// Two dual-stack networks, the second with routes, a metric and no default route.
const SUBNETS: [[&str; 2]; 2] = [["10.1.0.0/24", "fd01::/64"], ["10.2.0.0/24", "fd02::/64"]];
const DEFAULTS: [(&str, &str); 3] = [
    ("fairway.routes", "10.9.0.0/16@10.2.0.9,fd09::/48@fd02::9,blackhole:10.66.0.0/16"),
    ("fairway.metric", "70"),
    ("fairway.default_route", "false"),
];

fn routes(world: &World) -> SandboxRoutes {
    let id = world.find_sandbox("web").unwrap().id;
    match fragment(world, Owner::Sandbox(id)).remove(&Key::SandboxRoutes(id)) {
        Some(Object::SandboxRoutes(routes)) => routes,
        other => panic!("{other:?}"),
    }
}

fn defaults(world: &World) -> Vec<String> {
    let shown = |metric: Option<u32>| metric.map(|metric| format!(" {metric}")).unwrap_or_default();
    let routes = routes(world).gateways.into_iter();
    routes.map(|it| format!("{} {}{}", it.gateway, it.interface, shown(it.metric))).collect()
}

fn others(world: &World) -> Vec<String> {
    let shown = |name: Option<String>| name.map(|name| format!(" {name}")).unwrap_or_default();
    routes(world).others.into_iter().map(|it| format!("{}{}", it.route, shown(it.interface))).collect()
}

#[test]
fn routes_of_a_network_are_those_of_endpoints_that_have_none() {
    let (mut world, mut rng) = world();
    run(&mut world, &mut rng, [network("one", &SUBNETS[0], &[]), network("two", &SUBNETS[1], &DEFAULTS)]);
    run(&mut world, &mut rng, [sandbox("web", &[("one", with(&[]))], Default::default()), start("web")]);
    assert_eq!(defaults(&world), ["10.1.0.1 eth0", "fd01::1 eth0"]);
    assert!(others(&world).is_empty());

    run(&mut world, &mut rng, [connect("two", &[])]);
    assert_eq!(defaults(&world), ["10.1.0.1 eth0", "fd01::1 eth0"]);
    let all = ["10.9.0.0/16@10.2.0.9 eth1", "blackhole:10.66.0.0/16", "fd09::/48@fd02::9 eth1"];
    assert_eq!(others(&world), all);

    let leave =
        |network: &str| Command::Disconnect { network: network.to_owned(), sandbox: "web".to_owned() };
    run(&mut world, &mut rng, [leave("two")]);
    assert!(others(&world).is_empty());
    let own = [("fairway.routes", "unreachable:10.8.0.0/16#5"), ("fairway.default_route", "true")];
    run(&mut world, &mut rng, [connect("two", &own), leave("one")]);
    assert_eq!(defaults(&world), ["10.2.0.1 eth1 70", "fd02::1 eth1 70"]);
    assert_eq!(others(&world), ["unreachable:10.8.0.0/16#5"]);
    run(
        &mut world,
        &mut rng,
        [leave("two"), connect("two", &[("fairway.routes", ""), ("fairway.metric", "7")])],
    );
    assert_eq!((defaults(&world), others(&world)), (vec![], vec![]));
}

#[test]
fn a_family_that_an_endpoint_does_not_have_has_no_routes() {
    let (mut world, mut rng) = world();
    let off = ("com.docker.network.endpoint.sysctls", "net.ipv6.conf.IFNAME.disable_ipv6=1");
    run(&mut world, &mut rng, [network("two", &SUBNETS[1], &DEFAULTS)]);
    run(&mut world, &mut rng, [sandbox("web", &[("two", with(&[off]))], Default::default()), start("web")]);
    assert_eq!(others(&world), ["10.9.0.0/16@10.2.0.9 eth0", "blackhole:10.66.0.0/16"]);
}

/// Ports are published by an endpoint that may have the default route, else by another one.
#[test]
fn ports_are_published_without_a_default_route_too() {
    let (mut world, mut rng) = world();
    let ports = publish(Some(8080), 80);
    run(&mut world, &mut rng, [network("one", &SUBNETS[0], &[]), network("two", &SUBNETS[1], &DEFAULTS)]);
    let join =
        [("one", EndpointRequest::default()), ("two", EndpointRequest { gateway_priority: 9, ..with(&[]) })];
    run(&mut world, &mut rng, [sandbox("web", &join, ports), start("web")]);
    let id = world.find_sandbox("web").unwrap().id;
    let target = |world: &World| world.publication_target(id, true).unwrap().1.to_string();
    assert_eq!(target(&world), "10.1.0.2");
    let leave = Command::Disconnect { network: "one".to_owned(), sandbox: "web".to_owned() };
    run(&mut world, &mut rng, [leave]);
    assert_eq!(target(&world), "10.2.0.2");
    assert!(!world.sandbox(id).unwrap().publications.is_empty());
    assert!(world.default_route_endpoint(id, true).is_none());
}

#[test]
fn routes_that_cannot_be_are_refused() {
    let (mut world, mut rng) = world();
    for (routes, reason) in [
        ("10.9.0.0/16@10.2.0.9", "the gateway 10.2.0.9 is not in the subnet 10.1.0.0/24 of network one"),
        ("blackhole:fd09::/48", "network one has no IPv6 subnet"),
        ("blackhole:10.1.0.0/24", "the kernel has the route to the subnet of network one"),
        ("10.9.0.0/16,10.9.0.0/16@10.1.0.9", "are routes to one destination with one metric"),
        ("10.9.0.0/16@fd01::9", "must be of one address family"),
    ] {
        let refusal =
            refused(&mut world, &mut rng, network("one", &["10.1.0.0/24"], &[("fairway.routes", routes)]));
        assert!(
            refusal.starts_with("invalid option fairway.routes=") && refusal.contains(reason),
            "{refusal}"
        );
    }
    run(
        &mut world,
        &mut rng,
        [network("one", &["10.1.0.0/24"], &[("fairway.routes", "10.9.0.0/16@10.1.0.9")])],
    );
    run(&mut world, &mut rng, [network("two", &["10.2.0.0/24"], &[])]);
    run(&mut world, &mut rng, [sandbox("web", &[("one", with(&[]))], Default::default())]);
    for (routes, reason) in [
        ("10.9.0.0/16@10.2.0.9", "the container has a route to it by network one"),
        ("10.9.0.0/16@10.1.0.9", "is not in the subnet 10.2.0.0/24 of network two"),
        ("blackhole:10.1.0.0/24", "that is the subnet of network one"),
    ] {
        let refusal = refused(&mut world, &mut rng, connect("two", &[("fairway.routes", routes)]));
        assert!(refusal.contains(reason), "{refusal}");
    }
    let both = [("one", with(&[])), ("two", with(&[("fairway.routes", "10.9.0.0/16")]))];
    let refusal = refused(&mut world, &mut rng, sandbox("other", &both, Default::default()));
    assert!(refusal.contains("give one of them another #METRIC"), "{refusal}");
    run(&mut world, &mut rng, [connect("two", &[("fairway.routes", "10.9.0.0/16@10.2.0.9#9")])]);
    let leads_to_it = [("fairway.routes", "10.3.0.0/24@10.2.0.9")];
    let disconnect = Command::Disconnect { network: "two".to_owned(), sandbox: "web".to_owned() };
    run(
        &mut world,
        &mut rng,
        [disconnect, connect("two", &leads_to_it), network("three", &["10.3.0.0/24"], &[])],
    );
    let refusal = refused(&mut world, &mut rng, connect("three", &[]));
    assert!(refusal.contains("a route by network two, to the subnet of network three"), "{refusal}");
}

/// The routes of a network may change while sandboxes are on it, unless another network of theirs has such a route.
#[test]
fn changed_routes_of_a_network_are_checked_and_follow() {
    let (mut world, mut rng) = world();
    run(&mut world, &mut rng, [network("one", &["10.1.0.0/24"], &[]), network("two", &["10.2.0.0/24"], &[])]);
    let own = [("fairway.routes", "10.9.0.0/16@10.2.0.9")];
    let join = [("one", with(&[])), ("two", with(&own))];
    run(&mut world, &mut rng, [sandbox("web", &join, Default::default()), start("web")]);
    let update = |routes: &str| Command::UpdateNetwork {
        network: "one".to_owned(),
        options: [("fairway.routes".to_owned(), Some(routes.to_owned()))].into(),
    };
    let refusal = refused(&mut world, &mut rng, update("blackhole:10.9.0.0/16"));
    assert!(refusal.contains("the container has a route to it by network two"), "{refusal}");
    run(&mut world, &mut rng, [update("blackhole:10.8.0.0/16")]);
    assert_eq!(others(&world), ["blackhole:10.8.0.0/16", "10.9.0.0/16@10.2.0.9 eth1"]);
}
