//! Containers of podman as sandboxes of the engine.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fairway_api::types::{
    Attached, ContainerCreate, EndpointIpam, EndpointSettings, HostConfig, JoinRequest, LeaveRequest,
    NetworkingConfig, PortBinding, PortMap,
};
use fairway_model::{ENGINE_LABEL, parse};
use ipnet::IpNet;

use super::error::{NetavarkError, RequestError};
use super::network::{self, Addresses, Options, SEARCH_DOMAIN};
use super::reply::{Address, Interface, Status};
use super::request::{Container, NamedEndpoint, Network, PortMapping};
use crate::face::container_id::sandbox_id;

/// The name of the engine in labels.
pub(super) const ENGINE: &str = "podman";
/// More than the interfaces of a container.
const INTERFACES: i64 = 64;

/// Who resolves names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolver {
    /// The engine's resolver, in the namespace of each container.
    Engine,
    /// Another aardvark-dns, at the addresses of the gateways.
    Aardvark,
}

/// The description of a container's network.
pub(super) fn network_of<'a>(
    container: &'a Container,
    named: &NamedEndpoint,
) -> Result<&'a Network, RequestError> {
    container.network_info.get(&named.name).ok_or_else(|| RequestError::NoNetworkInfo(named.name.clone()))
}

/// The endpoints on networks that the engine makes, in order.
pub(super) fn endpoints(container: &Container) -> impl Iterator<Item = (&NamedEndpoint, &Network)> {
    let described = |named| Some((named, network_of(container, named).ok()?));
    container.networks.iter().filter_map(described).filter(|(_, network)| is_built_in(network))
}

/// Whether the engine makes a network, and no plugin.
pub(super) fn is_built_in(network: &Network) -> bool {
    matches!(network.driver.as_str(), "bridge" | "macvlan")
}

/// The request to connect a container to its networks.
pub(super) fn join(
    container: &Container,
    namespace: &str,
    default_parent: Option<&str>,
    resolver: Resolver,
) -> Result<JoinRequest, RequestError> {
    let mut networks = Vec::new();
    let mut endpoints_config = Vec::new();
    for (position, (named, network)) in endpoints(container).enumerate() {
        networks.push(described(network, default_parent, resolver)?);
        endpoints_config.push((network.name.clone(), endpoint(container, named, network, position)?));
    }
    let first = endpoints_config.first().map(|(name, _)| name.clone()).unwrap_or_default();
    let dns = container.dns_servers.iter().flatten().map(ToString::to_string).collect();
    Ok(JoinRequest {
        id: sandbox_id(ENGINE, &container.container_id).to_string(),
        name: sandbox_name(container),
        path: namespace.to_owned(),
        networks,
        ports_held: true,
        resolver_range: true,
        container: ContainerCreate {
            labels: [(ENGINE_LABEL.to_owned(), ENGINE.to_owned())].into(),
            host_config: HostConfig {
                network_mode: first,
                port_bindings: ports(container.port_mappings.as_deref().unwrap_or_default())?,
                dns,
                ..HostConfig::default()
            },
            networking_config: NetworkingConfig { endpoints_config },
            ..ContainerCreate::default()
        },
    })
}

/// The request to disconnect a container from its networks.
pub(super) fn leave(container: &Container) -> LeaveRequest {
    LeaveRequest {
        id: sandbox_id(ENGINE, &container.container_id).to_string(),
        networks: endpoints(container).map(|(_, network)| network.name.clone()).collect(),
    }
}

/// The network that the engine makes; without names, where another resolver has them.
fn described(
    network: &Network,
    default_parent: Option<&str>,
    resolver: Resolver,
) -> Result<fairway_api::types::NetworkCreate, RequestError> {
    match resolver {
        Resolver::Engine => network::network(network, default_parent),
        Resolver::Aardvark => {
            let unnamed = Network { dns_enabled: false, ..network.clone() };
            network::network(&unnamed, default_parent)
        }
    }
}

/// The name of the sandbox: the container's, or its id where the engine takes no such name.
fn sandbox_name(container: &Container) -> String {
    let name = parse::name(&container.container_name);
    name.unwrap_or_else(|_| container.container_id.chars().take(12).collect())
}

fn endpoint(
    container: &Container,
    named: &NamedEndpoint,
    network: &Network,
    position: usize,
) -> Result<EndpointSettings, RequestError> {
    let endpoint = &named.endpoint;
    if endpoint.interface_name.is_empty() {
        return Err(RequestError::NoInterface);
    }
    let read = Options(network);
    let mut driver_opts =
        BTreeMap::from([("com.docker.network.endpoint.ifname".to_owned(), endpoint.interface_name.clone())]);
    let host_interface = endpoint.options.as_ref().and_then(|options| options.get("host_interface_name"));
    if let Some(name) = host_interface.filter(|name| !name.is_empty()) {
        driver_opts.insert("fairway.host_interface".to_owned(), name.clone());
    }
    let [ipv4, ipv6] = addresses(endpoint.static_ips.as_deref(), network, read.addresses()?)?;
    let aliases = aliases(container, named, network);
    Ok(EndpointSettings {
        ipam_config: Some(EndpointIpam {
            ipv4_address: ipv4.map(|address| address.to_string()).unwrap_or_default(),
            ipv6_address: ipv6.map(|address| address.to_string()).unwrap_or_default(),
            ..EndpointIpam::default()
        }),
        aliases: Some(aliases),
        mac_address: endpoint.static_mac.clone().unwrap_or_default(),
        driver_opts: Some(driver_opts),
        gw_priority: gateway_priority(read.metric()?, &endpoint.interface_name, position),
        ..EndpointSettings::default()
    })
}

/// The endpoint with the lowest metric has the default route, and of several the first: that of the interface with the
/// lowest number in its name, then by the place in the request, where older podman sorts the networks by name.
fn gateway_priority(metric: u32, interface: &str, position: usize) -> i32 {
    let digits = interface.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    let number = digits.parse().unwrap_or(position);
    let below = |number: usize| i64::try_from(number).unwrap_or(INTERFACES).min(INTERFACES - 1);
    let place = below(number) * INTERFACES + below(position);
    let priority = -(i64::from(metric) * INTERFACES * INTERFACES + place);
    i32::try_from(priority).unwrap_or(i32::MIN)
}

/// The addresses that podman has chosen, one of each family.
fn addresses(
    chosen: Option<&[IpAddr]>,
    network: &Network,
    by: Addresses,
) -> Result<[Option<IpAddr>; 2], RequestError> {
    let chosen = match (chosen, by) {
        (Some(chosen), _) => chosen,
        (None, Addresses::Dhcp | Addresses::None) => return Ok([None, None]),
        (None, Addresses::Chosen) => return Err(RequestError::NoAddresses),
    };
    let subnets = network.subnets.as_deref().unwrap_or_default();
    let in_subnet = |address: &&IpAddr| subnets.iter().any(|subnet| subnet.subnet.contains(*address));
    let got = chosen.iter().filter(in_subnet).count();
    if by == Addresses::Chosen && got != chosen.len() {
        return Err(RequestError::AddressOutside { expected: chosen.len(), got });
    }
    let mut of_family = [None, None];
    for address in chosen {
        let place = &mut of_family[usize::from(address.is_ipv6())];
        if place.replace(*address).is_some() {
            return Err(RequestError::Unsupported {
                network: network.name.clone(),
                what: format!("a second address {address}"),
                way_out: "use one address of each family on a network",
            });
        }
    }
    Ok(of_family)
}

/// The names that the network resolves. A name that the engine does not take is left out, as netavark does.
fn aliases(container: &Container, named: &NamedEndpoint, network: &Network) -> Vec<String> {
    if !network.dns_enabled {
        return Vec::new();
    }
    let given = named.endpoint.aliases.iter().flatten();
    given.chain([&container.container_name]).filter_map(|name| parse::alias(name).ok()).collect()
}

/// The published ports.
fn ports(mappings: &[PortMapping]) -> Result<PortMap, RequestError> {
    let mut ports = PortMap::new();
    for mapping in mappings {
        let more = mapping.range.max(1) - 1;
        let range = |first: u16| match u32::from(first) + u32::from(more) {
            last if last > u32::from(u16::MAX) => Err(RequestError::PortRange { first, last }),
            last if more == 0 => Ok(last.to_string()),
            last => Ok(format!("{first}-{last}")),
        };
        let (container, host) = (range(mapping.container_port)?, range(mapping.host_port)?);
        let protocols = if mapping.protocol.is_empty() { "tcp" } else { &mapping.protocol };
        for protocol in protocols.split(',') {
            if !matches!(protocol, "tcp" | "udp" | "sctp") {
                return Err(RequestError::Protocol(protocol.to_owned()));
            }
            let binding = PortBinding { host_ip: mapping.host_ip.clone(), host_port: host.clone() };
            let bindings = ports.entry(format!("{container}/{protocol}")).or_default();
            bindings.get_or_insert_default().push(binding);
        }
    }
    Ok(ports)
}

/// What `setup` prints of the networks that the engine made.
pub(super) fn statuses(
    container: &Container,
    attached: &Attached,
    resolver: Resolver,
) -> Result<BTreeMap<String, Status>, NetavarkError> {
    endpoints(container)
        .map(|(named, network)| {
            let status = status(container, network, attached, resolver);
            Ok((named.name.clone(), status.ok_or_else(|| NetavarkError::Reply(named.name.clone()))?))
        })
        .collect()
}

fn status(
    container: &Container,
    network: &Network,
    attached: &Attached,
    resolver: Resolver,
) -> Option<Status> {
    let endpoint = attached.networks.get(&network.name)?;
    let interface = attached.interfaces.get(&network.name)?;
    let subnets = network.subnets.as_deref().unwrap_or_default();
    let given = [
        (&endpoint.ip_address, endpoint.ip_prefix_len, &endpoint.gateway),
        (&endpoint.global_ipv6_address, endpoint.global_ipv6_prefix_len, &endpoint.ipv6_gateway),
    ];
    let address = |(address, prefix, gateway): (&String, u8, &String)| {
        let address: IpAddr = address.parse().ok()?;
        let described = subnets.iter().find(|subnet| subnet.subnet.contains(&address));
        let gateway = described.map_or_else(|| gateway.parse().ok(), |subnet| subnet.gateway);
        Some(Address { gateway, ipnet: IpNet::new(address, prefix).ok()? })
    };
    let addresses: Vec<_> = given.into_iter().filter_map(address).collect();
    let own = container.dns_servers.clone().unwrap_or_default();
    let (domains, servers) = match (network.dns_enabled && network.driver == "bridge", resolver) {
        (false, _) => (Vec::new(), own),
        // Podman removes the address from resolv.conf when the container leaves the network, so each has its own.
        (true, Resolver::Engine) => (vec![SEARCH_DOMAIN.to_owned()], vec![interface.resolver.parse().ok()?]),
        (true, Resolver::Aardvark) => {
            let gateways = subnets.iter().filter_map(|subnet| subnet.gateway).collect();
            (vec![SEARCH_DOMAIN.to_owned()], gateways)
        }
    };
    Some(Status {
        dns_search_domains: Some(domains),
        dns_server_ips: Some(servers),
        interfaces: Some(BTreeMap::from([(
            interface.name.clone(),
            Interface { mac_address: endpoint.mac_address.clone(), subnets: Some(addresses) },
        )])),
    })
}

#[cfg(test)]
mod tests;
