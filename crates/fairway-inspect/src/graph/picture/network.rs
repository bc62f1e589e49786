//! Networks of a picture, with the options that affect reachability.

use crate::graph::{Mark, Meaning, Network, Uplink, Way};
use fairway_core::world::World;
use fairway_model::{self as model, Driver, GatewayMode};

/// What the host does with packets between networks, in sentences.
pub(super) fn rules(world: &World) -> Vec<String> {
    let settings = world.settings();
    let mut rules = Vec::new();
    let filters = match (settings.iptables, settings.ip6tables) {
        (true, true) => Some(""),
        (true, false) => Some("By IPv4, "),
        (false, true) => Some("By IPv6, "),
        (false, false) => None,
    };
    match filters {
        Some("") => rules.push("Networks do not reach one another.".to_owned()),
        Some(family) => rules.push(format!("{family}networks do not reach one another.")),
        None => rules.push("There is no firewall: networks reach one another by their addresses.".to_owned()),
    }
    rules.push(match settings.userland_proxy {
        true => {
            "What is published is translated, and for sandboxes and loopback carried by the proxy.".to_owned()
        }
        false => "What is published is translated.".to_owned(),
    });
    rules
}

fn mark(meaning: Meaning, word: impl Into<String>, sentence: impl Into<String>) -> Mark {
    Mark { meaning, word: word.into(), sentence: sentence.into() }
}

/// The network's gateway modes, by family where they differ.
fn modes(world: &World, network: &model::Network) -> Vec<(GatewayMode, &'static str)> {
    let families = [(network.enable_ipv4, true, "IPv4 "), (network.enable_ipv6, false, "IPv6 ")];
    let of = |(_, ipv4, name)| (world.gateway_mode(network, ipv4), name);
    let modes: Vec<_> = families.into_iter().filter(|(on, ..)| *on).map(of).collect();
    match modes[..] {
        [(one, _), (other, _)] if one == other => vec![(one, "")],
        [(one, _)] => vec![(one, "")],
        _ => modes,
    }
}

fn marks(world: &World, network: &model::Network) -> Vec<Mark> {
    use Meaning::{Apart, Open, Plain};
    let mut marks = Vec::new();
    let bridge = network.driver.has_bridge();
    if network.internal && bridge {
        marks.push(mark(Apart, "internal", "no way out, and no way in but from its sandboxes and the host"));
    }
    if bridge && !world.icc(network) {
        marks.push(mark(Apart, "icc off", "its sandboxes do not reach one another"));
    }
    if network.driver == Driver::Bridge || network.driver == Driver::Routed {
        for (mode, family) in modes(world, network) {
            match mode {
                GatewayMode::Nat => {}
                GatewayMode::NatUnprotected => marks.push(mark(
                    Open,
                    format!("{family}nat-unprotected"),
                    "every port is reachable from hosts with a route",
                )),
                GatewayMode::Routed => marks.push(mark(
                    Open,
                    format!("{family}routed"),
                    "published ports are reached at the sandboxes' own addresses",
                )),
                GatewayMode::Isolated => {
                    marks.push(mark(Apart, format!("{family}isolated"), "the host is not on it"));
                }
            }
        }
        let translated =
            [(network.enable_ipv4, true), (network.enable_ipv6, false)].into_iter().any(|(on, ipv4)| {
                on && !network.internal
                    && world.gateway_mode(network, ipv4) == GatewayMode::Nat
                    && !world.is_masqueraded(network, ipv4)
            });
        if translated {
            marks.push(mark(Plain, "not masqueraded", "what leaves keeps its own address"));
        }
        for source in [true, false].into_iter().filter_map(|ipv4| world.outbound_source(network, ipv4)) {
            marks.push(mark(Plain, format!("leaves as {source}"), "what leaves gets that address"));
        }
        if bridge && network.bridge_options.inhibit_ipv4 {
            marks.push(mark(Plain, "no IPv4 on the bridge", "another host has the gateway's address"));
        }
    }
    for interface in &network.bridge_options.trusted_interfaces {
        marks.push(mark(
            Open,
            format!("trusts {interface}"),
            "from there published ports are reached at the sandboxes' own addresses",
        ));
    }
    for peer in &network.peers {
        marks.push(mark(
            Open,
            format!("peer {} via {}", peer.subnet, peer.gateway),
            "that subnet and this one reach each other",
        ));
    }
    if let Some(macvlan) = &network.macvlan {
        let sentence = "sandboxes have links of their own upon the parent; the host does not reach them";
        marks.push(mark(Plain, format!("mode {}", macvlan.mode), sentence));
        if macvlan.has_dummy_parent() {
            marks.push(mark(Apart, "no parent", "it leads nowhere"));
        }
    }
    if bridge && world.has_strict_guard(network) {
        marks.push(mark(Apart, "strict guard", "sandboxes use nothing but their own addresses"));
    }
    if network.bridge_options.dhcp {
        marks.push(mark(Plain, "DHCP", "addresses are lent by the LAN's DHCP server"));
    }
    if network.adopted.is_some() {
        marks.push(mark(Plain, "your bridge", "the bridge was there before"));
    }
    if let Some(mtu) = network.mtu {
        marks.push(mark(Plain, format!("MTU {mtu}"), "the largest packet in bytes"));
    }
    marks
}

fn way(world: &World, network: &model::Network) -> Option<Way> {
    match network.driver {
        Driver::Macvlan | Driver::Ptp | Driver::Null => return None,
        Driver::Host => return Some(Way::Own),
        Driver::Lan => return Some(Way::Open),
        Driver::Bridge | Driver::Routed => {}
    }
    let modes = modes(world, network);
    if modes.iter().all(|(mode, _)| *mode == GatewayMode::Isolated) {
        return None;
    }
    let open = |mode: &GatewayMode| matches!(mode, GatewayMode::Routed | GatewayMode::NatUnprotected);
    Some(match network {
        network if network.internal => Way::HostOnly,
        network if network.driver == Driver::Routed || modes.iter().any(|(mode, _)| open(mode)) => Way::Open,
        _ => Way::Nat,
    })
}

fn subnets(network: &model::Network) -> Vec<String> {
    let words = |it: &model::Subnet| {
        let gateway = match network.driver {
            // The network has no members.
            Driver::Ptp => String::new(),
            Driver::Macvlan | Driver::Lan => format!(" · router {}", it.gateway),
            _ if !network.reserves_gateway(it) => String::new(),
            _ => format!(" · gateway {}", it.gateway),
        };
        format!("{}{gateway}", it.subnet)
    };
    network.subnets.iter().map(words).collect()
}

/// A network of the World, without its members. `parent` is the link of the host that they are on.
pub(super) fn network(
    world: &World,
    network: &model::Network,
    parent: Option<&str>,
    uplinks: &[Uplink],
) -> Network {
    let uplink = parent.and_then(|name| uplinks.iter().position(|it| it.name == name));
    let (bridge, gateways) = match (network.driver, &network.macvlan, &network.uplink) {
        (Driver::Ptp, ..) => (Some("a pair".to_owned()), Vec::new()),
        (_, Some(macvlan), _) => (Some(macvlan.parent.clone()), Vec::new()),
        (_, _, Some(taken)) => (Some(network.bridge.clone()), taken.addresses.clone()),
        _ => {
            let own = network.subnets.iter().filter(|it| {
                let ipv4 = it.subnet.addr().is_ipv4();
                world.bridge_has_address(network, ipv4)
            });
            let nets = own.filter_map(|it| ipnet::IpNet::new(it.gateway, it.subnet.prefix_len()).ok());
            (Some(network.bridge.clone()), nets.collect())
        }
    };
    Network {
        name: network.name.clone(),
        driver: network.driver.to_string(),
        bridge,
        gateways: gateways.iter().map(|it| it.addr().to_string()).collect(),
        subnets: subnets(network),
        marks: marks(world, network),
        way: way(world, network),
        uplink,
        together: !network.driver.has_bridge() || world.icc(network),
        members: Vec::new(),
        traffic: None,
        collapsed: Vec::new(),
    }
}

fn group(name: &str, sentence: &str, way: Option<Way>) -> Network {
    Network {
        name: name.to_owned(),
        driver: String::new(),
        bridge: None,
        gateways: Vec::new(),
        subnets: vec![sentence.to_owned()],
        marks: Vec::new(),
        way,
        uplink: None,
        together: way.is_some(),
        members: Vec::new(),
        traffic: None,
        collapsed: Vec::new(),
    }
}

/// The group of sandboxes in the host's own namespace.
pub(super) fn of_the_host() -> Network {
    group("host", "in the host's own network", Some(Way::Own))
}

/// The group of sandboxes without a network.
pub(super) fn without_network() -> Network {
    group("none", "nothing but loopback", None)
}
