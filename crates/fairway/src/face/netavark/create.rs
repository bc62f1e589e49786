//! `netavark create`: completes and checks the configuration of a new network, which podman then keeps.

mod subnet;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use fairway_api::{Failure, decode};
use fairway_core::world::NetworkOptions;
use fairway_model::Rng;
use ipnet::IpNet;
use serde::Deserialize;

use super::error::{CreateError, NetavarkError, RequestError};
use super::network::{BRIDGE_NAME, Options, network as described, route_text};
use super::plugin;
use super::request::{LeaseRange, Network, Route, Subnet};
use subnet::{free_ipv4, free_ipv6, intersects};

/// The length of an interface's name in bytes: IFNAMSIZ of `linux/if.h` less the zero.
const INTERFACE_NAME: usize = 15;

/// What podman asks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Create {
    network: Network,
    used: Used,
    options: CreateOptions,
}

/// What other networks have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct Used {
    interfaces: Vec<String>,
    names: BTreeMap<String, String>,
    subnets: Vec<IpNet>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct CreateOptions {
    subnet_pools: Vec<SubnetPool>,
    #[serde(default)]
    default_interface_name: Option<String>,
    check_used_subnets: bool,
}

/// A range that networks get subnets of one size from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
struct SubnetPool {
    base: IpNet,
    size: u8,
}

/// What a new network must not clash with.
#[derive(Debug, Clone, Copy)]
struct Checks {
    used_subnets: bool,
    bridge: bool,
}

/// Completes and checks a network. `links` are the names of the host's links, `program` finds the plugin of a driver, and
/// `now` is the time of creation, RFC 3339.
pub(super) fn network(
    create: Create,
    links: &[String],
    program: &dyn Fn(&str) -> Option<PathBuf>,
    now: String,
    rng: &mut Rng,
) -> Result<Network, NetavarkError> {
    let Create { mut network, used, options } = create;
    check_name(&network, &used)?;
    network.network_interface.as_deref().map_or(Ok(()), check_interface_name)?;
    check_ipam(&network)?;
    let (mut checks_subnets, mut of_engine) = (false, true);
    match network.driver.as_str() {
        "bridge" => {
            let checks = bridge_checks(&mut network)?;
            checks_subnets = checks.used_subnets && options.check_used_subnets;
            complete_bridge(&mut network, &used, &options, links, checks, rng)?;
        }
        "macvlan" | "ipvlan" => complete_macvlan(&mut network, links)?,
        driver => {
            let program = program(driver).ok_or_else(|| CreateError::NoPlugin(driver.to_owned()))?;
            network = plugin::create(&program, &network)?;
            of_engine = false;
        }
    }
    if ipam_driver(&network) == "none" {
        network.dns_enabled = false;
    }
    if network.network_dns_servers.is_some() && !network.dns_enabled {
        return Err(CreateError::DnsServersWithoutDns.into());
    }
    complete_subnets(&mut network, checks_subnets, &used.subnets)?;
    network.routes.iter().flatten().try_for_each(check_route)?;
    if of_engine {
        check_setup(&network)?;
    }
    network.created = Some(now);
    Ok(network)
}

fn ipam_driver(network: &Network) -> &str {
    network.ipam_options.as_ref().and_then(|options| options.get("driver")).map_or("", String::as_str)
}

fn set_ipam_driver(network: &mut Network, driver: &str) {
    network.ipam_options.get_or_insert_default().insert("driver".to_owned(), driver.to_owned());
}

fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

fn check_name(network: &Network, used: &Used) -> Result<(), CreateError> {
    let (name, id) = (&network.name, &network.id);
    if name.is_empty() {
        return Err(CreateError::NoName);
    }
    if !is_name(name) {
        return Err(CreateError::Name(name.clone()));
    }
    if used.names.contains_key(name) {
        return Err(CreateError::Exists(name.clone()));
    }
    if id.is_empty() {
        return Err(CreateError::NoId);
    }
    match id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(()),
        false => Err(CreateError::Id(id.clone())),
    }
}

fn check_interface_name(name: &str) -> Result<(), CreateError> {
    if name.len() > INTERFACE_NAME {
        return Err(CreateError::LongInterface(name.to_owned()));
    }
    if matches!(name, "" | "." | "..") {
        return Err(CreateError::Dots);
    }
    match name.chars().find(|letter| matches!(letter, '/' | ':') || letter.is_whitespace()) {
        Some(letter) => Err(CreateError::InterfaceLetter(letter)),
        None => Ok(()),
    }
}

fn check_ipam(network: &Network) -> Result<(), CreateError> {
    match ipam_driver(network) {
        "" | "host-local" | "dhcp" => Ok(()),
        "none" if network.subnets.iter().flatten().next().is_some() => Err(CreateError::SubnetsWithoutIpam),
        "none" => Ok(()),
        other => Err(CreateError::IpamDriver(other.to_owned())),
    }
}

/// Takes Docker's names of options, and says what the bridge may share with others.
fn bridge_checks(network: &mut Network) -> Result<Checks, NetavarkError> {
    if let Some(options) = &mut network.options {
        if let Some(mtu) = options.remove("com.docker.network.driver.mtu") {
            options.insert("mtu".to_owned(), mtu);
        }
        if let Some(name) = options.remove(BRIDGE_NAME) {
            network.network_interface = Some(name);
        }
    }
    let shared = Options(network).check_bridge()?;
    Ok(Checks { used_subnets: !shared, bridge: !shared })
}

fn complete_bridge(
    network: &mut Network,
    used: &Used,
    options: &CreateOptions,
    links: &[String],
    checks: Checks,
    rng: &mut Rng,
) -> Result<(), CreateError> {
    match &network.network_interface {
        Some(name) if checks.bridge && used.interfaces.contains(name) => {
            return Err(CreateError::BridgeInUse(name.clone()));
        }
        Some(name) if !is_name(name) => return Err(CreateError::Bridge(name.clone())),
        Some(_) => {}
        None => network.network_interface = Some(free_interface(options, used, links)?),
    }
    if !matches!(ipam_driver(network), "" | "host-local") {
        return Ok(());
    }
    let subnets = network.subnets.get_or_insert_default();
    let has = |subnets: &[Subnet], ipv6: bool| subnets.iter().any(|it| it.subnet.addr().is_ipv6() == ipv6);
    let only = |subnet| Subnet { subnet, gateway: None, lease_range: None };
    let checked: &[IpNet] =
        if checks.used_subnets && options.check_used_subnets { &used.subnets } else { &[] };
    if subnets.is_empty() || (network.ipv6_enabled && !has(subnets, false)) {
        let pools = options.subnet_pools.iter().map(|pool| (pool.base, pool.size));
        subnets.push(only(free_ipv4(checked, pools).ok_or(CreateError::NoFreeSubnet)?.into()));
    }
    if network.ipv6_enabled && !has(subnets, true) {
        subnets.push(only(free_ipv6(&used.subnets, rng).into()));
    }
    set_ipam_driver(network, "host-local");
    Ok(())
}

/// The first name that no link and no network has: the prefix with a number.
fn free_interface(options: &CreateOptions, used: &Used, links: &[String]) -> Result<String, CreateError> {
    let prefix = options.default_interface_name.as_deref().ok_or(CreateError::NoDefaultInterface)?;
    let taken = |name: &String| {
        links.contains(name) || used.interfaces.contains(name) || used.names.contains_key(name)
    };
    let names = (1..1_000_000).map(|number| format!("{prefix}{number}"));
    names.into_iter().find(|name| !taken(name)).ok_or(CreateError::NoFreeInterface)
}

fn complete_macvlan(network: &mut Network, links: &[String]) -> Result<(), NetavarkError> {
    if let Some(parent) = network.network_interface.as_ref().filter(|parent| !links.contains(*parent)) {
        return Err(CreateError::NoParent(parent.clone()).into());
    }
    // Their containers have no bridge at which a resolver could listen.
    network.dns_enabled = false;
    let is_macvlan = network.driver == "macvlan";
    let has_subnets = network.subnets.iter().flatten().next().is_some();
    match ipam_driver(network) {
        "" if has_subnets => set_ipam_driver(network, "host-local"),
        "" | "dhcp" if !is_macvlan => return Err(CreateError::DhcpOnIpvlan.into()),
        "" => set_ipam_driver(network, "dhcp"),
        "host-local" if !has_subnets => {
            return Err(CreateError::SubnetNeeded(network.driver.clone()).into());
        }
        "dhcp" if has_subnets => return Err(CreateError::SubnetsWithDhcp.into()),
        _ => {}
    }
    Options(network).check_macvlan()
}

/// Checks the subnets, and gives each a gateway where its containers need one.
fn complete_subnets(network: &mut Network, checks: bool, used: &[IpNet]) -> Result<(), CreateError> {
    let needs_gateway = !network.internal || network.dns_enabled;
    let subnets = network.subnets.iter_mut().flatten();
    let mut own: Vec<IpNet> = Vec::new();
    for subnet in subnets {
        let net = subnet.subnet;
        if checks && intersects(&net, used) {
            return Err(CreateError::SubnetInUse(net));
        }
        match own.iter().find(|other| intersects(&net, std::slice::from_ref(other))) {
            Some(other) if other.trunc() == net.trunc() => return Err(CreateError::SubnetTwice(net)),
            Some(other) => return Err(CreateError::SubnetsOverlap(*other, net)),
            None => {}
        }
        own.push(net);
        match subnet.gateway {
            Some(gateway) if !net.contains(&gateway) => {
                return Err(CreateError::GatewayOutside { gateway, subnet: net });
            }
            None if needs_gateway => subnet.gateway = Some(first_address(&net)?),
            _ => {}
        }
        subnet.lease_range.as_ref().map_or(Ok(()), |range| check_lease_range(range, &net))?;
        network.ipv6_enabled |= net.addr().is_ipv6();
    }
    Ok(())
}

/// The first address of a subnet that has one for a gateway and one for a container.
fn first_address(subnet: &IpNet) -> Result<IpAddr, CreateError> {
    let longest = match subnet {
        IpNet::V4(_) => 30,
        IpNet::V6(_) => 127,
    };
    match subnet.prefix_len() <= longest {
        true => subnet.hosts().next().filter(|_| subnet.addr().is_ipv4()).or_else(|| second(subnet)),
        false => None,
    }
    .ok_or(CreateError::NoGateway { subnet: *subnet, longest: longest + 1 })
}

/// The address after that of an IPv6 subnet.
fn second(subnet: &IpNet) -> Option<IpAddr> {
    match subnet.network() {
        IpAddr::V6(address) => Some(IpAddr::V6((u128::from(address) + 1).into())),
        IpAddr::V4(_) => None,
    }
}

fn check_lease_range(range: &LeaseRange, subnet: &IpNet) -> Result<(), CreateError> {
    let ends = [("start_ip", range.start_ip), ("end_ip", range.end_ip)];
    for (end, address) in ends {
        if let Some(address) = address.filter(|address| !subnet.contains(address)) {
            return Err(CreateError::LeaseRange { end, address, subnet: *subnet });
        }
    }
    match (range.start_ip, range.end_ip) {
        (Some(first), Some(last)) if first > last => Err(CreateError::LeaseRangeOrder { first, last }),
        _ => Ok(()),
    }
}

/// Refuses what `setup` would refuse of the network, in the same words: no container could use it.
fn check_setup(network: &Network) -> Result<(), NetavarkError> {
    if network.driver == "ipvlan" {
        return Err(RequestError::Driver(network.driver.clone()).into());
    }
    // Without a parent `setup` takes the interface with the default route.
    let request = described(network, Some("eth0"))?;
    let options = NetworkOptions::parse(&request.options).map(drop).map_err(Failure::from);
    let checked = options.and_then(|()| decode::network(request).map(drop));
    checked.map_err(|failure| NetavarkError::Unusable(failure.message))
}

fn check_route(route: &Route) -> Result<(), NetavarkError> {
    if route.destination != route.destination.trunc() {
        return Err(CreateError::RouteDestination.into());
    }
    route_text(route)?;
    Ok(())
}

#[cfg(test)]
mod tests;
