//! The interfaces that lead out of the host.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::graph::Uplink;
use crate::topology::without_ours;
use fairway_core::plan::Plan;
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
pub(super) fn parent(network: &Network) -> Option<&str> {
    let taken = network.uplink.as_ref().map(|uplink| uplink.parent.as_str());
    let macvlan = network.macvlan.as_ref().filter(|it| !it.has_dummy_parent());
    taken.or_else(|| macvlan.map(|it| it.parent.as_str()))
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

/// The interfaces with an address or a default route, and those that networks are upon.
pub(super) fn uplinks(world: &World, plan: &Plan, host: &NetworkNamespace) -> Vec<Uplink> {
    let others = without_ours(host, plan);
    let mut found: BTreeMap<String, Uplink> = others
        .interfaces
        .iter()
        .filter(|it| !it.loopback)
        .map(|it| (it.name.clone(), uplink(&others, it)))
        .filter(|(_, it)| !it.addresses.is_empty() || !it.routers.is_empty())
        .collect();
    for network in world.networks() {
        let Some(name) = parent(network) else { continue };
        let interface = host.interface_named(name);
        let known = found.entry(name.to_owned()).or_insert_with(|| match interface {
            Some(interface) => uplink(host, interface),
            None => Uplink { name: name.to_owned(), ..Uplink::default() },
        });
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
