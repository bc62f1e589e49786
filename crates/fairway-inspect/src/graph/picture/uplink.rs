//! The interfaces that lead out of the host.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::explain::is_lan_link;
use crate::graph::Uplink;
use fairway_core::world::World;
use fairway_model::Network;
use fairway_walk::{Interface, NetworkNamespace};

fn link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// The link of the host that the members of a network are on.
pub(super) fn parent<'a>(network: &'a Network, others: &'a NetworkNamespace) -> Option<&'a str> {
    let taken = network.uplink.as_ref().map(|uplink| uplink.parent.as_str());
    let macvlan = network.macvlan.as_ref().filter(|it| !it.has_dummy_parent());
    let own = || port_of(network, others).map(|port| port.name.as_str());
    taken.or_else(|| macvlan.map(|it| it.parent.as_str())).or_else(own)
}

/// The port of a bridge of the user's own that leads to a LAN; any port if the host's default route is over the bridge.
/// `others` is the host without Fairway's ports.
fn port_of<'a>(network: &Network, others: &'a NetworkNamespace) -> Option<&'a Interface> {
    network.adopted.as_ref()?;
    let bridge = others.interface_named(&network.bridge)?;
    let has_router = !routers(others, bridge.index).is_empty();
    let ports = others.interfaces.iter().filter(|port| port.bridge == Some(bridge.index));
    ports.filter(|port| has_router || is_lan_link(port)).min_by_key(|port| !is_lan_link(port))
}

/// The routers that the default routes through an interface lead to.
fn routers(host: &NetworkNamespace, interface: u32) -> Vec<IpAddr> {
    let own = host.routes.iter().filter(|it| it.interface == interface && it.destination.prefix_len() == 0);
    let mut routers: Vec<IpAddr> = own.filter(|it| it.kind.forwards()).filter_map(|it| it.gateway).collect();
    routers.sort();
    routers.dedup();
    routers
}

fn texts<T: ToString>(values: impl IntoIterator<Item = T>) -> Vec<String> {
    values.into_iter().map(|value| value.to_string()).collect()
}

/// An interface that leads out of the host.
pub(super) fn uplink(host: &NetworkNamespace, interface: &Interface) -> Uplink {
    let addresses: Vec<IpNet> =
        interface.addresses.iter().copied().filter(|it| !link_local(it.addr())).collect();
    Uplink {
        name: interface.name.clone(),
        subnets: texts(addresses.iter().map(IpNet::trunc)),
        addresses: texts(addresses),
        routers: texts(routers(host, interface.index)),
        up: interface.up,
        taken: false,
    }
}

/// The interfaces with an address or a default route, and those that networks are upon. `others` is the host without
/// Fairway's links.
pub(super) fn uplinks(world: &World, host: &NetworkNamespace, others: &NetworkNamespace) -> Vec<Uplink> {
    let adopted = |name: &str| world.networks().any(|it| it.adopted.is_some() && it.bridge == name);
    let mut found: BTreeMap<String, Uplink> = others
        .interfaces
        .iter()
        .filter(|it| !it.loopback && !adopted(&it.name))
        .map(|it| (it.name.clone(), uplink(others, it)))
        .filter(|(_, it)| !it.addresses.is_empty() || !it.routers.is_empty())
        .collect();
    for network in world.networks() {
        let Some(name) = parent(network, others) else { continue };
        let interface = host.interface_named(name);
        let known = found.entry(name.to_owned()).or_insert_with(|| match interface {
            Some(interface) => uplink(host, interface),
            None => Uplink { name: name.to_owned(), ..Uplink::default() },
        });
        let bridge = others.interface_named(&network.bridge).filter(|_| network.adopted.is_some());
        if let Some(bridge) = bridge {
            let of_bridge = uplink(others, bridge);
            (known.subnets, known.routers) = (of_bridge.subnets, of_bridge.routers);
            known.addresses.clear();
            known.taken = true;
        }
        if let Some(taken) = &network.uplink {
            let gateways = [true, false].into_iter().filter_map(|ipv4| taken.gateway(ipv4));
            known.taken = true;
            known.addresses.clear();
            known.subnets =
                texts(taken.addresses.iter().filter(|it| !link_local(it.addr())).map(IpNet::trunc));
            known.routers = texts(gateways);
        }
    }
    found.into_values().collect()
}
