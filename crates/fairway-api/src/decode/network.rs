//! Networks and endpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::str::FromStr;

use fairway_core::world::CreateNetwork;
use fairway_model::RefusalKind;
use fairway_model::SubnetRequest;
use fairway_model::{EndpointRequest, parse};

use crate::engine_api::Failure;
use crate::types::{EndpointSettings, IpamConfig, NetworkCreate};

/// The network that a request asks for, and what its user should know.
///
/// # Errors
/// Says all that cannot be read, or what Fairway does not have.
pub fn network(request: NetworkCreate) -> Result<(CreateNetwork, Vec<String>), Failure> {
    let ipam = request.ipam.unwrap_or_default();
    if !matches!(ipam.driver.as_str(), "" | "default") {
        return Err(Failure::new(
            RefusalKind::NotFound,
            format!("plugin {:?} not found: the IPAM driver can be default", ipam.driver),
        ));
    }
    let swarm = [
        (request.ingress, "ingress networks need a swarm"),
        (!matches!(request.scope.as_str(), "" | "local"), "the scope can be local only"),
    ];
    if let Some((_, reason)) = swarm.into_iter().find(|(asked, _)| *asked) {
        return Err(Failure::invalid(format!("invalid network config:\n{reason}")));
    }
    let mut warnings = Vec::new();
    let mut errors = Vec::new();
    let subnets = ipam.config.into_iter().map(|config| subnet(config, &mut errors)).collect();
    if !errors.is_empty() {
        return Err(Failure::invalid(format!("invalid network config:\n{}", errors.join("\n"))));
    }
    if request.attachable {
        warnings.push("attachable has no meaning without a swarm: any sandbox can join".to_owned());
    }
    let create = CreateNetwork {
        id: None,
        name: request.name,
        driver: request.driver,
        subnets,
        enable_ipv4: request.enable_ipv4,
        enable_ipv6: request.enable_ipv6,
        internal: request.internal,
        options: request.options,
        labels: request.labels,
        ipam_options: ipam.options,
        config_only: request.config_only,
        config_from: request.config_from.map(|from| from.network).filter(|name| !name.is_empty()),
        uplink: None,
        parent: None,
    };
    Ok((create, warnings))
}

fn subnet(config: IpamConfig, errors: &mut Vec<String>) -> SubnetRequest {
    const SUBNET: &str = "an address and a prefix length such as 172.20.0.0/16";
    const RANGE: &str = "an address and a prefix length such as 172.20.4.0/24, or two addresses such as 172.20.4.9-172.20.4.20,";
    const ADDRESS: &str = "an address such as 172.20.0.1";
    let mut auxiliary = BTreeMap::new();
    for (name, address) in config.auxiliary_addresses {
        if let Some(address) = read::<IpAddr>("auxiliary address", &address, ADDRESS, errors) {
            auxiliary.insert(name, address);
        }
    }
    SubnetRequest {
        subnet: read("subnet", &config.subnet, SUBNET, errors),
        gateway: read("gateway", &config.gateway, ADDRESS, errors),
        ip_range: read("ip-range", &config.ip_range, RANGE, errors),
        auxiliary,
    }
}

/// Reads a text that may be empty; what is wrong with it is noted.
fn read<T: FromStr>(what: &str, text: &str, expected: &str, errors: &mut Vec<String>) -> Option<T> {
    if text.is_empty() {
        return None;
    }
    let value = text.parse().ok();
    if value.is_none() {
        errors.push(format!("invalid {what} {text}: {}", parse::expected_message(text, expected)));
    }
    value
}

/// What is asked of an endpoint.
///
/// # Errors
/// Says all that cannot be read.
pub fn endpoint(settings: EndpointSettings) -> Result<EndpointRequest, Failure> {
    let mut errors = Vec::new();
    let mut note = |error: parse::ParseError| errors.push(error.to_string());
    let ipam = settings.ipam_config.unwrap_or_default();
    let ipv4 = given(&ipam.ipv4_address, parse::ipv4, &mut note);
    let ipv6 = given(&ipam.ipv6_address, parse::ipv6, &mut note);
    let mac = given(&settings.mac_address, parse::mac, &mut note);
    let all = |texts: Option<Vec<String>>| texts.unwrap_or_default();
    let aliases =
        all(settings.aliases).iter().filter_map(|text| given(text, parse::alias, &mut note)).collect();
    let mut links: Vec<_> =
        all(settings.links).iter().filter_map(|text| given(text, parse::link, &mut note)).collect();
    // Docker's client writes those of a container twice.
    let mut seen = BTreeSet::new();
    links.retain(|link| seen.insert(link.clone()));
    if !ipam.link_local_ips.is_empty() {
        errors.push("link-local addresses cannot be chosen: leave LinkLocalIPs out".to_owned());
    }
    if !errors.is_empty() {
        return Err(Failure::invalid(format!("invalid endpoint settings:\n{}", errors.join("\n"))));
    }
    Ok(EndpointRequest {
        ipv4,
        ipv6,
        mac,
        aliases,
        links,
        driver_options: settings.driver_opts.unwrap_or_default(),
        gateway_priority: settings.gw_priority,
    })
}

/// Reads a text unless it is empty.
fn given<T>(
    text: &str,
    read: impl Fn(&str) -> Result<T, parse::ParseError>,
    note: &mut impl FnMut(parse::ParseError),
) -> Option<T> {
    if text.is_empty() {
        return None;
    }
    read(text).map_err(note).ok()
}

#[cfg(test)]
mod tests;
