//! Whether the inside of a sandbox is as it was made. What a sandbox does there is its own matter:
//! it is told, not undone.

use std::net::IpAddr;

use fairway_core::plan::{InsideRoutes, VethLink};
use fairway_kernel::route::InsideState;

/// What of a link's inside is other than it was made, in words.
pub(crate) fn differences(wanted: &VethLink, inside: &InsideState) -> Vec<String> {
    let name = &wanted.interface;
    let Some(link) = inside.links.iter().find(|link| link.name == *name) else {
        return vec![format!("{name} is gone")];
    };
    let mut found = Vec::new();
    if !link.up {
        found.push(format!("{name} is down"));
    }
    if link.mac != Some(wanted.mac) {
        found.push(format!("{name} has another MAC address than {}", wanted.mac));
    }
    if link.mtu != wanted.mtu {
        found.push(format!("{name} has the MTU {}", link.mtu));
    }
    for address in &wanted.addresses {
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
