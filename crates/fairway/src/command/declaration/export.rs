//! What there is, as a declaration.

use std::collections::BTreeMap;

use fairway_api::decode;
use fairway_api::types::{ContainerInspect, EndpointSettings, NetworkInspect};

use super::error::DeclareError;
use super::file::{
    EndpointKeys, External, File, IpamKeys, NetworkKeys, SandboxKeys, ServiceKeys, SubnetKeys,
};
use super::port::Port;
use super::present::{self, Present};
use super::{APPLIED, PREDEFINED};

/// The declaration of what there is, and what it cannot say.
pub(in crate::command) fn export(present: &Present) -> Result<(File, Vec<String>), DeclareError> {
    let (mut file, mut notes) = (File::default(), Vec::new());
    for network in present.networks.iter().filter(|it| !PREDEFINED.contains(&it.name.as_str())) {
        file.networks.insert(network.name.clone(), Some(network_keys(network)));
    }
    for sandbox in &present.sandboxes {
        let name = present::name(sandbox);
        for (network, _) in present::endpoints(sandbox) {
            let external =
                || Some(NetworkKeys { external: Some(External::Is(true)), ..NetworkKeys::default() });
            file.networks.entry(network.clone()).or_insert_with(external);
        }
        match sandbox.kind.as_str() {
            "attached" | "created" => {
                let path = &sandbox.network_settings.sandbox_key;
                if path.starts_with("/proc/") {
                    notes.push(format!(
                        "sandbox {name} is in {path}, which ends with its process: name the namespace with ip netns attach"
                    ));
                }
                file.sandboxes.insert(name.to_owned(), Some(sandbox_keys(sandbox)?));
            }
            "run" => drop(file.services.insert(name.to_owned(), Some(service_keys(sandbox)?))),
            // The containers of Docker's own networks are Docker's to connect.
            _ => {}
        }
    }
    Ok((file, notes))
}

fn network_keys(network: &NetworkInspect) -> NetworkKeys {
    let labels: BTreeMap<String, String> = network
        .labels
        .iter()
        .filter(|(name, _)| *name != APPLIED)
        .map(|(name, value)| (name.clone(), literal(value)))
        .collect();
    let some = |yes: bool| yes.then_some(true);
    let driver = (!network.config_only).then(|| network.driver.clone());
    if !network.config_from.network.is_empty() {
        let config_from = Some(network.config_from.network.clone());
        return NetworkKeys { driver, config_from, ..NetworkKeys::default() };
    }
    let config: Vec<SubnetKeys> = network
        .ipam
        .config
        .iter()
        .map(|subnet| SubnetKeys {
            subnet: subnet.subnet.clone(),
            ip_range: subnet.ip_range.clone(),
            gateway: subnet.gateway.clone(),
            aux_addresses: subnet.auxiliary_addresses.clone(),
        })
        .collect();
    let ipam = IpamKeys { driver: None, config, options: literals(&network.ipam.options) };
    NetworkKeys {
        driver,
        labels,
        driver_opts: literals(&network.options),
        ipam: (ipam != IpamKeys::default()).then_some(ipam),
        internal: some(network.internal),
        enable_ipv4: (!network.enable_ipv4).then_some(false),
        enable_ipv6: some(network.enable_ipv6),
        config_only: some(network.config_only),
        ..NetworkKeys::default()
    }
}

fn sandbox_keys(sandbox: &ContainerInspect) -> Result<SandboxKeys, DeclareError> {
    let (host, config) = (&sandbox.host_config, &sandbox.config);
    let labels = config.labels.iter().filter(|(name, _)| *name != APPLIED);
    let created = sandbox.kind == "created";
    Ok(SandboxKeys {
        netns: (!created).then(|| sandbox.network_settings.sandbox_key.clone()),
        hostname: present::hostname(sandbox).to_owned(),
        networks: Some(endpoints(sandbox)),
        ports: ports(sandbox)?,
        expose: config.exposed_ports.keys().cloned().collect(),
        dns: host.dns.clone(),
        dns_search: host.dns_search.clone(),
        dns_opt: host.dns_options.clone(),
        extra_hosts: host.extra_hosts.clone(),
        labels: labels.map(|(name, value)| (name.clone(), literal(value))).collect(),
    })
}

fn service_keys(sandbox: &ContainerInspect) -> Result<ServiceKeys, DeclareError> {
    let mode = sandbox.host_config.network_mode.as_str();
    // Without a namespace of its own it has no networks of its own.
    let own = mode != "host" && !mode.starts_with("container:");
    Ok(ServiceKeys {
        networks: own.then(|| endpoints(sandbox)),
        ports: if own { Some(ports(sandbox)?) } else { None },
        ..ServiceKeys::default()
    })
}

/// The endpoints, that of the first interface first.
fn endpoints(sandbox: &ContainerInspect) -> Vec<(String, EndpointKeys)> {
    let mut endpoints: Vec<_> =
        present::endpoints(sandbox).map(|(name, settings)| (name.clone(), endpoint_keys(settings))).collect();
    endpoints.sort_by_key(|(name, _)| *name != sandbox.host_config.network_mode);
    endpoints
}

/// A value that refers to no variable.
fn literal(value: &str) -> String {
    value.replace('$', "$$")
}

fn literals(values: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    values.iter().map(|(name, value)| (name.clone(), literal(value))).collect()
}

/// What was asked of an endpoint.
fn endpoint_keys(settings: &EndpointSettings) -> EndpointKeys {
    let asked = settings.ipam_config.clone().unwrap_or_default();
    EndpointKeys {
        aliases: settings.aliases.clone().unwrap_or_default(),
        mac_address: settings.requested_mac_address.clone(),
        ipv4_address: asked.ipv4_address,
        ipv6_address: asked.ipv6_address,
        gw_priority: Some(settings.gw_priority).filter(|priority| *priority != 0),
        driver_opts: settings.driver_opts.as_ref().map(literals).unwrap_or_default(),
        links: settings.links.clone().unwrap_or_default(),
        ..EndpointKeys::default()
    }
}

/// The ports that were asked for, runs of them as ranges.
fn ports(sandbox: &ContainerInspect) -> Result<Vec<Port>, DeclareError> {
    let requests = decode::publications(sandbox.host_config.port_bindings.clone());
    let requests = requests.map_err(|failure| {
        let sandbox = present::name(sandbox).to_owned();
        DeclareError::Ports { sandbox, reason: failure.message }
    })?;
    Ok(requests.into_iter().map(Port).collect())
}
