//! Advice to connect sandboxes to other networks, and about routes.

use super::*;
use fairway_model::{ParentFacts, SubnetRequest};
use fairway_walk::{Route, RouteKind, add_address_routes};

#[test]
fn a_network_that_is_advised_has_the_family() {
    let mut stage = MatrixWorld::new(DaemonFlags::DOCKER_DEFAULTS);
    let ask = |stage: &MatrixWorld| advised(stage, &stage.topology(true), "u1", "fd50::1");
    let create = "fairway network create --ipv6 NETWORK && fairway network connect NETWORK u1";
    assert_eq!(ask(&stage), format!("u1 has no route there: {create}"));
    let six = CreateNetwork { name: "six".to_owned(), enable_ipv6: Some(true), ..CreateNetwork::default() };
    stage.apply(Command::CreateNetwork(six));
    assert_eq!(ask(&stage), "u1 has no route there: fairway network connect six u1");
}

#[test]
fn a_route_that_refuses_is_named_with_the_command_that_deletes_it() {
    let stage = MatrixWorld::new(DaemonFlags::DOCKER_DEFAULTS);
    for (kind, metric) in [(RouteKind::Blackhole, 0), (RouteKind::Prohibit, 20)] {
        let mut topology = stage.topology(true);
        topology.namespaces[0].interfaces[1].peer = None;
        let destination = "172.18.0.0/24".parse().unwrap();
        let (gateway, source, interface) = (None, None, 0);
        let route = Route { table: 254, destination, kind, gateway, interface, metric, source };
        topology[NamespaceId::HOST].routes.push(route);
        let metric = if metric == 0 { String::new() } else { format!(" metric {metric}") };
        let delete = format!("ip route del {} 172.18.0.0/24{metric}", kind.name());
        for (from, to) in [("host", "u1:80"), ("lan:10.10.50.1", "172.18.0.2:80")] {
            let expected = format!("that is a route of host itself: {delete}");
            assert_eq!(advised(&stage, &topology, from, to), expected, "{from}");
        }
    }
}

#[test]
fn sandboxes_past_the_host_join_a_network_with_a_bridge() {
    let mut stage = MatrixWorld::new(DaemonFlags::DOCKER_DEFAULTS);
    let create = |name: &str, number: u8, mode: &str| {
        let subnet =
            SubnetRequest { subnet: format!("10.{number}.0.0/24").parse().ok(), ..Default::default() };
        // Without a parent, the sandboxes are on a dummy link.
        let options = [("macvlan_mode", mode), ("parent", "eth0")];
        let options = &options[..if mode == "private" { 1 } else { 2 }];
        Command::CreateNetwork(CreateNetwork {
            name: name.to_owned(),
            driver: "macvlan".to_owned(),
            subnets: vec![subnet],
            options: options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            parent: Some(ParentFacts::default()),
            ..CreateNetwork::default()
        })
    };
    stage.apply(create("mv", 20, "bridge"));
    stage.apply(create("private", 21, "private"));
    stage.attach("m1", "mv");
    stage.attach("p1", "private");
    stage.attach("p2", "private");
    let mut topology = stage.topology(true);
    let eth0 = topology.host().interface_named("eth0").unwrap().index;
    topology.change_interface((NamespaceId::HOST, eth0), |it| it.peer = None);
    let add = |topology: &mut Topology, net: &str| {
        let net: ipnet::IpNet = net.parse().unwrap();
        topology.change_interface((NamespaceId::HOST, eth0), |it| it.addresses.push(net));
        add_address_routes(&mut topology[NamespaceId::HOST], eth0, net);
    };
    add(&mut topology, "10.20.0.99/24");
    let ask = |from: &str, to: &str| advised(&stage, &topology, from, to);
    let apart = "the host and the sandboxes of the macvlan network mv do not reach each other";
    assert_eq!(
        ask("host", "m1:80"),
        format!("{apart}: fairway network connect bridge m1, and use its address there")
    );
    assert_eq!(
        ask("u1", "m1:80"),
        format!("{apart}: fairway network connect usr m1, and use its address there")
    );
    assert_eq!(
        ask("p1", "p2:80"),
        "the sandboxes of the macvlan network private do not reach each other (mode private): fairway network connect \
         bridge p2 && fairway network connect bridge p1, and use its address there"
    );
}
