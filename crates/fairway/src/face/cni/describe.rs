//! What the daemon is asked for an ADD: the network as described, and the container on it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fairway_api::types::Attached;
use fairway_api::types::{
    AttachedInterface, ContainerCreate, EndpointIpam, EndpointSettings, HostConfig, Ipam, JoinRequest,
    NetworkCreate, NetworkingConfig, PortBinding, PortMap,
};
use fairway_model::ENGINE_LABEL;
use ipnet::IpNet;

use super::configuration::{Configuration, Dns, PortMapping, Route};
use super::environment::{Arguments, Environment};
use super::error::Error;
use super::ipam::Addressing;
use super::result::{Interface, Ip, Outcome};
use crate::face::container_id::{CONTAINER_LABEL, sandbox_id, short};

/// The name of CNI among the engines, of the label and the ids of sandboxes.
pub const ENGINE: &str = "cni";
/// The endpoint option with the interface's name.
pub const INTERFACE: &str = "com.docker.network.endpoint.ifname";
/// The address of the daemon's resolver in each container.
const RESOLVER: &str = "127.0.0.11";
/// The most characters of a sandbox's name.
const NAME_LIMIT: usize = 128;

/// The request to the daemon.
///
/// # Errors
/// Names the key that cannot be used.
pub fn join(
    environment: &Environment,
    configuration: &Configuration,
    addressing: &Addressing,
) -> Result<JoinRequest, Error> {
    let servers = name_servers(configuration, addressing);
    let endpoint = EndpointSettings {
        ipam_config: Some(requested(addressing)),
        aliases: Some(configuration.aliases()?),
        mac_address: mac(environment, configuration),
        driver_opts: Some(endpoint_options(environment, configuration, addressing)?),
        ..EndpointSettings::default()
    };
    let container = ContainerCreate {
        labels: labels(environment, configuration),
        host_config: HostConfig {
            network_mode: configuration.name.clone(),
            port_bindings: ports(&configuration.runtime_config.port_mappings)?,
            dns: servers.nameservers,
            dns_search: search_domains(&servers.domain, servers.search),
            dns_options: servers.options,
            ..HostConfig::default()
        },
        networking_config: NetworkingConfig {
            endpoints_config: vec![(configuration.name.clone(), endpoint)],
        },
        ..ContainerCreate::default()
    };
    Ok(JoinRequest {
        id: sandbox_id(ENGINE, &environment.container_id).to_string(),
        name: name(&environment.arguments, &environment.container_id),
        path: environment.netns.clone(),
        networks: vec![network(configuration, addressing)],
        container,
        ..JoinRequest::default()
    })
}

/// The name of the sandbox: the pod's with its namespace, else the container's id; of the long ids of engines the first
/// twelve digits.
fn name(arguments: &Arguments, container: &str) -> String {
    let mut name = match (arguments.pod.as_str(), arguments.pod_namespace.as_str()) {
        ("", _) => short(container).unwrap_or_else(|| container.to_owned()),
        (pod, "") => pod.to_owned(),
        (pod, namespace) => format!("{pod}.{namespace}"),
    };
    name.truncate(NAME_LIMIT);
    name
}

fn labels(environment: &Environment, configuration: &Configuration) -> BTreeMap<String, String> {
    let given = configuration.args.cni.labels.iter().map(|label| (label.key.clone(), label.value.clone()));
    let own = [(ENGINE_LABEL, ENGINE), (CONTAINER_LABEL, &environment.container_id)];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    given.filter(|(key, _)| !key.is_empty()).chain(own).collect()
}

/// The network as the configuration describes it.
fn network(configuration: &Configuration, addressing: &Addressing) -> NetworkCreate {
    let is_gateway = configuration.is_gateway || configuration.is_default_gateway;
    let has_bridge = matches!(configuration.driver.as_str(), "" | "bridge");
    let mut options = BTreeMap::new();
    let mut set = |name: &str, value: String| drop(options.insert(name.to_owned(), value));
    if has_bridge && !is_gateway {
        set("com.docker.network.bridge.gateway_mode_ipv4", "isolated".to_owned());
        set("com.docker.network.bridge.gateway_mode_ipv6", "isolated".to_owned());
    } else if has_bridge {
        set("com.docker.network.bridge.enable_ip_masquerade", configuration.ip_masq.to_string());
    }
    if !configuration.bridge.is_empty() {
        set("com.docker.network.bridge.name", configuration.bridge.clone());
    }
    if configuration.mtu != 0 {
        set("com.docker.network.driver.mtu", configuration.mtu.to_string());
    }
    if configuration.port_isolation {
        set("com.docker.network.bridge.enable_icc", false.to_string());
    }
    if configuration.macspoofchk {
        set("fairway.guard", "strict".to_owned());
    }
    options.extend(configuration.options.clone());
    let mut subnets: Vec<_> = addressing.subnets.iter().map(super::ipam::Subnet::configuration).collect();
    if !configuration.has_gateway() {
        subnets.iter_mut().for_each(|subnet| subnet.gateway.clear());
    }
    NetworkCreate {
        name: configuration.name.clone(),
        driver: configuration.driver.clone(),
        internal: has_bridge && !is_gateway,
        ipam: Some(Ipam { config: subnets, ..Ipam::default() }),
        enable_ipv4: addressing.enables(true),
        enable_ipv6: addressing.enables(false),
        options,
        ..NetworkCreate::default()
    }
}

fn requested(addressing: &Addressing) -> EndpointIpam {
    let of = |ipv4: bool| {
        let found = addressing.addresses.iter().find(|address| address.is_ipv4() == ipv4);
        found.map(ToString::to_string).unwrap_or_default()
    };
    EndpointIpam { ipv4_address: of(true), ipv6_address: of(false), link_local_ips: Vec::new() }
}

/// The runtime's MAC address, else that of `CNI_ARGS`.
fn mac(environment: &Environment, configuration: &Configuration) -> String {
    match configuration.runtime_config.mac.as_str() {
        "" => environment.arguments.mac.clone(),
        mac => mac.to_owned(),
    }
}

fn endpoint_options(
    environment: &Environment,
    configuration: &Configuration,
    addressing: &Addressing,
) -> Result<BTreeMap<String, String>, Error> {
    let mut options = BTreeMap::from([(INTERFACE.to_owned(), environment.interface.clone())]);
    let mut set = |name: &str, value: String| drop(options.insert(name.to_owned(), value));
    let (has_default, routes) = routes(configuration, addressing)?;
    if !has_default {
        set("fairway.default_route", false.to_string());
    }
    if !routes.is_empty() {
        set("fairway.routes", routes.join(","));
    }
    let limits = configuration.limits();
    let rates = [
        ("fairway.ingress_rate", limits.ingress_rate),
        ("fairway.ingress_burst", limits.ingress_burst),
        ("fairway.egress_rate", limits.egress_rate),
        ("fairway.egress_burst", limits.egress_burst),
    ];
    for (name, value) in rates.into_iter().filter(|(_, value)| *value != 0) {
        set(name, value.to_string());
    }
    Ok(options)
}

/// Whether the daemon gives the container its default routes, and the other routes as `fairway.routes` has them.
fn routes(configuration: &Configuration, addressing: &Addressing) -> Result<(bool, Vec<String>), Error> {
    let mut read = Vec::new();
    for route in &addressing.routes {
        let gateway = gateway(route, addressing)?;
        // On a pair a route without a next hop is by the interface.
        let gateway = gateway.filter(|_| configuration.has_gateway() || !route.gw.is_empty());
        read.push((destination(route)?, gateway, route));
    }
    // The families whose default route is the gateway's.
    let by_gateway = |ipv4: bool| {
        let is_default = |net: &IpNet| net.prefix_len() == 0 && net.addr().is_ipv4() == ipv4;
        let plain = |route: &Route| route.priority == 0;
        let given = read.iter().any(|(net, gateway, route)| {
            is_default(net) && plain(route) && (route.gw.is_empty() || *gateway == addressing.gateway(ipv4))
        });
        configuration.is_default_gateway || (configuration.has_gateway() && given)
    };
    let families: Vec<bool> =
        [true, false].into_iter().filter(|it| addressing.enables(*it) != Some(false)).collect();
    let has_default = !families.is_empty() && families.iter().all(|ipv4| by_gateway(*ipv4));
    let own = |net: &IpNet| has_default && net.prefix_len() == 0;
    let mut texts = Vec::new();
    for (net, gateway, route) in read.iter().filter(|(net, ..)| !own(net)) {
        let metric = if route.priority == 0 { String::new() } else { format!("#{}", route.priority) };
        texts.push(match gateway {
            Some(gateway) => format!("{net}@{gateway}{metric}"),
            None => format!("{net}{metric}"),
        });
    }
    Ok((has_default, texts))
}

fn destination(route: &Route) -> Result<IpNet, Error> {
    let refused = [(route.mtu != 0, "mtu"), (route.advmss != 0, "advmss"), (route.scope.is_some(), "scope")];
    let table = [(route.table.is_some_and(|table| table != 254), "table")];
    if let Some((_, key)) = refused.into_iter().chain(table).find(|(asked, _)| *asked) {
        let reason = format!("routes have a metric only: leave it out of the route to {}", route.dst);
        return Err(Error::Unsupported { key: format!("routes: {key}"), reason });
    }
    let invalid = |_| {
        Error::Invalid(format!("invalid route to {:?}: a prefix such as 0.0.0.0/0 is expected", route.dst))
    };
    route.dst.parse::<IpNet>().map(|net| net.trunc()).map_err(invalid)
}

fn gateway(route: &Route, addressing: &Addressing) -> Result<Option<IpAddr>, Error> {
    let ipv4 = !route.dst.contains(':');
    match route.gw.as_str() {
        "" => Ok(addressing.gateway(ipv4)),
        text => {
            let invalid =
                |_| Error::Invalid(format!("invalid gateway {text:?} of the route to {}", route.dst));
            text.parse().map(Some).map_err(invalid)
        }
    }
}

/// Published ports as the daemon's API has them.
///
/// # Errors
/// Names a number that is no port.
pub fn ports(mappings: &[PortMapping]) -> Result<PortMap, Error> {
    let mut ports = PortMap::new();
    for mapping in mappings {
        let port = |what: &str, number: i64| match u16::try_from(number) {
            Ok(port) if port != 0 => Ok(port),
            _ => Err(Error::Invalid(format!(
                "invalid {what} port {number} in portMappings: 1 to 65535 are ports"
            ))),
        };
        let (host, inside) = (port("host", mapping.host_port)?, port("container", mapping.container_port)?);
        let protocol = match mapping.protocol.to_ascii_lowercase() {
            empty if empty.is_empty() => "tcp".to_owned(),
            protocol => protocol,
        };
        let binding = PortBinding { host_ip: mapping.host_ip.clone(), host_port: host.to_string() };
        ports.entry(format!("{inside}/{protocol}")).or_default().get_or_insert_default().push(binding);
    }
    Ok(ports)
}

/// The name servers of the container: the runtime's, else those of the configuration and of the IPAM plugin.
fn name_servers(configuration: &Configuration, addressing: &Addressing) -> Dns {
    let asked = &configuration.runtime_config.dns;
    let mut dns = [&configuration.dns, &addressing.dns]
        .into_iter()
        .find(|dns| **dns != Dns::default())
        .cloned()
        .unwrap_or_default();
    for (own, asked) in [
        (&mut dns.nameservers, &asked.servers),
        (&mut dns.search, &asked.searches),
        (&mut dns.options, &asked.options),
    ] {
        if !asked.is_empty() {
            own.clone_from(asked);
        }
    }
    dns
}

fn search_domains(domain: &str, mut search: Vec<String>) -> Vec<String> {
    if search.is_empty() && !domain.is_empty() {
        search.push(domain.to_owned());
    }
    search
}

/// The result of ADD.
pub fn outcome(
    environment: &Environment,
    configuration: &Configuration,
    addressing: &Addressing,
    attached: &Attached,
) -> Outcome {
    let endpoint = attached.networks.get(&configuration.name).cloned().unwrap_or_default();
    let interface = attached.interfaces.get(&configuration.name).cloned().unwrap_or_default();
    let mut interfaces = on_host(&interface);
    let own = interfaces.len();
    interfaces.push(Interface {
        name: interface.name,
        mac: endpoint.mac_address.clone(),
        mtu: configuration.mtu,
        sandbox: environment.netns.clone(),
    });
    let families = [
        (true, &endpoint.ip_address, endpoint.ip_prefix_len, &endpoint.gateway),
        (false, &endpoint.global_ipv6_address, endpoint.global_ipv6_prefix_len, &endpoint.ipv6_gateway),
    ];
    let mut outcome = Outcome { interfaces, routes: addressing.routes.clone(), ..Outcome::default() };
    for (ipv4, address, length, gateway) in
        families.into_iter().filter(|(_, address, ..)| !address.is_empty())
    {
        let known = addressing.gateway(ipv4).map(|gateway| gateway.to_string()).unwrap_or_default();
        let gateway = if gateway.is_empty() && configuration.has_gateway() { known } else { gateway.clone() };
        let default = if ipv4 { "0.0.0.0/0" } else { "::/0" };
        if configuration.is_default_gateway && outcome.routes.iter().all(|route| route.dst != default) {
            outcome.routes.push(Route { dst: default.to_owned(), gw: gateway.clone(), ..Route::default() });
        }
        outcome.ips.push(Ip { interface: Some(own), address: format!("{address}/{length}"), gateway });
    }
    outcome.dns = name_servers(configuration, addressing);
    // Without a resolver the container has no names.
    if outcome.dns.nameservers.is_empty() && endpoint.dns_names.is_some() {
        outcome.dns.nameservers.push(RESOLVER.to_owned());
    }
    outcome
}

/// The interfaces on the host.
fn on_host(interface: &AttachedInterface) -> Vec<Interface> {
    let names = [&interface.bridge, &interface.host_name].into_iter().filter(|name| !name.is_empty());
    names.map(|name| Interface { name: name.clone(), ..Interface::default() }).collect()
}

#[cfg(test)]
mod tests;
