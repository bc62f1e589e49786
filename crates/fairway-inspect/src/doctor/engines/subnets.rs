//! Checks of subnets and bridges that two networks have.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fairway_model::address_range::overlap;
use fairway_model::shell::quote;
use fairway_walk::Route;
use ipnet::IpNet;

use super::forwarding::described;
use super::observations::{Bridge, ConfiguredNetwork, EngineContainer, EngineObservations};
use crate::doctor::Finding;
use crate::explain::EngineWords;

/// Reports routes of the host, and other bridges, that overlap the subnet of a bridge.
pub(super) fn check_subnets(observed: &EngineObservations) -> Vec<Finding> {
    let bridges = observed.bridges();
    let mut findings = Vec::new();
    for (place, bridge) in bridges.iter().enumerate() {
        let others = bridges.iter().skip(place + 1);
        findings.extend(others.filter_map(|other| same_subnet(observed, bridge, other)));
        if bridge.engine.is_none() {
            continue;
        }
        for subnet in bridge.subnets() {
            let own = [bridge.interface.index].into_iter().chain(bridges.iter().map(|it| it.interface.index));
            let own: Vec<u32> = own.collect();
            let routes = observed.host.routes.iter().filter(|it| {
                is_elsewhere(it) && !own.contains(&it.interface) && overlap(it.destination, subnet)
            });
            let mut seen: Vec<(IpNet, u32)> = Vec::new();
            for route in routes {
                if !seen.contains(&(route.destination, route.interface)) {
                    seen.push((route.destination, route.interface));
                    findings.push(over_route(observed, bridge, subnet, route));
                }
            }
        }
    }
    findings
}

/// Whether a route leads to another network: not a default route, nor halves of one as VPNs have them, nor the host's own
/// addresses.
fn is_elsewhere(route: &Route) -> bool {
    const LOCAL: u32 = 255;
    const HALF: u8 = 1;
    route.table != LOCAL && route.kind.forwards() && route.destination.prefix_len() > HALF
}

fn same_subnet(observed: &EngineObservations, one: &Bridge<'_>, other: &Bridge<'_>) -> Option<Finding> {
    if one.engine.is_none() && other.engine.is_none() {
        return None;
    }
    let (mine, theirs) = one
        .subnets()
        .find_map(|mine| Some((mine, other.subnets().find(|theirs| overlap(mine, *theirs))?)))?;
    let movable = if other.engine.is_some() { other } else { one };
    Some(
        Finding::error(
            "engine-subnets",
            format!(
                "{} has {mine}, which overlaps {theirs} of {}",
                described(observed, one),
                described(observed, other)
            ),
            "the host has one route for an address: containers on one of the two bridges cannot be reached",
        )
        .fix(another_subnet(observed, movable)),
    )
}

fn over_route(observed: &EngineObservations, bridge: &Bridge<'_>, subnet: IpNet, route: &Route) -> Finding {
    let interface = observed.host.interface(route.interface).map_or("another interface", |it| &it.name);
    let destination = route.destination;
    let message = format!(
        "{} has {subnet}, which overlaps the host's route to {destination} over {interface}",
        described(observed, bridge)
    );
    let id = "engine-subnets";
    let finding = match subnet.prefix_len() > destination.prefix_len() {
        // The bridge's route is the more specific one.
        true => Finding::note(
            id,
            message,
            format!("hosts in {subnet} behind {interface} cannot be reached from here, if there are any"),
        ),
        false => Finding::error(
            id,
            message,
            format!(
                "one of the two cannot be reached: the host sends what is for {destination} over {interface} or to the \
                 bridge, not both"
            ),
        ),
    };
    finding.fix(another_subnet(observed, bridge))
}

/// The command that gives the network of a bridge another subnet.
fn another_subnet(observed: &EngineObservations, bridge: &Bridge<'_>) -> String {
    let network = observed.network_of(bridge);
    let name = network.as_deref().map_or_else(|| "NETWORK".into(), quote);
    let again = |program: &str| {
        format!("{program} network rm {name} && {program} network create --subnet ADDRESS/BITS {name}")
    };
    match bridge.engine {
        Some(EngineWords::Docker) if bridge.interface.name == "docker0" => {
            "dockerd --bip ADDRESS/BITS".to_owned()
        }
        Some(EngineWords::Docker) => again("docker"),
        Some(EngineWords::Podman) => again("podman"),
        Some(EngineWords::Nerdctl) => again("nerdctl"),
        _ => match configuration(observed, bridge) {
            Some(network) => format!("vi {}", quote(&network.file)),
            None => {
                format!("ip address replace ADDRESS/BITS dev {}", quote(&bridge.interface.name))
            }
        },
    }
}

fn configuration<'a>(observed: &'a EngineObservations, bridge: &Bridge<'_>) -> Option<&'a ConfiguredNetwork> {
    observed.networks.iter().find(|it| it.bridge.as_ref() == Some(&bridge.interface.name))
}

/// Reports networks of which two have one bridge or one pool, and addresses that two containers have.
pub(super) fn check_bridges(observed: &EngineObservations) -> Vec<Finding> {
    let bridges = observed.bridges();
    let mut findings = duplicate_addresses(observed, &bridges);
    for bridge in &bridges {
        let name = &bridge.interface.name;
        let mut here = observed.networks.iter().filter(|it| it.bridge.as_ref() == Some(name));
        if let (Some(one), Some(other)) = (here.next(), here.next()) {
            findings.push(shared_bridge(name, one, other));
        }
        // A pool whose bridge exists is compared by the check of subnets.
        let dormant = observed.networks.iter().filter(|it| {
            let exists = |name: &String| observed.host.interface_named(name).is_some();
            it.bridge.as_ref().is_some_and(|name| !exists(name))
        });
        // Podman's networks may be configured for CNI as well as for netavark, of which it uses one.
        let is_twin = |network: &ConfiguredNetwork| {
            let of_podman = network.bridge.as_ref().is_some_and(|it| it.starts_with("cni-podman"));
            bridge.engine == Some(EngineWords::Podman) && of_podman
        };
        let of_bridge = |network: &&ConfiguredNetwork| {
            bridge.engine.is_some()
                && !is_twin(network)
                && bridge.ports > 0
                && network.subnets.iter().any(|it| bridge.subnets().any(|own| overlap(own, *it)))
        };
        findings.extend(dormant.filter(of_bridge).map(|network| shared_pool(observed, bridge, network)));
    }
    findings
}

fn shared_bridge(bridge: &str, one: &ConfiguredNetwork, other: &ConfiguredNetwork) -> Finding {
    Finding::warning(
        "engine-bridges",
        format!(
            "bridge {bridge} is that of {} network {} ({}) and of {} network {} ({})",
            one.engine, one.name, one.file, other.engine, other.name, other.file
        ),
        "each gives out addresses without knowing of the other's, and removes the bridge or its rules from under the \
         other: two containers may get one address",
    )
    .fix(format!("vi {}", quote(&other.file)))
}

fn shared_pool(observed: &EngineObservations, bridge: &Bridge<'_>, network: &ConfiguredNetwork) -> Finding {
    Finding::note(
        "engine-bridges",
        format!(
            "{} network {} ({}) has a subnet that overlaps the one of {}",
            network.engine,
            network.name,
            network.file,
            described(observed, bridge)
        ),
        "the first container on that network makes its bridge, and then one of the two cannot be reached",
    )
    .fix(format!("vi {}", quote(&network.file)))
}

/// Reports addresses that two containers have on the same bridge.
fn duplicate_addresses(observed: &EngineObservations, bridges: &[Bridge<'_>]) -> Vec<Finding> {
    let mut holders: BTreeMap<(u32, IpAddr), Vec<&EngineContainer>> = BTreeMap::new();
    for bridge in bridges {
        for (container, _) in observed.on_bridge(bridge).filter(|(it, _)| it.own_namespace) {
            let addresses = container.known.networks.iter().flat_map(|it| &it.addresses);
            for address in addresses.filter(|it| bridge.contains(**it)) {
                holders.entry((bridge.interface.index, *address)).or_default().push(container);
            }
        }
    }
    let findings = holders.iter().filter_map(|((index, address), holders)| {
        let [one, rest @ ..] = holders.as_slice() else { return None };
        let other = rest.iter().find(|it| it.known.namespace != one.known.namespace)?;
        let bridge = bridges.iter().find(|it| it.interface.index == *index)?;
        Some(
            Finding::error(
                "engine-bridges",
                format!(
                    "{} and {} both have {address} on bridge {}",
                    one.name, other.name, bridge.interface.name
                ),
                "packets to the address go to the one that answered ARP last",
            )
            .fix(restart(other)),
        )
    });
    findings.collect()
}

/// The command that restarts a container, which gets another address.
pub(super) fn restart(container: &EngineContainer) -> String {
    let name = quote(&container.known.name);
    match container.known.engine {
        EngineWords::Docker => format!("docker restart {name}"),
        EngineWords::Podman => format!("podman restart {name}"),
        EngineWords::Nerdctl => format!("nerdctl restart {name}"),
        EngineWords::Fairway => format!("fairway restart {name}"),
        EngineWords::Kubectl => {
            let namespaced = container.known.name.split_once('/');
            match namespaced {
                Some((namespace, pod)) => {
                    let pod = pod.split('/').next().unwrap_or(pod);
                    format!("kubectl delete pod --namespace {} {}", quote(namespace), quote(pod))
                }
                None => format!("kubectl delete pod {name}"),
            }
        }
        EngineWords::Other => format!("lxc-stop --reboot --name {name}"),
    }
}
