//! Networks and endpoints.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use fairway_core::world::World;
use fairway_inspect::conflict::{Cause, FirewallConflict};
use fairway_model::{Driver, Endpoint, HostRoute, Network, NetworkMode, Sandbox, Subnet, SubnetRequest};
use ipnet::IpNet;

use super::time::rfc3339;
use crate::filter::{Filters, InvalidFilter};
use crate::types::{
    ConfigReference, EndpointIpam, EndpointSettings, Ipam, IpamConfig, IpamStatus, NetworkContainer,
    NetworkInspect, NetworkObstacle, NetworkStatus, NetworkTroubles, SubnetStatus,
};

/// The request of a subnet.
pub fn ipam_config(subnet: SubnetRequest) -> IpamConfig {
    let auxiliary = subnet.auxiliary.into_iter().map(|(name, address)| (name, address.to_string()));
    IpamConfig {
        subnet: text(subnet.subnet),
        ip_range: text(subnet.ip_range),
        gateway: text(subnet.gateway),
        auxiliary_addresses: auxiliary.collect(),
    }
}

/// The networks that pass the filters `dangling`, `driver`, `id`, `label`, `name`, `scope` and
/// `type`, without their containers and status.
///
/// # Errors
/// A filter is none of these, or has a value that it cannot have.
pub fn list_networks(world: &World, filters: &Filters) -> Result<Vec<NetworkInspect>, InvalidFilter> {
    filters.check(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
    let dangling = filters.flag("dangling")?;
    filters.one_of("type", &["custom", "builtin"])?;
    let (ids, names) = (filters.patterns("id"), filters.patterns("name"));
    let passes = |network: &&Network| {
        let in_use = world.endpoints_of_network(network.id).any(|endpoint| endpoint.allocation.is_some());
        ids.pass(&network.id.to_string())
            && names.pass(&network.name)
            && filters.equals("driver", &network.driver.to_string())
            && filters.equals("scope", "local")
            && filters.equals("type", if network.predefined { "builtin" } else { "custom" })
            && filters.labels(&network.labels)
            && dangling.is_none_or(|dangling| dangling == (!in_use && !network.predefined))
    };
    Ok(world.networks().filter(passes).map(|network| describe(world, network)).collect())
}

/// A network with its running sandboxes and how full it is.
pub fn inspect_network(world: &World, network: &Network) -> NetworkInspect {
    let with_endpoint = world.endpoints_of_network(network.id).filter_map(|endpoint| {
        let (sandbox, given) = (world.sandbox(endpoint.sandbox)?, endpoint.allocation.as_ref()?);
        let container = NetworkContainer {
            name: sandbox.name.clone(),
            endpoint_id: endpoint.id.to_string(),
            mac_address: given.mac.to_string(),
            ipv4_address: with_length(network, given.ipv4.map(IpAddr::V4)),
            ipv6_address: with_length(network, given.ipv6.map(IpAddr::V6)),
        };
        Some((sandbox.id.to_string(), container))
    });
    // `host` and `none` have no endpoints; Docker lists those that run in them all the same.
    let without = world.sandboxes().filter(|sandbox| {
        sandbox.running() && mode_network(world, sandbox).is_some_and(|it| it.id == network.id)
    });
    let without = without.map(|sandbox| {
        let name = sandbox.name.clone();
        (sandbox.id.to_string(), NetworkContainer { name, ..NetworkContainer::default() })
    });
    let containers = match network.driver {
        Driver::Host | Driver::Null => without.collect(),
        _ => with_endpoint.collect(),
    };
    let subnets = network.subnets.iter().map(|subnet| {
        (subnet.subnet.to_string(), fullness(network, subnet, world.endpoints_of_network(network.id)))
    });
    NetworkInspect {
        containers,
        status: Some(NetworkStatus { ipam: IpamStatus { subnets: subnets.collect() } }),
        ..describe(world, network)
    }
}

/// The firewall conflicts of a network; none if there are none.
pub fn troubles(world: &World, network: &Network, obstacles: &[FirewallConflict]) -> Option<NetworkTroubles> {
    let conflict = |it: &FirewallConflict| NetworkObstacle {
        text: it.to_string(),
        certain: it.certain,
        owner: it.owner.to_string(),
        table: format!("{} {}", it.family, it.table),
        chain: it.chain.clone(),
        rule: match it.cause {
            Cause::Policy => 0,
            Cause::Rule(number) => number,
        },
    };
    let route = |it: &HostRoute| format!("{} dev {}", it.destination, it.interface);
    let troubles = NetworkTroubles {
        obstacles: obstacles.iter().map(conflict).collect(),
        routes: world.overlapping_routes(network).map(route).collect(),
        held: network
            .addresses_in_use
            .iter()
            .map(|(address, held)| format!("{address} at {}", held.mac))
            .collect(),
        leases: leases(world, network),
    };
    (troubles != NetworkTroubles::default()).then_some(troubles)
}

/// What the DHCP server of its LAN has lent.
fn leases(world: &World, network: &Network) -> Vec<String> {
    let endpoints = world.endpoints_of_network(network.id);
    let mut lines: Vec<String> = endpoints
        .filter_map(|endpoint| {
            let lease = endpoint.allocation.as_ref()?.lease.as_ref()?;
            let (address, server) = (lease.address, lease.server);
            let name = &world.sandbox(endpoint.sandbox)?.name;
            let until = lease.expires_at / 1_000_000_000;
            Some(match lease.lost {
                true => format!("{address} of {name}: lost; {server} may lease it to another host"),
                false => format!("{address} of {name} by {server} until {until}"),
            })
        })
        .collect();
    lines.sort();
    lines
}

/// The network that a sandbox is on by its mode, without an endpoint: `host` or `none`.
pub(super) fn mode_network<'a>(world: &'a World, sandbox: &Sandbox) -> Option<&'a Network> {
    let driver = match sandbox.mode {
        NetworkMode::Host => Driver::Host,
        NetworkMode::None => Driver::Null,
        NetworkMode::Private | NetworkMode::Shared(_) => return None,
    };
    world.networks().find(|network| network.driver == driver && network.predefined)
}

/// The options that Docker shows of its default bridge, which has those of the daemon.
fn default_bridge_options(world: &World, network: &Network) -> BTreeMap<String, String> {
    let settings = world.settings();
    let masquerade = network.masquerade.unwrap_or(settings.masquerade);
    let options = [
        ("com.docker.network.bridge.default_bridge", "true".to_owned()),
        ("com.docker.network.bridge.enable_icc", world.icc(network).to_string()),
        ("com.docker.network.bridge.enable_ip_masquerade", masquerade.to_string()),
        ("com.docker.network.bridge.host_binding_ipv4", settings.publish_address.to_string()),
        ("com.docker.network.bridge.name", network.bridge.clone()),
        ("com.docker.network.driver.mtu", world.mtu(network).to_string()),
    ];
    options.map(|(name, value)| (name.to_owned(), value)).into()
}

fn describe(world: &World, network: &Network) -> NetworkInspect {
    let config = |subnet: &Subnet| IpamConfig {
        subnet: subnet.subnet.to_string(),
        ip_range: text(subnet.ip_range),
        gateway: match network.reserves_gateway(subnet) {
            true => subnet.gateway.to_string(),
            false => String::new(),
        },
        auxiliary_addresses: subnet
            .auxiliary
            .iter()
            .map(|(name, address)| (name.clone(), address.to_string()))
            .collect(),
    };
    NetworkInspect {
        name: network.name.clone(),
        id: network.id.to_string(),
        created: rfc3339(Some(network.created)),
        scope: "local".to_owned(),
        driver: network.driver.to_string(),
        enable_ipv4: network.enable_ipv4,
        enable_ipv6: network.enable_ipv6,
        ipam: Ipam {
            driver: "default".to_owned(),
            options: network.ipam_options.clone(),
            config: match &network.configuration {
                Some(configuration) => configuration.subnets.iter().cloned().map(ipam_config).collect(),
                None => network.subnets.iter().map(config).collect(),
            },
        },
        internal: network.internal,
        config_from: ConfigReference { network: network.config_from.clone().unwrap_or_default() },
        config_only: network.configuration.is_some(),
        options: match network.predefined && network.driver == Driver::Bridge {
            true => default_bridge_options(world, network),
            false => network.options.clone(),
        },
        labels: network.labels.clone(),
        ..NetworkInspect::default()
    }
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

fn with_length(network: &Network, address: Option<IpAddr>) -> String {
    address
        .and_then(|address| {
            let subnet = network.subnet_for(address)?;
            Some(format!("{address}/{}", subnet.subnet.prefix_len()))
        })
        .unwrap_or_default()
}

/// Counts as Docker 29 does: what no endpoint can have (the first address; for IPv4 the last too),
/// the gateway, auxiliary addresses and endpoints are in use; what is left of the range that
/// addresses are given from is available.
fn fullness<'a>(
    network: &Network,
    subnet: &Subnet,
    endpoints: impl Iterator<Item = &'a Endpoint>,
) -> SubnetStatus {
    let mut used: BTreeSet<IpAddr> = subnet.auxiliary.values().copied().collect();
    if network.reserves_gateway(subnet) {
        used.insert(subnet.gateway);
    }
    match subnet.subnet {
        IpNet::V4(net) if net.prefix_len() < 31 => {
            used.insert(net.network().into());
            used.insert(net.broadcast().into());
        }
        IpNet::V6(net) if net.prefix_len() < 127 => {
            used.insert(net.network().into());
        }
        _ => {}
    }
    let given = endpoints.filter_map(|endpoint| endpoint.allocation.as_ref()).flat_map(|it| it.addresses());
    used.extend(given.filter(|address| subnet.subnet.contains(address)));
    let range = subnet.ip_range.unwrap_or(subnet.subnet.into());
    let taken = used.iter().filter(|address| range.contains(**address)).count() as u64;
    SubnetStatus { in_use: used.len() as u64, available: range.size().saturating_sub(taken) }
}

/// An endpoint: what was asked and what was given.
pub(super) fn endpoint_settings(world: &World, endpoint: &Endpoint) -> EndpointSettings {
    let request = &endpoint.request;
    let asked_address = request.ipv4.is_some() || request.ipv6.is_some();
    // Those of the default bridge are shown with the sandbox, as in Docker.
    let named = world.network(endpoint.network).is_some_and(Network::user_defined);
    let links = request.links.iter().filter(|_| named).map(|(name, alias)| format!("{name}:{alias}"));
    let mut settings = EndpointSettings {
        ipam_config: asked_address.then(|| EndpointIpam {
            ipv4_address: text(request.ipv4),
            ipv6_address: text(request.ipv6),
            link_local_ips: Vec::new(),
        }),
        links: some_unless_empty(links),
        aliases: some_unless_empty(request.aliases.iter().cloned()),
        mac_address: text(request.mac),
        requested_mac_address: text(request.mac),
        driver_opts: (!request.driver_options.is_empty()).then(|| request.driver_options.clone()),
        gw_priority: request.gateway_priority,
        network_id: endpoint.network.to_string(),
        dns_names: dns_names(world, endpoint),
        ..EndpointSettings::default()
    };
    let (Some(given), Some(network)) = (&endpoint.allocation, world.network(endpoint.network)) else {
        return settings;
    };
    settings.endpoint_id = endpoint.id.to_string();
    settings.mac_address = given.mac.to_string();
    // Internal networks have no way out, and so no gateway to show.
    let gateway = |subnet: &Subnet| if network.internal { String::new() } else { subnet.gateway.to_string() };
    if let (Some(address), Some(subnet)) = (given.ipv4, network.ipv4()) {
        settings.ip_address = address.to_string();
        settings.ip_prefix_len = subnet.subnet.prefix_len();
        settings.gateway = gateway(subnet);
    }
    if let (Some(address), Some(subnet)) = (given.ipv6, network.ipv6()) {
        settings.global_ipv6_address = address.to_string();
        settings.global_ipv6_prefix_len = subnet.subnet.prefix_len();
        settings.ipv6_gateway = gateway(subnet);
    }
    settings
}

fn some_unless_empty(values: impl Iterator<Item = String>) -> Option<Vec<String>> {
    let values: Vec<_> = values.collect();
    (!values.is_empty()).then_some(values)
}

/// The sandbox's name, its aliases, its short id, its host name: each once.
fn dns_names(world: &World, endpoint: &Endpoint) -> Option<Vec<String>> {
    let sandbox = world.sandbox(endpoint.sandbox)?;
    world.network(endpoint.network).filter(|network| network.resolves_names())?;
    let others = endpoint.request.aliases.iter().cloned().chain([sandbox.id.short(), sandbox.hostname()]);
    let mut seen = HashSet::new();
    let names = std::iter::once(sandbox.name.clone()).chain(others);
    Some(names.filter(|name| seen.insert(name.clone())).collect())
}
