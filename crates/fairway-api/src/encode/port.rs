//! Ports, as Docker writes them: one by one, even where they were asked for as a range.

use std::collections::BTreeMap;

use fairway_core::world::World;
use fairway_model::{PortRange, Publication, PublishRequest, Sandbox, UnpublishRequest};

use crate::types::{PortBinding, PortMap, PortSummary};

/// What was asked with `--publish`.
pub fn bindings(requests: &[PublishRequest]) -> PortMap {
    let mut map = PortMap::new();
    for request in requests {
        let ports = request.container_ports;
        for (offset, port) in ports.iter().enumerate() {
            let host_port = match request.host_ports {
                None => String::new(),
                // A range for one port: any free one of it.
                Some(range) if ports.len() == 1 => range.to_string(),
                Some(PortRange { first, .. }) => (usize::from(first) + offset).to_string(),
            };
            let host_ip = request.host_address.map(|address| address.to_string()).unwrap_or_default();
            let binding = PortBinding { host_ip, host_port };
            let key = format!("{port}/{}", request.protocol);
            map.entry(key).or_default().get_or_insert_default().push(binding);
        }
    }
    map
}

/// What is to be published no more, ranges as they are.
pub fn unpublish_bindings(requests: &[UnpublishRequest]) -> PortMap {
    let mut map = PortMap::new();
    for request in requests {
        let text = |range: Option<PortRange>| range.map(|range| range.to_string()).unwrap_or_default();
        let host_ip = request.host_address.map(|address| address.to_string()).unwrap_or_default();
        let binding = PortBinding { host_ip, host_port: text(request.host_ports) };
        let key = format!("{}/{}", text(request.container_ports), request.protocol);
        map.entry(key).or_default().get_or_insert_default().push(binding);
    }
    map
}

/// The publications that lead to the sandbox.
fn publications<'a>(world: &'a World, sandbox: &'a Sandbox) -> impl Iterator<Item = &'a Publication> {
    sandbox.publications.iter().filter(|publication| world.leads_to_sandbox(sandbox, publication))
}

/// What is published and exposed now.
pub fn published(world: &World, sandbox: &Sandbox) -> PortMap {
    let mut map = PortMap::new();
    if !sandbox.running() {
        return map;
    }
    for (port, protocol) in &sandbox.options.exposed {
        map.insert(format!("{port}/{protocol}"), None);
    }
    for publication in publications(world, sandbox) {
        for (host_port, port) in publication.bindings() {
            let binding = PortBinding {
                host_ip: publication.host_address.to_string(),
                // As in Docker, what is routed has none.
                host_port: host_port.map(|port| port.to_string()).unwrap_or_default(),
            };
            let key = format!("{port}/{}", publication.protocol);
            map.entry(key).or_default().get_or_insert_default().push(binding);
        }
    }
    map
}

/// The same, as a list.
pub(super) fn summary(world: &World, sandbox: &Sandbox) -> Vec<PortSummary> {
    let mut ports = Vec::new();
    if !sandbox.running() {
        return ports;
    }
    for publication in publications(world, sandbox) {
        ports.extend(publication.bindings().map(|(public_port, private_port)| PortSummary {
            // Who has no port of the host has no address of it either.
            ip: public_port.map(|_| publication.host_address.to_string()).unwrap_or_default(),
            private_port,
            public_port: public_port.unwrap_or_default(),
            kind: publication.protocol.to_string(),
        }));
    }
    let published = published(world, sandbox);
    for (port, protocol) in &sandbox.options.exposed {
        if published.get(&format!("{port}/{protocol}")).is_some_and(Option::is_none) {
            ports.push(PortSummary {
                private_port: *port,
                kind: protocol.to_string(),
                ..PortSummary::default()
            });
        }
    }
    ports.sort();
    ports.dedup();
    ports
}

/// What was asked with `--expose`, in the shape of a set in JSON.
pub(super) fn exposed(sandbox: &Sandbox) -> BTreeMap<String, BTreeMap<String, String>> {
    let ports = sandbox.options.exposed.iter();
    ports.map(|(port, protocol)| (format!("{port}/{protocol}"), BTreeMap::new())).collect()
}
