//! Docker's records of one container: of the API's list, and of the files of the daemon.

use std::net::{IpAddr, Ipv4Addr};

use fairway_model::{PortRange, Protocol};
use serde_json::Value;

use crate::container::{Attachment, Container, Engine, Mode, PublishedPort, State};
use crate::json::{fields, list, number, parsed, text};

/// Reads an element of `GET /containers/json`.
pub(super) fn summary(value: &Value, engine: &Engine) -> Result<Container, &'static str> {
    let id = text(value, &["Id"]).ok_or("a container has no Id")?;
    let names = list(value, &["Names"]).filter_map(Value::as_str).map(|name| name.trim_start_matches('/'));
    // `other/alias` is the name of a link.
    let names = names.filter(|name| !name.contains('/')).map(str::to_owned).collect();
    let mut container = Container::new(engine.clone(), names, id.to_owned());
    container.state = match text(value, &["State"]) {
        Some("running") => State::Running,
        Some("paused") => State::Paused,
        Some("created") => State::Created,
        _ => State::Exited,
    };
    container.mode = mode(text(value, &["HostConfig", "NetworkMode"]));
    container.attachments = attachments(value, &container.mode);
    let port = |port: &Value| {
        Some(PublishedPort {
            protocol: Protocol::from_name(text(port, &["Type"])?)?,
            host_address: parsed(port, &["IP"]).unwrap_or(EVERY_ADDRESS),
            host_ports: number(port, &["PublicPort"]).filter(|port| *port != 0).map(PortRange::single)?,
            container_port: number(port, &["PrivatePort"]),
        })
    };
    container.ports = PublishedPort::join(list(value, &["Ports"]).filter_map(port).collect());
    Ok(container)
}

/// Reads `config.v2.json` with `hostconfig.json`: the container, and its process by that record.
pub(super) fn config(
    config: &Value,
    host_config: &Value,
    engine: &Engine,
) -> Result<(Container, Option<u32>), &'static str> {
    let id = text(config, &["ID"]).ok_or("there is no ID")?;
    let name = text(config, &["Name"]).map(|name| name.trim_start_matches('/').to_owned());
    let mut container = Container::new(engine.clone(), name.into_iter().collect(), id.to_owned());
    let is = |field| config.pointer(&format!("/State/{field}")).and_then(Value::as_bool) == Some(true);
    let started = text(config, &["State", "StartedAt"]).is_some_and(|time| !time.starts_with("0001-"));
    container.state = match (is("Running"), is("Paused")) {
        (true, true) => State::Paused,
        (true, false) => State::Running,
        _ if started => State::Exited,
        _ => State::Created,
    };
    container.mode = mode(text(host_config, &["NetworkMode"]));
    container.attachments = attachments(config, &container.mode);
    let ports = fields(config, &["NetworkSettings", "Ports"]).flat_map(|(key, bindings)| {
        let (port, name) = key.split_once('/').unwrap_or((key, "tcp"));
        let (container_port, protocol) = (port.parse().ok(), Protocol::from_name(name));
        bindings.as_array().into_iter().flatten().filter_map(move |binding| {
            Some(PublishedPort {
                protocol: protocol?,
                host_address: parsed(binding, &["HostIp"]).unwrap_or(EVERY_ADDRESS),
                host_ports: number(binding, &["HostPort"])
                    .filter(|port| *port != 0)
                    .map(PortRange::single)?,
                container_port: Some(container_port?),
            })
        })
    });
    container.ports = PublishedPort::join(ports.collect());
    let running = container.state.exists();
    Ok((container, pid(config).filter(|_| running)))
}

/// The process in the answer to `GET /containers/ID/json`, and in `config.v2.json`.
pub(super) fn pid(value: &Value) -> Option<u32> {
    number(value, &["State", "Pid"]).filter(|pid| *pid != 0)
}

const EVERY_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

fn mode(text: Option<&str>) -> Mode {
    match text {
        Some("host") => Mode::Host,
        Some("none") => Mode::None,
        Some(other) => other.strip_prefix("container:").map_or(Mode::Own, |it| Mode::Shared(it.to_owned())),
        None => Mode::Own,
    }
}

fn attachments(value: &Value, mode: &Mode) -> Vec<Attachment> {
    if *mode != Mode::Own {
        return Vec::new();
    }
    let attachment = |(name, value): (&String, &Value)| Attachment {
        network: name.clone(),
        interface: None,
        addresses: ["IPAddress", "GlobalIPv6Address"]
            .iter()
            .filter_map(|key| parsed(value, &[key]))
            .collect(),
        mac: parsed(value, &["MacAddress"]),
    };
    fields(value, &["NetworkSettings", "Networks"]).map(attachment).collect()
}

#[cfg(test)]
mod tests;
