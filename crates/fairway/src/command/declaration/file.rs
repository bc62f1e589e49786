//! The keys of a declaration: Compose's `name`, `networks` and `services`, and Fairway's `sandboxes`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize as DeriveDeserialize, Serialize};

use super::lists::{hosts, named, pairs, texts};
use super::port::Port;

/// A whole file.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(in crate::command) struct File {
    /// Compose's project name, a prefix of the names of networks.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) networks: BTreeMap<String, Option<NetworkKeys>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) sandboxes: BTreeMap<String, Option<SandboxKeys>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) services: BTreeMap<String, Option<ServiceKeys>>,
    /// Compose's sections that are not about networks.
    #[serde(skip)]
    pub(super) not_applied: Vec<String>,
}

/// The keys of a file that mean something here.
const TOP: &[&str] = &["name", "networks", "sandboxes", "services"];
/// Compose's other sections.
const COMPOSE: &[&str] = &["configs", "include", "models", "secrets", "version", "volumes"];

impl File {
    /// The network that each project of Compose has; declared only where a sandbox or a service is on it.
    pub(super) const DEFAULT: &str = "default";

    /// Declares the network `default` where the file uses it without declaring it.
    pub(super) fn with_default_network(mut self) -> Self {
        let of_sandboxes = self.sandboxes.values().flatten().flat_map(|keys| &keys.networks);
        let of_services = self.services.values().flatten().flat_map(|keys| &keys.networks);
        if of_sandboxes.chain(of_services).flatten().any(|(name, _)| name == Self::DEFAULT) {
            self.networks.entry(Self::DEFAULT.to_owned()).or_default();
        }
        self
    }
}

impl<'de> Deserialize<'de> for File {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sections;

        impl<'de> Visitor<'de> for Sections {
            type Value = File;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping with networks, sandboxes or services")
            }

            fn visit_unit<E>(self) -> Result<File, E> {
                Ok(File::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<File, A::Error> {
                let mut file = File::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "name" => file.name = map.next_value()?,
                        "networks" => file.networks = map.next_value::<Option<_>>()?.unwrap_or_default(),
                        "sandboxes" => file.sandboxes = map.next_value::<Option<_>>()?.unwrap_or_default(),
                        "services" => file.services = map.next_value::<Option<_>>()?.unwrap_or_default(),
                        other => {
                            let known = COMPOSE.contains(&other);
                            if !known && !other.starts_with("x-") {
                                return Err(A::Error::unknown_field(other, TOP));
                            }
                            map.next_value::<IgnoredAny>()?;
                            if known && other != "version" {
                                file.not_applied.push(key);
                            }
                        }
                    }
                }
                Ok(file)
            }
        }

        deserializer.deserialize_any(Sections)
    }
}

/// A network, with Compose's keys; `config_only` and `config_from` are Docker's own.
#[derive(Debug, Clone, Default, PartialEq, DeriveDeserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::command) struct NetworkKeys {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) external: Option<External>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) driver: Option<String>,
    #[serde(deserialize_with = "pairs", skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) driver_opts: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ipam: Option<IpamKeys>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) internal: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attachable: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) enable_ipv4: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) enable_ipv6: Option<bool>,
    #[serde(deserialize_with = "pairs", skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) config_only: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) config_from: Option<String>,
}

/// Whether a network is to be there already; in Compose's older form with its name.
#[derive(Debug, Clone, PartialEq, DeriveDeserialize, Serialize)]
#[serde(untagged, deny_unknown_fields, expecting = "true, false, or a mapping with name alone")]
pub(super) enum External {
    Is(bool),
    Named { name: String },
}

impl NetworkKeys {
    /// Whether the network is to be there already.
    pub(super) fn is_external(&self) -> bool {
        matches!(self.external, Some(External::Is(true) | External::Named { .. }))
    }

    /// The name that is given.
    pub(super) fn given_name(&self) -> Option<&String> {
        match &self.external {
            Some(External::Named { name }) => Some(name),
            _ => self.name.as_ref(),
        }
    }
}

/// The addresses of a network.
#[derive(Debug, Clone, Default, PartialEq, DeriveDeserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct IpamKeys {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) driver: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) config: Vec<SubnetKeys>,
    #[serde(deserialize_with = "pairs", skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) options: BTreeMap<String, String>,
}

/// A subnet.
#[derive(Debug, Clone, Default, PartialEq, DeriveDeserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SubnetKeys {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) subnet: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) ip_range: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) gateway: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) aux_addresses: BTreeMap<String, String>,
}

/// A sandbox: a network namespace, with the keys of a Compose service that concern networks.
#[derive(Debug, Clone, Default, PartialEq, DeriveDeserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::command) struct SandboxKeys {
    /// A path, or a name in `ip netns`; none for a namespace that Fairway creates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) netns: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) hostname: String,
    #[serde(
        deserialize_with = "named",
        serialize_with = "write_named",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) networks: Option<Vec<(String, EndpointKeys)>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) ports: Vec<Port>,
    #[serde(deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub(super) expose: Vec<String>,
    #[serde(deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub(super) dns: Vec<String>,
    #[serde(deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub(super) dns_search: Vec<String>,
    #[serde(deserialize_with = "texts", skip_serializing_if = "Vec::is_empty")]
    pub(super) dns_opt: Vec<String>,
    #[serde(deserialize_with = "hosts", skip_serializing_if = "Vec::is_empty")]
    pub(super) extra_hosts: Vec<String>,
    #[serde(deserialize_with = "pairs", skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) labels: BTreeMap<String, String>,
}

/// An endpoint of a sandbox.
#[derive(Debug, Clone, Default, PartialEq, DeriveDeserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EndpointKeys {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) aliases: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) ipv4_address: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) ipv6_address: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) mac_address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gw_priority: Option<i32>,
    /// The order of connecting, highest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) priority: Option<i64>,
    #[serde(deserialize_with = "pairs", skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) driver_opts: BTreeMap<String, String>,
    /// Each `name:alias`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) links: Vec<String>,
}

/// A service of Compose: a sandbox whose program is started by other means.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(in crate::command) struct ServiceKeys {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) container_name: Option<String>,
    #[serde(serialize_with = "write_named", skip_serializing_if = "Option::is_none")]
    pub(super) networks: Option<Vec<(String, EndpointKeys)>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ports: Option<Vec<Port>>,
    /// The keys that are not applied.
    #[serde(skip)]
    pub(super) not_applied: Vec<String>,
}

impl<'de> Deserialize<'de> for ServiceKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Networks of a service.
        #[derive(DeriveDeserialize)]
        struct Networks(#[serde(deserialize_with = "named")] Option<Vec<(String, EndpointKeys)>>);

        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = ServiceKeys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a service of Compose")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ServiceKeys, A::Error> {
                let mut service = ServiceKeys::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "container_name" => service.container_name = map.next_value()?,
                        "networks" => service.networks = map.next_value::<Networks>()?.0,
                        "ports" => service.ports = map.next_value()?,
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            service.not_applied.push(key);
                        }
                    }
                }
                Ok(service)
            }
        }

        deserializer.deserialize_map(Keys)
    }
}

/// Writes networks as a list of names where none has settings, else as a mapping.
fn write_named<S: serde::Serializer>(
    named: &Option<Vec<(String, EndpointKeys)>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let named = named.as_deref().unwrap_or_default();
    if named.iter().all(|(_, keys)| *keys == EndpointKeys::default()) {
        return serializer.collect_seq(named.iter().map(|(name, _)| name));
    }
    serializer.collect_map(named.iter().map(|(name, keys)| (name, keys)))
}
