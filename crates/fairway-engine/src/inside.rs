//! Whether the inside of a sandbox is as it was made. What a sandbox does there is its own matter:
//! it is told, not undone.

use std::net::IpAddr;

use fairway_core::model::MacAddress;
use fairway_core::plan::{EnclosedLink, InsideRoutes, VethLink};
use fairway_kernel::route::InsideState;
use ipnet::IpNet;

/// How an interface of a sandbox is to be.
pub(crate) struct Interface<'a> {
    name: &'a str,
    mac: Option<MacAddress>,
    mtu: Option<u32>,
    addresses: &'a [IpNet],
    sysctls: &'a [(String, String)],
}

impl<'a> From<&'a VethLink> for Interface<'a> {
    fn from(link: &'a VethLink) -> Self {
        let VethLink { interface, mac, mtu, addresses, sysctls, .. } = link;
        Self { name: interface, mac: Some(*mac), mtu: Some(*mtu), addresses, sysctls }
    }
}

impl<'a> From<&'a EnclosedLink> for Interface<'a> {
    fn from(link: &'a EnclosedLink) -> Self {
        let EnclosedLink { interface, mac, mtu, addresses, .. } = link;
        Self { name: interface, mac: *mac, mtu: *mtu, addresses, sysctls: &[] }
    }
}

/// What of an interface is other than it was made, in words.
pub(crate) fn differences<'a>(wanted: impl Into<Interface<'a>>, inside: &InsideState) -> Vec<String> {
    let Interface { name, mac, mtu, addresses, sysctls } = wanted.into();
    let Some(link) = inside.links.iter().find(|link| link.name == *name) else {
        return vec![format!("{name} is gone")];
    };
    let mut found = Vec::new();
    if !link.up {
        found.push(format!("{name} is down"));
    }
    if let Some(mac) = mac.filter(|mac| link.mac != Some(*mac)) {
        found.push(format!("{name} has another MAC address than {mac}"));
    }
    if mtu.is_some_and(|mtu| link.mtu != mtu) {
        found.push(format!("{name} has the MTU {}", link.mtu));
    }
    for (path, value) in sysctls {
        if inside.sysctls.get(path) != Some(value) {
            found.push(format!("{path} is other than {value}"));
        }
    }
    for address in addresses {
        let has =
            inside.addresses.iter().any(|found| found.interface == link.index && found.address == *address);
        if !has {
            found.push(format!("{name} has lost {address}"));
        }
    }
    found
}

/// Whether the default routes of a sandbox are those wanted, and no others.
pub(crate) fn has_routes(wanted: &InsideRoutes, inside: &InsideState) -> bool {
    let ipv4 = wanted.ipv4.as_ref().map(|(gateway, interface)| (IpAddr::V4(*gateway), interface));
    let ipv6 = wanted.ipv6.as_ref().map(|(gateway, interface)| (IpAddr::V6(*gateway), interface));
    [(ipv4, false), (ipv6, true)].into_iter().all(|(wanted, is_ipv6)| {
        let mut found = inside.default_routes.iter().filter(|route| route.ipv6 == is_ipv6);
        match wanted {
            None => found.next().is_none(),
            Some((gateway, interface)) => {
                let link = inside.links.iter().find(|link| link.name == *interface);
                found.any(|route| {
                    route.gateway == Some(gateway) && link.is_some_and(|link| link.index == route.interface)
                })
            }
        }
    })
}
