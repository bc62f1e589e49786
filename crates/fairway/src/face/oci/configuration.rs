//! The annotations of a container as a configuration.

use std::collections::BTreeMap;

use fairway_api::ClientError;
use fairway_model::parse::{self, ParseError};
use fairway_model::{PublishRequest, SubnetRequest};

use super::error::OciError;
use super::state::Annotations;
use crate::face::daemon;

/// The network where none is named: the default bridge of the daemon.
pub const DEFAULT_NETWORK: &str = "bridge";
/// The beginning of annotations that are options of a described network.
const OPTION: &str = "fairway.option.";
/// The annotations with fixed names.
pub const KEYS: [&str; 14] = [
    NETWORK,
    "fairway.publish",
    "fairway.name",
    "fairway.alias",
    "fairway.ip",
    "fairway.ip6",
    "fairway.mac",
    "fairway.dns",
    SUBNET,
    GATEWAY,
    IP_RANGE,
    DRIVER,
    INTERNAL,
    IPV6,
];
const NETWORK: &str = "fairway.network";
const SUBNET: &str = "fairway.subnet";
const GATEWAY: &str = "fairway.gateway";
const IP_RANGE: &str = "fairway.ip-range";
const DRIVER: &str = "fairway.driver";
const INTERNAL: &str = "fairway.internal";
const IPV6: &str = "fairway.ipv6";
/// The annotations that describe a network.
const DESCRIBING: [&str; 6] = [SUBNET, GATEWAY, IP_RANGE, DRIVER, INTERNAL, IPV6];

/// What a container gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    /// The networks by name; empty means the default one.
    pub networks: Vec<String>,
    /// The only one of the networks, if it exists for its containers alone.
    pub description: Option<Description>,
    /// The published ports.
    pub publish: Vec<PublishRequest>,
    /// The name; empty for one by the container's id.
    pub name: String,
    /// Further names, on each network.
    pub aliases: Vec<String>,
    /// The IPv4 address on the first network; empty for any.
    pub ipv4: String,
    /// The IPv6 address on the first network; empty for any.
    pub ipv6: String,
    /// The MAC address on the first network; empty for one by the address.
    pub mac: String,
    /// The name servers that the resolver forwards to.
    pub dns: Vec<String>,
}

/// A network that exists while a container is on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    /// The driver; empty for the default one.
    pub driver: String,
    /// The subnets; empty for one that the daemon chooses.
    pub subnets: Vec<SubnetRequest>,
    /// Whether it has no way to other networks.
    pub internal: bool,
    /// Whether it has IPv6; none for the daemon's default.
    pub enable_ipv6: Option<bool>,
    /// The options.
    pub options: BTreeMap<String, String>,
}

impl Configuration {
    /// Reads annotations. Those that do not begin as Fairway's are not expected.
    ///
    /// # Errors
    /// Names the annotation that does not exist or whose value cannot be used.
    pub fn read(annotations: &Annotations) -> Result<Self, OciError> {
        let known = |key: &String| KEYS.contains(&key.as_str()) || key.starts_with(OPTION);
        if let Some(unknown) = annotations.keys().find(|key| !known(key)) {
            return Err(OciError::UnknownKey { key: unknown.clone(), known: KEYS.join(", ") });
        }
        let networks = each(annotations, NETWORK, network)?;
        let read = Self {
            description: Description::read(annotations)?,
            publish: each(annotations, "fairway.publish", parse::publish)?.into_iter().flatten().collect(),
            name: one(annotations, "fairway.name", parse::name)?,
            aliases: each(annotations, "fairway.alias", parse::alias)?,
            ipv4: one(annotations, "fairway.ip", parse::ipv4)?,
            ipv6: one(annotations, "fairway.ip6", parse::ipv6)?,
            mac: one(annotations, "fairway.mac", parse::mac)?,
            dns: each(annotations, "fairway.dns", parse::dns_server)?
                .iter()
                .map(ToString::to_string)
                .collect(),
            networks,
        };
        match (&read.description, read.networks.len()) {
            (Some(_), count) if count != 1 => Err(OciError::invalid(
                NETWORK,
                format!("{count} networks are named, but a network is described: name that network alone"),
            )),
            _ => Ok(read),
        }
    }

    /// Names the way out of a failure that says nothing of it.
    pub fn explain(&self, error: daemon::Error) -> OciError {
        match error {
            daemon::Error::Client(ClientError::Refused { status: 404, .. }) if self.networks.is_empty() => {
                OciError::NoNetwork
            }
            error => error.into(),
        }
    }
}

impl Description {
    fn read(annotations: &Annotations) -> Result<Option<Self>, OciError> {
        let describes = |key: &String| DESCRIBING.contains(&key.as_str()) || key.starts_with(OPTION);
        if !annotations.keys().any(describes) {
            return Ok(None);
        }
        let list = |key| words(annotations, key);
        let subnets = fairway_core::ipam::match_subnets(&list(SUBNET), &list(GATEWAY), &list(IP_RANGE), &[]);
        let options = annotations.iter().filter_map(|(key, value)| {
            let name = key.strip_prefix(OPTION)?;
            Some((name.to_owned(), value.clone()))
        });
        Ok(Some(Self {
            driver: annotations.get(DRIVER).cloned().unwrap_or_default(),
            subnets: subnets.map_err(OciError::subnet)?,
            internal: flag(annotations, INTERNAL)?.unwrap_or(false),
            enable_ipv6: flag(annotations, IPV6)?,
            options: options.collect(),
        }))
    }
}

/// The items of a list that is separated by commas.
fn words(annotations: &Annotations, key: &str) -> Vec<String> {
    let text = annotations.get(key).map(String::as_str).unwrap_or_default();
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn each<T>(
    annotations: &Annotations,
    key: &str,
    read: impl Fn(&str) -> Result<T, ParseError>,
) -> Result<Vec<T>, OciError> {
    words(annotations, key).iter().map(|word| read(word).map_err(OciError::parse(key))).collect()
}

/// One value as text; empty if the annotation is not there.
fn one<T: ToString>(
    annotations: &Annotations,
    key: &str,
    read: impl Fn(&str) -> Result<T, ParseError>,
) -> Result<String, OciError> {
    match annotations.get(key) {
        Some(text) => read(text.trim()).map(|value| value.to_string()).map_err(OciError::parse(key)),
        None => Ok(String::new()),
    }
}

fn flag(annotations: &Annotations, key: &str) -> Result<Option<bool>, OciError> {
    let Some(text) = annotations.get(key) else { return Ok(None) };
    let invalid = |_| OciError::invalid(key, format!("{text:?}: true or false is expected"));
    text.trim().parse().map(Some).map_err(invalid)
}

/// A network by name. Docker's modes are no networks, and their names no network's.
fn network(text: &str) -> Result<String, ParseError> {
    match text {
        "host" | "none" => Err(ParseError::Name(text.to_owned())),
        name => parse::name(name),
    }
}

#[cfg(test)]
mod tests;
