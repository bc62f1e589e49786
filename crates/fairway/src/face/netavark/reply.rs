//! What netavark prints.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What a container has on one network. `setup` prints an object of these by network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The search domains for the container's resolv.conf.
    #[serde(default)]
    pub dns_search_domains: Option<Vec<String>>,
    /// The name servers for the container's resolv.conf.
    #[serde(default)]
    pub dns_server_ips: Option<Vec<IpAddr>>,
    /// The interfaces by name.
    #[serde(default)]
    pub interfaces: Option<BTreeMap<String, Interface>>,
}

/// An interface in the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// The MAC address.
    pub mac_address: String,
    /// The addresses with their gateways.
    #[serde(default)]
    pub subnets: Option<Vec<Address>>,
}

/// An address with its prefix length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The gateway of the subnet.
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    /// The address of the container, with the prefix length of the subnet.
    pub ipnet: IpNet,
}

/// What `version` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Version {
    /// The version of netavark whose protocol this is.
    pub version: &'static str,
    /// Empty, as in Debian's.
    pub commit: &'static str,
    /// Empty: builds are reproducible.
    pub build_time: &'static str,
    /// The machine.
    pub target: String,
    /// The firewall driver.
    pub default_fw_driver: &'static str,
}

/// The error of a command, on standard output as netavark does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong, from the outside to the inside.
    pub error: String,
}
