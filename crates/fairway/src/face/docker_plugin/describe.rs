//! What the engine is asked for a request of dockerd, and what dockerd is answered. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fairway_core::world::{Command, CreateNetwork, JoinEndpoint, World};
use fairway_model::{
    ENGINE_LABEL, Endpoint, EndpointId, EndpointRequest, MacAddress, NetworkId, PortRange, Protocol,
    PublishRequest, RouteType, Sandbox, SandboxId, SandboxKind, StaticRoute, SubnetRequest,
};
use ipnet::IpNet;
use serde_json::Value;

use super::error::Error;
use super::protocol::{self, InterfaceName, IpamData, Joined, PortBinding, Route};
use crate::face::container_id::sandbox_id;

/// The name of Docker Engine among the engines, of the label and the ids of sandboxes.
pub const ENGINE: &str = "docker";

/// The options of `docker network create -o`.
const GENERIC: &str = "com.docker.network.generic";
const ENABLE_IPV4: &str = "com.docker.network.enable_ipv4";
const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";
const INTERNAL: &str = "com.docker.network.internal";
/// The option of a network without addresses.
const ADDRESSES: &str = "fairway.addresses";
/// The options of an endpoint that other parts of a request say too, or that dockerd handles itself.
const OF_DOCKERD: [&str; 4] = [
    "com.docker.network.endpoint.exposedports",
    "com.docker.network.endpoint.macaddress",
    "com.docker.network.endpoint.dnsservers",
    "com.docker.network.portmap",
];
/// The prefix of options between dockerd and its own drivers.
const PRIVATE: &str = "com.docker.network.driver.private.";
/// The prefix of the interface's name in a container by default.
const INTERFACE_PREFIX: &str = "eth";

/// The label by which the sandboxes and networks of Docker Engine are known.
pub fn labels() -> BTreeMap<String, String> {
    [(ENGINE_LABEL.to_owned(), ENGINE.to_owned())].into()
}

/// Whether labels are those of a sandbox or a network of Docker Engine.
pub fn is_of_docker(labels: &BTreeMap<String, String>) -> bool {
    labels.get(ENGINE_LABEL).is_some_and(|engine| engine == ENGINE)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The network that dockerd describes. Its name is not known yet: dockerd does not say it.
///
/// # Errors
/// Names the value that cannot be used.
pub fn network(request: protocol::CreateNetwork) -> Result<Command, Error> {
    let id = network_id(&request.network)?;
    let flag = |name: &str| request.options.get(name).and_then(Value::as_bool);
    let generic = request.options.get(GENERIC).and_then(Value::as_object);
    let options = generic.into_iter().flatten().map(|(name, value)| (name.clone(), text(value)));
    let mut options: BTreeMap<_, _> = options.collect();
    let subnets = request.ipv4.iter().chain(&request.ipv6).filter_map(|data| subnet(data).transpose());
    let subnets = subnets.collect::<Result<Vec<_>, _>>()?;
    let without = subnets.is_empty() && !(request.ipv4.is_empty() && request.ipv6.is_empty());
    if without {
        options.insert(ADDRESSES.to_owned(), false.to_string());
    }
    let enabled = |name, default| (!without).then(|| flag(name).unwrap_or(default));
    Ok(Command::CreateNetwork(CreateNetwork {
        id: Some(id),
        name: unnamed(&id.short()),
        subnets,
        enable_ipv4: enabled(ENABLE_IPV4, true),
        enable_ipv6: enabled(ENABLE_IPV6, false),
        internal: flag(INTERNAL).unwrap_or(false),
        options,
        labels: labels(),
        ..CreateNetwork::default()
    }))
}

/// The name of what dockerd has a name for that is not known yet.
fn unnamed(id: &str) -> String {
    format!("{ENGINE}-{id}")
}

/// The subnet that an IPAM driver chose; none of the driver `null`, which chooses all addresses and allocates none.
fn subnet(data: &IpamData) -> Result<Option<SubnetRequest>, Error> {
    let subnet = net("pool", &data.pool)?;
    if subnet.prefix_len() == 0 {
        return Ok(None);
    }
    let gateway = match data.gateway.as_str() {
        "" => None,
        gateway => Some(address("gateway", gateway)?),
    };
    let auxiliary = data.aux_addresses.iter();
    let auxiliary = auxiliary.map(|(name, value)| Ok((name.clone(), address("auxiliary address", value)?)));
    Ok(Some(SubnetRequest {
        subnet: Some(subnet),
        gateway,
        ip_range: None,
        auxiliary: auxiliary.collect::<Result<_, Error>>()?,
    }))
}

/// A subnet.
///
/// # Errors
/// It has no prefix length, or is none.
pub fn net(what: &'static str, value: &str) -> Result<IpNet, Error> {
    value.parse().map_err(|_| Error::Value {
        what,
        value: value.to_owned(),
        expected: "an address with a prefix length such as 172.20.0.0/16",
    })
}

/// An address, with or without a prefix length.
fn address(what: &'static str, value: &str) -> Result<IpAddr, Error> {
    let bare = value.split_once('/').map_or(value, |(address, _)| address);
    bare.parse().map_err(|_| Error::Value {
        what,
        value: value.to_owned(),
        expected: "an address such as 172.20.0.2/16",
    })
}

/// The id of a network.
///
/// # Errors
/// It is not one of Docker's.
pub fn network_id(text: &str) -> Result<NetworkId, Error> {
    text.parse().map_err(|_| not_an_id("network id", text))
}

/// The id of an endpoint.
///
/// # Errors
/// It is not one of Docker's.
pub fn endpoint_id(text: &str) -> Result<EndpointId, Error> {
    text.parse().map_err(|_| not_an_id("endpoint id", text))
}

fn not_an_id(what: &'static str, value: &str) -> Error {
    Error::Value { what, value: value.to_owned(), expected: "an id of 64 hexadecimal digits" }
}

/// The endpoint that dockerd describes, and the MAC address to answer; none if dockerd chose it.
///
/// # Errors
/// Names the value that cannot be used.
pub fn endpoint(
    request: &protocol::CreateEndpoint,
) -> Result<(EndpointId, EndpointRequest, Option<MacAddress>), Error> {
    let id = endpoint_id(&request.endpoint)?;
    let interface = &request.interface;
    let (mut ipv4, mut ipv6) = (None, None);
    for value in [&interface.address, &interface.address_ipv6].into_iter().filter(|it| !it.is_empty()) {
        match address("address", value)? {
            IpAddr::V4(address) => ipv4 = Some(address),
            IpAddr::V6(address) => ipv6 = Some(address),
        }
    }
    let given = match interface.mac_address.as_str() {
        "" => None,
        mac => Some(mac.parse().map_err(|_| Error::Value {
            what: "MAC address",
            value: mac.to_owned(),
            expected: "the address of one interface such as 02:42:ac:11:00:02",
        })?),
    };
    let [a, b, c, d, e, f, ..] = *id.bytes();
    let chosen = given.is_none().then(|| MacAddress::from_random([a, b, c, d, e, f]));
    let is_option = |name: &&String| !OF_DOCKERD.contains(&name.as_str()) && !name.starts_with(PRIVATE);
    let options = request.options.iter().filter(|(name, _)| is_option(name));
    let request = EndpointRequest {
        ipv4,
        ipv6,
        mac: given.or(chosen),
        driver_options: options.map(|(name, value)| (name.clone(), text(value))).collect(),
        ..EndpointRequest::default()
    };
    Ok((id, request, chosen))
}

/// The sandbox of the container with a sandbox key. All endpoints of a container have the same one, until it stops.
pub fn sandbox_of(key: &str) -> SandboxId {
    let name = key.rsplit('/').next().unwrap_or(key);
    sandbox_id(ENGINE, name)
}

/// The command that connects a container by an endpoint.
///
/// # Errors
/// An id that is not one of Docker's.
pub fn join(request: &protocol::Join, endpoint: EndpointRequest) -> Result<Command, Error> {
    let sandbox = sandbox_of(&request.sandbox_key);
    Ok(Command::JoinEndpoint(Box::new(JoinEndpoint {
        id: endpoint_id(&request.endpoint)?,
        network: network_id(&request.network)?,
        sandbox,
        name: unnamed(&sandbox.short()),
        labels: labels(),
        request: endpoint,
    })))
}

/// The endpoints of containers on a network that have an address which dockerd gives to another endpoint now: dockerd does
/// not have them any more.
pub fn replaced(world: &World, network: NetworkId, request: &EndpointRequest) -> Vec<EndpointId> {
    let asked = [request.ipv4.map(IpAddr::V4), request.ipv6.map(IpAddr::V6)];
    let has_one = |endpoint: &&Endpoint| {
        let mut addresses = endpoint.allocation.iter().flat_map(|allocation| allocation.addresses());
        addresses.any(|address| asked.contains(&Some(address)))
    };
    endpoints_of_docker(world, network)
        .map(|(endpoint, _)| endpoint)
        .filter(has_one)
        .map(|it| it.id)
        .collect()
}

/// The endpoints of Docker Engine on a network, with their containers.
pub fn endpoints_of_docker(world: &World, network: NetworkId) -> impl Iterator<Item = (&Endpoint, &Sandbox)> {
    world.endpoints_of_network(network).filter_map(|endpoint| {
        let sandbox = world.sandbox(endpoint.sandbox).filter(|it| it.kind == SandboxKind::Docker)?;
        Some((endpoint, sandbox))
    })
}

/// What dockerd is answered of an endpoint that has joined; none if it is gone.
///
/// # Errors
/// A static route that dockerd cannot set.
pub fn joined(world: &World, id: EndpointId) -> Result<Option<Joined>, Error> {
    let Some(endpoint) = world.endpoint(id) else { return Ok(None) };
    let (Some(network), Some(allocation)) = (world.network(endpoint.network), &endpoint.allocation) else {
        return Ok(None);
    };
    let has_address = allocation.addresses().next().is_some();
    let default_route = has_address && !network.internal && world.is_left_a_default_route(endpoint);
    let gateway = |ipv4: bool| {
        let subnet = if ipv4 { network.ipv4() } else { network.ipv6() };
        let has_address = allocation.addresses().any(|address| address.is_ipv4() == ipv4);
        subnet.filter(|_| default_route && has_address).map(|it| it.gateway.to_string()).unwrap_or_default()
    };
    let prefix = network.bridge_options.interface_prefix.as_deref().unwrap_or(INTERFACE_PREFIX);
    let routes = world.static_routes(endpoint).map(route);
    Ok(Some(Joined {
        interface_name: InterfaceName {
            src_name: allocation.interface.clone(),
            dst_prefix: prefix.to_owned(),
            dst_name: endpoint.options.interface.clone().unwrap_or_default(),
        },
        gateway: gateway(true),
        gateway_ipv6: gateway(false),
        static_routes: routes.collect::<Result<_, _>>()?,
        disable_gateway_service: !default_route,
    }))
}

fn route(route: &StaticRoute) -> Result<Route, Error> {
    if route.kind != RouteType::Unicast || route.metric.is_some() {
        return Err(Error::Option {
            name: "fairway.routes".to_owned(),
            reason: format!("{route}: dockerd sets routes via a gateway or on the link, without a metric"),
        });
    }
    Ok(Route {
        destination: route.destination.to_string(),
        route_type: u8::from(route.gateway.is_none()),
        next_hop: route.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
    })
}

/// The command that publishes the ports of a container by the endpoint that has its default route.
///
/// # Errors
/// Names the value that cannot be used.
pub fn external_connectivity(request: &protocol::ExternalConnectivity) -> Result<Command, Error> {
    let ports = request.options.ports.iter().map(published).collect::<Result<_, _>>()?;
    Ok(Command::ExternalConnectivity { endpoint: endpoint_id(&request.endpoint)?, ports: Some(ports) })
}

fn published(port: &PortBinding) -> Result<PublishRequest, Error> {
    let protocol = Protocol::from_number(port.proto).ok_or_else(|| Error::Value {
        what: "protocol",
        value: port.proto.to_string(),
        expected: "6 (TCP), 17 (UDP) or 132 (SCTP)",
    })?;
    let host_address = match port.host_ip.as_str() {
        "" => None,
        text => Some(address("host address", text)?),
    };
    let host_ports = match (port.host_port, port.host_port_end) {
        (0, 0) => None,
        (first, last) => Some(PortRange { first, last: last.max(first) }),
    };
    Ok(PublishRequest { host_address, host_ports, container_ports: PortRange::single(port.port), protocol })
}

#[cfg(test)]
mod tests;
