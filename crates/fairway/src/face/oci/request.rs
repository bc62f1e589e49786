//! What the daemon is asked for a container.

use fairway_api::encode;
use fairway_api::types::{
    ContainerCreate, EndpointIpam, EndpointSettings, HostConfig, Ipam, JoinRequest, LeaveRequest,
    NetworkCreate, NetworkingConfig,
};
use fairway_model::ENGINE_LABEL;
use fairway_model::parse::is_name;

use super::configuration::{Configuration, DEFAULT_NETWORK, Description};
use crate::face::container_id::{CONTAINER_LABEL, sandbox_id, short};

/// The name of plain OCI runtimes among the engines, of the label and the ids of sandboxes.
const ENGINE: &str = "oci";

/// The request to connect the container that has its namespace at a path.
pub fn join(container: &str, path: &str, configuration: &Configuration) -> JoinRequest {
    let networks = match configuration.networks.as_slice() {
        [] => vec![DEFAULT_NETWORK.to_owned()],
        named => named.to_vec(),
    };
    let description = configuration.description.as_ref();
    let first = networks.first().cloned().unwrap_or_default();
    let described = description.map(|description| network(&first, description)).into_iter().collect();
    let endpoints = networks.into_iter().enumerate().map(|(index, network)| {
        let endpoint = endpoint(configuration, index == 0);
        (network, endpoint)
    });
    let labels = [(ENGINE_LABEL, ENGINE), (CONTAINER_LABEL, container)];
    JoinRequest {
        id: sandbox_id(ENGINE, container).to_string(),
        name: if configuration.name.is_empty() { name(container) } else { configuration.name.clone() },
        path: path.to_owned(),
        networks: described,
        container: ContainerCreate {
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            host_config: HostConfig {
                network_mode: first,
                port_bindings: encode::port_bindings(&configuration.publish),
                dns: configuration.dns.clone(),
                ..HostConfig::default()
            },
            networking_config: NetworkingConfig { endpoints_config: endpoints.collect() },
            ..ContainerCreate::default()
        },
        ..JoinRequest::default()
    }
}

/// The request to disconnect a container from all networks.
pub fn leave(container: &str) -> LeaveRequest {
    LeaveRequest { id: sandbox_id(ENGINE, container).to_string(), networks: Vec::new() }
}

/// The name of a sandbox by the container's id: the id, with `-` for what names cannot have; of the long ids of engines the
/// first digits.
fn name(container: &str) -> String {
    if let Some(short) = short(container) {
        return short;
    }
    let allowed =
        |letter: char| if letter.is_ascii_alphanumeric() || "_.-".contains(letter) { letter } else { '-' };
    let name: String =
        container.chars().map(allowed).skip_while(|letter| !letter.is_ascii_alphanumeric()).collect();
    // The daemon makes a name up for an empty one.
    if is_name(&name) { name } else { String::new() }
}

fn network(name: &str, description: &Description) -> NetworkCreate {
    NetworkCreate {
        name: name.to_owned(),
        driver: description.driver.clone(),
        internal: description.internal,
        enable_ipv6: description.enable_ipv6,
        ipam: Some(Ipam {
            config: description.subnets.iter().cloned().map(encode::ipam_config).collect(),
            ..Ipam::default()
        }),
        options: description.options.clone(),
        ..NetworkCreate::default()
    }
}

fn endpoint(configuration: &Configuration, is_first: bool) -> EndpointSettings {
    let aliases = Some(configuration.aliases.clone());
    if !is_first {
        return EndpointSettings { aliases, ..EndpointSettings::default() };
    }
    EndpointSettings {
        aliases,
        ipam_config: Some(EndpointIpam {
            ipv4_address: configuration.ipv4.clone(),
            ipv6_address: configuration.ipv6.clone(),
            link_local_ips: Vec::new(),
        }),
        mac_address: configuration.mac.clone(),
        ..EndpointSettings::default()
    }
}

#[cfg(test)]
mod tests;
