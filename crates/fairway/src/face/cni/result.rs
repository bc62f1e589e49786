//! The result of ADD, in each version of the specification.

use fairway_api::json;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::configuration::{Dns, Route};
use super::error::Error;
use super::version::Version;

/// The result of ADD.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// The interfaces.
    pub interfaces: Vec<Interface>,
    /// The addresses.
    pub ips: Vec<Ip>,
    /// The routes of the container.
    pub routes: Vec<Route>,
    /// The name servers of the container.
    pub dns: Dns,
}

/// An interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its MAC address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Its MTU, from version 1.1.0 on; 0 if unknown.
    #[serde(skip_serializing_if = "is_zero")]
    pub mtu: u32,
    /// The namespace that it is in; empty for the host's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// An address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ip {
    /// The place of its interface in the list of interfaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<usize>,
    /// The address with its prefix length.
    pub address: String,
    /// The gateway; empty for none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gateway: String,
}

impl Outcome {
    /// Reads a result of version 0.3.0 or later.
    ///
    /// # Errors
    /// [`Error::Decode`].
    pub fn read(what: &'static str, text: &[u8]) -> Result<Self, Error> {
        json::from_slice(text).map_err(|source| Error::Decode { what, source })
    }

    /// Reads a result that is part of a configuration.
    ///
    /// # Errors
    /// [`Error::Decode`].
    pub fn of_value(what: &'static str, value: &Value) -> Result<Self, Error> {
        Self::read(what, value.to_string().as_bytes())
    }

    /// The result as JSON of a version.
    pub fn json(&self, version: Version) -> Value {
        let ips: Vec<Value> = self.ips.iter().map(|ip| ip.json(version)).collect();
        let mut interfaces = self.interfaces.clone();
        let mut routes = self.routes.clone();
        if version < Version::V1_1_0 {
            interfaces.iter_mut().for_each(|interface| interface.mtu = 0);
            routes = routes
                .into_iter()
                .map(|Route { dst, gw, .. }| Route { dst, gw, ..Route::default() })
                .collect();
        }
        json!({
            "cniVersion": version.text(), "interfaces": interfaces, "ips": ips, "routes": routes, "dns": self.dns,
        })
    }

    /// The place of the interface of this name in a namespace.
    pub fn in_sandbox(&self, name: &str) -> Option<usize> {
        self.interfaces.iter().position(|it| it.name == name && !it.sandbox.is_empty())
    }

    /// Adds a later plugin's result.
    pub fn extend(&mut self, later: Self) {
        let before = self.interfaces.len();
        self.interfaces.extend(later.interfaces);
        self.ips.extend(
            later.ips.into_iter().map(|ip| Ip { interface: ip.interface.map(|it| it + before), ..ip }),
        );
        self.routes.extend(later.routes);
        if self.dns == Dns::default() {
            self.dns = later.dns;
        }
    }
}

impl Ip {
    fn json(&self, version: Version) -> Value {
        let mut value = json!(self);
        if version < Version::V1_0_0 {
            value["version"] = json!(if self.address.contains(':') { "6" } else { "4" });
        }
        value
    }
}

#[cfg(test)]
mod tests;
