//! What CNI plugins returned: containerd, CRI-O and podman with CNI keep it in files (libcni's `cniCacheV1`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

use crate::container::{Attachment, Container, PublishedPort};
use crate::json::{list, text};
use crate::port_mapping;
use crate::reader::Reader;

const DIRECTORY: &str = "/var/lib/cni/results";

/// The results for one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attached {
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) ports: Vec<PublishedPort>,
}

/// The results by the identifier that the runtime gave the plugins.
pub(crate) type Results = BTreeMap<String, Attached>;

/// Reads all results. Those of containers that are gone may be among them.
pub(crate) fn read(reader: &mut Reader<'_>) -> Results {
    let mut results = Results::new();
    for name in reader.names(DIRECTORY) {
        let path = format!("{DIRECTORY}/{name}");
        let Some(value) = reader.json(&path) else { continue };
        match result(&value) {
            Ok((id, attachment, ports)) => {
                let attached = results.entry(id).or_default();
                attached.attachments.extend(attachment);
                attached.ports.extend(ports);
            }
            Err(reason) => reader.broken(&path, reason),
        }
    }
    results
}

/// Adds what plugins returned to a container.
pub(crate) fn add(container: &mut Container, results: &Results, id: &str) {
    let Some(attached) = results.get(id) else { return };
    container.attachments.extend(attached.attachments.iter().cloned());
    let ports = container.ports.drain(..).chain(attached.ports.iter().cloned()).collect();
    container.ports = PublishedPort::join(ports);
}

/// Reads one result: the container, its attachment unless that is the loopback, and its ports.
fn result(value: &Value) -> Result<(String, Option<Attachment>, Vec<PublishedPort>), &'static str> {
    let id = text(value, &["containerId"]).ok_or("there is no containerId")?;
    let network = text(value, &["networkName"]).ok_or("there is no networkName")?;
    let interface = text(value, &["ifName"]);
    if interface == Some("lo") {
        return Ok((id.to_owned(), None, Vec::new()));
    }
    let address = |ip: &Value| text(ip, &["address"])?.split('/').next()?.parse().ok();
    let mut addresses: Vec<IpAddr> = list(value, &["result", "ips"]).filter_map(address).collect();
    // Version 0.2.0 of the specification has `ip4` and `ip6`.
    let old = |key: &&str| text(value, &["result", key, "ip"])?.split('/').next()?.parse::<IpAddr>().ok();
    addresses.extend(["ip4", "ip6"].iter().filter_map(old));
    let own = |it: &&Value| text(it, &["sandbox"]).is_some() && text(it, &["name"]) == interface;
    let mac =
        list(value, &["result", "interfaces"]).find(own).and_then(|it| text(it, &["mac"])?.parse().ok());
    let ports =
        ["capabilityArgs", "runtimeConfig"].iter().flat_map(|key| list(value, &[key, "portMappings"]));
    let has = |family: fn(&IpAddr) -> bool| addresses.iter().any(family);
    let (four, six) = (has(IpAddr::is_ipv4), has(IpAddr::is_ipv6));
    let ports = ports.flat_map(|port| port_mapping::read(port, four, six)).collect();
    let attachment =
        Attachment { network: network.to_owned(), interface: interface.map(str::to_owned), addresses, mac };
    Ok((id.to_owned(), Some(attachment), ports))
}

#[cfg(test)]
mod tests;
