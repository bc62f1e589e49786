//! `--publish` and `--expose`.

use std::net::IpAddr;

use super::ParseError;
use crate::{PortRange, Protocol, PublishRequest, UnpublishRequest};

/// Parses `--publish`: `[[address:][host ports]:]container ports[/protocol]`.
///
/// An IPv6 address is in brackets. Ranges of equal length are published port by port; of a range of host ports for one
/// container port the first free port is used; without a host port, or with 0, a free ephemeral port.
///
/// # Errors
/// Names the part that cannot be parsed, in Docker's words.
pub fn publish(text: &str) -> Result<Vec<PublishRequest>, ParseError> {
    let (ports, protocol) = split_protocol(text)?;
    let (rest, container) = ports.rsplit_once(':').unwrap_or(("", ports));
    if container.is_empty() {
        return Err(ParseError::NoPort(ports.to_owned()));
    }
    let container_ports = range(container).ok_or_else(|| ParseError::ContainerPort(container.to_owned()))?;
    // A text that ends with a bracket is an address without a host port.
    let (address, host) = match rest.rsplit_once(':') {
        Some((_, host)) if host.ends_with(']') => return Err(ParseError::HostAddress(rest.to_owned())),
        Some(split) => split,
        None => ("", rest),
    };
    let host_address = host_address(address)?;
    let host_ports = match host {
        "" | "0" => None,
        _ => Some(range(host).ok_or_else(|| ParseError::HostPort(host.to_owned()))?),
    };
    if let Some(host_ports) = host_ports
        && container_ports.len() != 1
        && container_ports.len() != host_ports.len()
    {
        return Err(ParseError::Ranges { container: container.to_owned(), host: host.to_owned() });
    }
    Ok(vec![PublishRequest { host_address, host_ports, container_ports, protocol }])
}

/// Parses the argument of `unpublish`: `[address:]host ports[:container ports][/protocol]`. A host port of
/// 0, or none before the colon, means any.
///
/// # Errors
/// Names the part that cannot be parsed.
pub fn unpublish(text: &str) -> Result<UnpublishRequest, ParseError> {
    let (ports, protocol) = split_protocol(text)?;
    // A text with brackets or dots is an address and not a port.
    let (address, ports) = match ports.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        Some((address, rest)) => (format!("[{address}]"), rest),
        None => match ports.split_once(':') {
            Some((address, rest)) if address.contains('.') => (address.to_owned(), rest),
            _ => (String::new(), ports),
        },
    };
    let host_address = host_address(&address)?;
    let (host, container) = match ports.split_once(':') {
        Some((host, container)) => (host, Some(container)),
        None => (ports, None),
    };
    let host_ports = match (host, container) {
        ("" | "0", Some(_)) => None,
        _ => Some(range(host).ok_or_else(|| ParseError::HostPort(host.to_owned()))?),
    };
    let container_ports = match container {
        Some(text) => Some(range(text).ok_or_else(|| ParseError::ContainerPort(text.to_owned()))?),
        None => None,
    };
    if let (Some(host_ports), Some(container_ports)) = (host_ports, container_ports)
        && container_ports.len() != 1
        && host_ports.len() != container_ports.len()
    {
        let (container, host) = (container_ports.to_string(), host.to_owned());
        return Err(ParseError::Ranges { container, host });
    }
    Ok(UnpublishRequest { host_address, host_ports, container_ports, protocol })
}

/// Parses `--expose`: `ports[/protocol]`; a range means each of its ports.
///
/// # Errors
/// Names the part that cannot be parsed.
pub fn expose(text: &str) -> Result<Vec<(u16, Protocol)>, ParseError> {
    let (ports, protocol) = split_protocol(text)?;
    let ports = range(ports).ok_or_else(|| ParseError::ExposedPort(text.to_owned()))?;
    Ok(ports.iter().map(|port| (port, protocol)).collect())
}

/// Splits off the protocol; without one it is TCP.
fn split_protocol(text: &str) -> Result<(&str, Protocol), ParseError> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, ""));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "" | "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return Err(ParseError::Protocol(protocol.to_owned())),
    };
    Ok((ports, protocol))
}

fn host_address(text: &str) -> Result<Option<IpAddr>, ParseError> {
    if text.is_empty() {
        return Ok(None);
    }
    let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = match bracketed {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    };
    address.map(Some).ok_or_else(|| ParseError::HostAddress(text.to_owned()))
}

/// Parses `port` or `first-last`.
fn range(text: &str) -> Option<PortRange> {
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    (first <= last).then_some(PortRange { first, last })
}

/// Parses a port of digits only; `u16::from_str` would accept a plus sign.
fn port(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&port| digits && port != 0)
}
