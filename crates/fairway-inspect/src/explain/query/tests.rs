use super::*;
use fairway_walk::{add_default_route, add_interface, empty_namespace};

/// An interface: index, name, kind, bridge and addresses.
type Link<'a> = (u32, &'a str, &'a str, Option<u32>, &'a [&'a str]);

fn host(interfaces: &[Link<'_>]) -> NetworkNamespace {
    let mut host = empty_namespace("host");
    for (index, name, kind, bridge, addresses) in interfaces {
        let interface = Interface {
            index: *index,
            name: (*name).to_owned(),
            kind: (*kind).to_owned(),
            bridge: *bridge,
            addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
            up: true,
            ..Interface::default()
        };
        add_interface(&mut host, interface);
    }
    host
}

fn lan(host: &NetworkNamespace, ipv4: Option<bool>) -> (Option<u32>, String) {
    let neighbor = neighbor_of(host, ipv4).map_or_else(String::new, |it| it.to_string());
    (lan_of(host, ipv4).map(|(index, _)| index), neighbor)
}

#[test]
fn without_a_default_route_the_lan_is_behind_hardware_or_a_bridge_with_it() {
    let inner = (4, "docker0", "bridge", None, &["172.17.0.1/16"][..]);
    let port = (5, "veth0", "veth", Some(4), &[][..]);
    let own =
        host(&[inner, port, (2, "br0", "bridge", None, &["10.0.0.2/24"]), (3, "eth0", "", Some(2), &[])]);
    assert_eq!(lan(&own, None), (Some(2), "10.0.0.1".to_owned()));
    assert_eq!(lan(&own, Some(false)), (None, String::new()));
    assert_eq!(lan(&host(&[inner, port]), None), (None, String::new()));
    let vlan = host(&[inner, port, (2, "eth0.5", "vlan", None, &["fe80::2/64", "fd00::1/64"])]);
    // The first address of an IPv6 subnet is of its routers.
    assert_eq!(lan(&vlan, None), (Some(2), "fd00::2".to_owned()));
}

#[test]
fn the_router_is_the_neighbor_of_its_family() {
    let addresses = &["10.0.0.2/24", "fe80::2/64", "fd00::2/64"][..];
    let mut host = host(&[(2, "eth0", "", None, addresses)]);
    add_default_route(&mut host, "10.0.0.9".parse().unwrap(), 2);
    assert_eq!(lan(&host, None), (Some(2), "10.0.0.9".to_owned()));
    assert_eq!(lan(&host, Some(false)), (Some(2), "fd00::1".to_owned()));
    // A router by its link-local address sends from another one.
    add_default_route(&mut host, "fe80::9".parse().unwrap(), 2);
    assert_eq!(lan(&host, Some(false)), (Some(2), "fd00::1".to_owned()));
    add_default_route(&mut host, "fd00::9".parse().unwrap(), 2);
    host.routes.retain(|route| route.gateway != Some("fe80::9".parse().unwrap()));
    assert_eq!(lan(&host, Some(false)), (Some(2), "fd00::9".to_owned()));
    assert_eq!(lan(&host, None), (Some(2), "10.0.0.9".to_owned()));
}
