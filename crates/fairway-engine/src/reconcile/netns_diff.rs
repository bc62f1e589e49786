//! Compares a sandbox's namespace with the Plan. Changes made inside are logged, not reverted.

use std::net::IpAddr;

use fairway_core::object::{GatewayRoute, NetnsLink, NetnsRoute, SandboxRoutes, VethLink};
use fairway_inspect::doctor::Deviation;
use fairway_kernel::route::{NetnsState, ROUTE_PROTOCOL, RouteEntry};
use fairway_model::shell::{quote, set_sysctl};
use fairway_model::{MacAddress, RouteType, StaticRoute, kernel_metric};
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

/// How the routes of a sandbox differ from the planned ones.
pub(crate) fn route_differences(wanted: &SandboxRoutes, inside: &NetnsState) -> Vec<Deviation> {
    let default =
        [true, false].into_iter().filter_map(|ipv4| default_route(wanted.gateway(ipv4), ipv4, inside));
    default.chain(static_routes(&wanted.others, inside)).collect()
}

/// The name of the interface with an index.
fn name(inside: &NetnsState, index: u32) -> Option<&str> {
    inside.links.iter().find(|link| link.index == index).map(|link| link.name.as_str())
}

fn default_route(wanted: Option<&GatewayRoute>, ipv4: bool, inside: &NetnsState) -> Option<Deviation> {
    // The metric is named where one is planned.
    let has_metric = wanted.is_some_and(|wanted| wanted.metric.is_some());
    let text = |gateway: Option<IpAddr>, interface: &str, metric: u32| {
        let via = gateway.map(|gateway| format!("via {gateway} ")).unwrap_or_default();
        let metric = if has_metric { format!(" metric {metric}") } else { String::new() };
        format!("{via}dev {}{metric}", quote(interface))
    };
    let found: Vec<String> = inside
        .default_routes
        .iter()
        .filter(|route| route.ipv6 != ipv4)
        .map(|route| text(route.gateway, name(inside, route.interface).unwrap_or("none"), route.metric))
        .collect();
    let what = if ipv4 { "default route" } else { "default route of IPv6" };
    let ip = if ipv4 { "ip route" } else { "ip -6 route" };
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
        Some(wanted) => {
            let metric = kernel_metric(wanted.metric, ipv4);
            let route = text(Some(wanted.gateway), &wanted.interface, metric);
            if found.contains(&route) {
                return None;
            }
            let fix = format!("{ip} replace default {route}");
            let found = if found.is_empty() { "missing".to_owned() } else { found.join(" and ") };
            Some(Deviation::new(what, found, route).with_fix(fix))
        }
    }
}

fn static_routes(wanted: &[NetnsRoute], inside: &NetnsState) -> Vec<Deviation> {
    let index =
        |interface: &str| inside.links.iter().find(|link| link.name == interface).map(|link| link.index);
    let is = |found: &RouteEntry, wanted: &NetnsRoute| match &wanted.interface {
        Some(interface) => index(interface).is_some_and(|index| found.is(&wanted.route, Some(index))),
        None => found.is(&wanted.route, None),
    };
    let missing = wanted.iter().filter(|wanted| !inside.static_routes.iter().any(|found| is(found, wanted)));
    let missing = missing.map(|wanted| {
        let (program, route) = ip_route(&wanted.route, wanted.interface.as_deref());
        Deviation::missing(format!("route {}", wanted.route))
            .with_fix(format!("{program} replace {route} proto {ROUTE_PROTOCOL}"))
    });
    let more = inside.static_routes.iter().filter(|found| !wanted.iter().any(|wanted| is(found, wanted)));
    let more = more.map(|found| {
        let Some(route) = found.as_static() else {
            return Deviation::new(format!("route to {}", found.destination), "there", "none");
        };
        let interface = name(inside, found.interface).filter(|_| route.kind == RouteType::Unicast);
        let (program, text) = ip_route(&route, interface);
        Deviation::new(format!("route {route}"), "there", "none").with_fix(format!("{program} del {text}"))
    });
    missing.chain(more).collect()
}

/// The program and the arguments of ip-route(8) for a route.
fn ip_route(route: &StaticRoute, interface: Option<&str>) -> (&'static str, String) {
    let program = if route.destination_is_ipv4() { "ip route" } else { "ip -6 route" };
    let mut text = match route.kind {
        RouteType::Unicast => route.destination.to_string(),
        kind => format!("{} {}", kind.name(), route.destination),
    };
    if let Some(gateway) = route.gateway {
        text.push_str(&format!(" via {gateway}"));
    }
    if let Some(interface) = interface {
        text.push_str(&format!(" dev {}", quote(interface)));
    }
    text.push_str(&format!(" metric {}", route.kernel_metric()));
    (program, text)
}

/// The planned object for routes that differ from it and have static ones: what is there, so that these are removed.
pub(crate) fn found_routes(wanted: &SandboxRoutes, inside: &NetnsState) -> Option<SandboxRoutes> {
    let found = |route: &RouteEntry| {
        let interface = name(inside, route.interface).map(str::to_owned);
        let kept = route.as_static()?;
        Some(NetnsRoute { route: kept, interface: interface.filter(|_| kept.kind == RouteType::Unicast) })
    };
    let others: Vec<NetnsRoute> = inside.static_routes.iter().filter_map(found).collect();
    (!others.is_empty()).then(|| SandboxRoutes {
        namespace: wanted.namespace.clone(),
        gateways: Vec::new(),
        others,
    })
}
