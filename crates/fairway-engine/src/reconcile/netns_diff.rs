//! Compares a sandbox's namespace with the Plan. Changes made inside are logged, not reverted.

use std::net::IpAddr;

use fairway_core::object::{DefaultRoutes, NetnsLink, VethLink};
use fairway_inspect::doctor::Deviation;
use fairway_kernel::route::NetnsState;
use fairway_model::MacAddress;
use fairway_model::shell::{quote, set_sysctl};
use ipnet::IpNet;

use fairway_core::object::dotted;

/// The planned settings of an interface of a sandbox.
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

impl<'a> From<&'a NetnsLink> for Interface<'a> {
    fn from(link: &'a NetnsLink) -> Self {
        let NetnsLink { interface, mac, mtu, addresses, .. } = link;
        Self { name: interface, mac: *mac, mtu: *mtu, addresses, sysctls: &[] }
    }
}

/// How an interface differs from the planned one.
pub(crate) fn differences<'a>(wanted: impl Into<Interface<'a>>, inside: &NetnsState) -> Vec<Deviation> {
    let Interface { name, mac, mtu, addresses, sysctls } = wanted.into();
    let Some(link) = inside.links.iter().find(|link| link.name == *name) else {
        return vec![Deviation::missing(format!("interface {name}"))];
    };
    let set = |what: String| format!("ip link set dev {} {what}", quote(name));
    let mut found = Vec::new();
    if !link.up {
        found.push(Deviation::new(name, "down", "up").with_fix(set("up".to_owned())));
    }
    if let Some(mac) = mac.filter(|mac| link.mac != Some(*mac)) {
        let actual = link.mac.map_or("none".to_owned(), |mac| mac.to_string());
        let deviation = Deviation::new(format!("MAC address of {name}"), actual, mac);
        found.push(deviation.with_fix(set(format!("address {mac}"))));
    }
    if let Some(mtu) = mtu.filter(|mtu| link.mtu != *mtu) {
        let deviation = Deviation::new(format!("mtu of {name}"), link.mtu, mtu);
        found.push(deviation.with_fix(set(format!("mtu {mtu}"))));
    }
    for (path, value) in sysctls {
        let actual = inside.sysctls.get(path).map_or("missing", String::as_str);
        if actual != value {
            let deviation = Deviation::new(format!("sysctl {}", dotted(path)), actual, value);
            found.push(deviation.with_fix(set_sysctl(path, value)));
        }
    }
    for address in addresses {
        let has =
            inside.addresses.iter().any(|found| found.interface == link.index && found.address == *address);
        if !has {
            // With `add`, an address of the same prefix would become a secondary one.
            let add = format!("ip address replace {address} dev {}", quote(name));
            found.push(Deviation::missing(format!("address {address} of {name}")).with_fix(add));
        }
    }
    found
}

/// How the default routes of a sandbox differ from the planned ones.
pub(crate) fn route_differences(wanted: &DefaultRoutes, inside: &NetnsState) -> Vec<Deviation> {
    let ipv4 = wanted.ipv4.as_ref().map(|(gateway, interface)| (IpAddr::V4(*gateway), interface));
    let ipv6 = wanted.ipv6.as_ref().map(|(gateway, interface)| (IpAddr::V6(*gateway), interface));
    [(ipv4, false), (ipv6, true)]
        .into_iter()
        .filter_map(|(wanted, ipv6)| route_difference(wanted, ipv6, inside))
        .collect()
}

fn route_difference(wanted: Option<(IpAddr, &String)>, ipv6: bool, inside: &NetnsState) -> Option<Deviation> {
    let name =
        |index: u32| inside.links.iter().find(|link| link.index == index).map(|link| link.name.as_str());
    let text = |gateway: Option<IpAddr>, interface: &str| {
        let via = gateway.map(|gateway| format!("via {gateway} ")).unwrap_or_default();
        format!("{via}dev {}", quote(interface))
    };
    let found: Vec<String> = inside
        .default_routes
        .iter()
        .filter(|route| route.ipv6 == ipv6)
        .map(|route| text(route.gateway, name(route.interface).unwrap_or("none")))
        .collect();
    let what = if ipv6 { "default route of IPv6" } else { "default route" };
    let ip = if ipv6 { "ip -6 route" } else { "ip route" };
    match wanted {
        None if found.is_empty() => None,
        None => {
            let remove: Vec<String> = found.iter().map(|route| format!("{ip} del default {route}")).collect();
            let deviation = Deviation::new(what, found.join(" and "), "none");
            Some(match &remove[..] {
                [one] => deviation.with_fix(one),
                _ => deviation.with_fix(format!("{ip} flush default")),
            })
        }
        Some((gateway, interface)) => {
            let route = text(Some(gateway), interface);
            if found.contains(&route) {
                return None;
            }
            let fix = format!("{ip} replace default {route}");
            let found = if found.is_empty() { "missing".to_owned() } else { found.join(" and ") };
            Some(Deviation::new(what, found, route).with_fix(fix))
        }
    }
}
