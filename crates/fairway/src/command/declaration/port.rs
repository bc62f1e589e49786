//! A published port of a file: Compose's short form `8080:80/tcp`, or its long form.

use std::fmt;

use fairway_model::PublishRequest;
use fairway_model::parse;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::{Serialize, Serializer};

/// One entry of `ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port(pub(super) PublishRequest);

/// The long form. `name`, `mode` and `app_protocol` are Compose's, and change nothing here.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Long {
    target: String,
    published: String,
    host_ip: String,
    protocol: String,
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "mode")]
    _mode: String,
    #[serde(rename = "app_protocol")]
    _app_protocol: String,
}

impl Long {
    fn short(&self) -> String {
        let address = match self.host_ip.contains(':') && !self.host_ip.starts_with('[') {
            true => format!("[{}]", self.host_ip),
            false => self.host_ip.clone(),
        };
        let host = match (address.as_str(), self.published.as_str()) {
            ("", "") => String::new(),
            ("", published) => format!("{published}:"),
            (address, published) => format!("{address}:{published}:"),
        };
        let protocol = if self.protocol.is_empty() { "tcp" } else { &self.protocol };
        format!("{host}{}/{protocol}", self.target)
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Port;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port such as 8080:80, or a mapping with target and published")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Port, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Port, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Port, E> {
                let mut requests = parse::publish(text).map_err(E::custom)?;
                requests.pop().map(Port).ok_or_else(|| E::custom(format_args!("no port in {text:?}")))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Port, A::Error> {
                let long = Long::deserialize(MapAccessDeserializer::new(map))?;
                self.visit_str(&long.short())
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PublishRequest { host_address, host_ports, container_ports, protocol } = &self.0;
        match host_address {
            Some(address) if address.is_ipv6() => write!(f, "[{address}]:")?,
            Some(address) => write!(f, "{address}:")?,
            None => {}
        }
        match host_ports {
            Some(ports) => write!(f, "{ports}:")?,
            None if host_address.is_some() => f.write_str(":")?,
            None => {}
        }
        write!(f, "{container_ports}/{protocol}")
    }
}

impl Serialize for Port {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
