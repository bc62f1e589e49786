//! The network configuration of a request, as runtimes write it. Unknown keys are ignored.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fairway_api::json;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::environment::is_identifier;
use super::error::Error;

/// The type of `ipam` that ADD refuses, so that it has no addresses to give back.
const REFUSED: &str = "dhcp";
/// The types of `ipam` whose addresses the daemon manages.
const BUILT_IN: [&str; 2] = ["", "fairway"];

/// The network configuration.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Configuration {
    /// The version of the specification.
    pub cni_version: String,
    /// The name of the network.
    pub name: String,
    /// The address of the daemon; empty for the daemon of the host, which is started on demand.
    pub host: String,
    /// The driver of the network: `bridge` (the default) or another one of Fairway's.
    pub driver: String,
    /// Network options of Fairway.
    pub options: BTreeMap<String, String>,
    /// The name of the bridge.
    pub bridge: String,
    /// Whether the bridge has an address.
    pub is_gateway: bool,
    /// Whether the bridge is the default gateway of its containers.
    pub is_default_gateway: bool,
    /// Whether outbound traffic is masqueraded.
    pub ip_masq: bool,
    /// The MTU; 0 for the default.
    pub mtu: u32,
    /// Whether containers are kept apart.
    pub port_isolation: bool,
    /// Whether packets from addresses of others are dropped.
    pub macspoofchk: bool,
    /// Whether the bridge is promiscuous.
    pub promisc_mode: bool,
    /// Whether the kernel detects duplicate addresses.
    pub enabledad: bool,
    /// Whether the container's interface stays down.
    pub disable_container_interface: bool,
    /// The VLAN of the bridge port.
    pub vlan: u32,
    /// VLANs of the bridge port.
    pub vlan_trunk: Vec<Value>,
    /// A condition on the destination of published ports, of the portmap plugin.
    #[serde(rename = "conditionsV4")]
    pub conditions_v4: Option<Value>,
    /// The same of IPv6.
    #[serde(rename = "conditionsV6")]
    pub conditions_v6: Option<Value>,
    /// The policy of the firewall plugin.
    pub ingress_policy: String,
    /// A limit of the traffic, as the bandwidth plugin has it: [`Bandwidth::ingress_rate`].
    pub ingress_rate: u64,
    /// [`Bandwidth::ingress_burst`].
    pub ingress_burst: u64,
    /// [`Bandwidth::egress_rate`].
    pub egress_rate: u64,
    /// [`Bandwidth::egress_burst`].
    pub egress_burst: u64,
    /// Address management.
    pub ipam: Option<Ipam>,
    /// Name servers of the containers.
    pub dns: Dns,
    /// What the runtime adds for this container.
    pub runtime_config: RuntimeConfiguration,
    /// Arguments by conventions.
    pub args: Arguments,
    /// The result of the plugin before this one, or of ADD.
    pub prev_result: Option<Value>,
    /// The attachments that GC keeps. libcni writes `null` where none is left.
    #[serde(rename = "cni.dev/valid-attachments", deserialize_with = "present")]
    pub valid_attachments: Option<Vec<ValidAttachment>>,
}

/// The object `ipam`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ipam {
    /// The IPAM plugin; empty or `fairway` for that of the daemon.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of one range, as in a range of `ranges`: [`Range::subnet`].
    pub subnet: String,
    /// [`Range::range_start`].
    pub range_start: String,
    /// [`Range::range_end`].
    pub range_end: String,
    /// [`Range::gateway`].
    pub gateway: String,
    /// Sets of ranges: a container has one address of each set.
    pub ranges: Vec<Vec<Range>>,
    /// Routes of the containers.
    pub routes: Vec<Route>,
    /// A file with name servers, in the format of resolv.conf.
    pub resolv_conf: String,
}

/// A range of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Range {
    /// The subnet.
    pub subnet: String,
    /// The first address for containers; empty for the first of the subnet.
    pub range_start: String,
    /// The last one; empty for the last of the subnet.
    pub range_end: String,
    /// The gateway; empty for the first address of the subnet.
    pub gateway: String,
}

/// A route, in configurations and results.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Route {
    /// The destination.
    pub dst: String,
    /// The next hop; empty for the gateway of the network.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gw: String,
    /// The MTU; 0 for none.
    #[serde(skip_serializing_if = "is_zero")]
    pub mtu: u32,
    /// The maximum segment size of TCP to announce; 0 for none.
    #[serde(skip_serializing_if = "is_zero")]
    pub advmss: u32,
    /// The metric; 0 for that of the kernel.
    #[serde(skip_serializing_if = "is_zero")]
    pub priority: u32,
    /// The routing table; none for the main table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// The scope; none for that of the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<u32>,
}

/// Reads a list that is there, if only as `null`.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    Vec::deserialize(deserializer).map(Some)
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Name servers and their like, in configurations and results.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// The addresses of name servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The local domain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// The search domains.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options of the resolver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// The object `runtimeConfig`: what the runtime gives for declared capabilities.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuntimeConfiguration {
    /// Published ports.
    pub port_mappings: Vec<PortMapping>,
    /// Limits of the traffic.
    pub bandwidth: Option<Bandwidth>,
    /// Requested addresses, with prefix lengths or without.
    pub ips: Vec<String>,
    /// The requested MAC address.
    pub mac: String,
    /// Names of the container on the network: a list, or as podman has it, lists by network.
    pub aliases: Value,
    /// Name servers of the container.
    pub dns: RuntimeDns,
    /// Sets of ranges, before those of the configuration.
    pub ip_ranges: Vec<Vec<Range>>,
    /// The GUID of an InfiniBand interface.
    #[serde(rename = "infinibandGUID")]
    pub infiniband_guid: String,
}

/// A published port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PortMapping {
    /// The port of the host.
    pub host_port: i64,
    /// The port of the container.
    pub container_port: i64,
    /// The protocol, in any case; empty for TCP.
    pub protocol: String,
    /// The host address; empty for all.
    #[serde(rename = "hostIP")]
    pub host_ip: String,
}

/// Limits of the traffic, from the container's point of view, in bits a second and bits; 0 for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Bandwidth {
    /// The rate of packets to the container.
    pub ingress_rate: u64,
    /// The burst of packets to the container.
    pub ingress_burst: u64,
    /// The rate of packets from the container.
    pub egress_rate: u64,
    /// The burst of packets from the container.
    pub egress_burst: u64,
}

/// Name servers in the runtime's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RuntimeDns {
    /// The addresses of name servers.
    pub servers: Vec<String>,
    /// The search domains.
    pub searches: Vec<String>,
    /// Options of the resolver.
    pub options: Vec<String>,
}

/// The object `args`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Arguments {
    /// The arguments of the conventions.
    pub cni: ConventionArguments,
}

/// The object `args.cni`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ConventionArguments {
    /// Labels of the container.
    pub labels: Vec<Label>,
    /// Requested addresses.
    pub ips: Vec<String>,
}

/// A label.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Label {
    /// The name.
    pub key: String,
    /// The value.
    pub value: String,
}

/// An attachment that GC keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ValidAttachment {
    /// The id of the container.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The interface in the container.
    pub ifname: String,
}

impl Configuration {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`Error::Decode`], or [`Error::Invalid`] for a name that the specification forbids.
    pub fn read(text: &[u8]) -> Result<Self, Error> {
        let decode = |source| Error::Decode { what: "the network configuration", source };
        let read: Self = json::from_slice(text).map_err(decode)?;
        match read.name.as_str() {
            "" => Err(Error::Invalid("it has no name: add \"name\"".to_owned())),
            name if !is_identifier(name) => Err(Error::Invalid(format!(
                "invalid name {name:?}: letters, digits, _, . and - are allowed, the first one a letter or digit"
            ))),
            _ => Ok(read),
        }
    }

    /// The IPAM plugin that is executed; none if the daemon manages the addresses.
    pub fn delegate(&self) -> Option<&str> {
        let kind = self.ipam_type();
        (kind != REFUSED && !BUILT_IN.contains(&kind)).then_some(kind)
    }

    /// Whether the driver has networks with a gateway.
    pub fn has_gateway(&self) -> bool {
        self.driver != "ptp"
    }

    /// Whether a gateway is asked for by its address, or as the default gateway.
    fn asks_for_gateway(&self) -> bool {
        let ranges = self.ipam.iter().flat_map(|ipam| ipam.ranges.iter().flatten());
        let mut of_ranges = ranges.chain(self.runtime_config.ip_ranges.iter().flatten());
        self.is_default_gateway
            || self.ipam.as_ref().is_some_and(|ipam| !ipam.gateway.is_empty())
            || of_ranges.any(|range| !range.gateway.is_empty())
    }

    fn ipam_type(&self) -> &str {
        self.ipam.as_ref().map_or("", |ipam| ipam.kind.as_str())
    }

    /// The limits of the traffic: the runtime's, else those of the configuration.
    pub fn limits(&self) -> Bandwidth {
        self.runtime_config.bandwidth.unwrap_or(Bandwidth {
            ingress_rate: self.ingress_rate,
            ingress_burst: self.ingress_burst,
            egress_rate: self.egress_rate,
            egress_burst: self.egress_burst,
        })
    }

    /// Refuses what Fairway does not have.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for the first such key.
    pub fn check_supported(&self) -> Result<(), Error> {
        let refused = [
            (
                self.promisc_mode,
                "promiscMode=true",
                "a container reaches its own published ports without it: leave it out",
            ),
            (self.enabledad, "enabledad=true", "the daemon gives each address once: leave it out"),
            (
                self.disable_container_interface,
                "disableContainerInterface=true",
                "interfaces are set up: leave it out",
            ),
            (
                !self.has_gateway() && self.asks_for_gateway(),
                "gateway, isDefaultGateway",
                "a ptp network has no gateway: leave it out",
            ),
            (self.vlan != 0, "vlan", "bridges have no VLANs: give each VLAN a network of its own"),
            (
                !self.vlan_trunk.is_empty(),
                "vlanTrunk",
                "bridges have no VLANs: give each VLAN a network of its own",
            ),
            (self.conditions_v4.is_some(), "conditionsV4", "publish at a host address instead (hostIP)"),
            (self.conditions_v6.is_some(), "conditionsV6", "publish at a host address instead (hostIP)"),
            (
                !matches!(self.ingress_policy.as_str(), "" | "same-bridge"),
                "ingressPolicy",
                "containers are reached from their own bridge and at published ports, as same-bridge has it: leave it out",
            ),
            (
                !self.runtime_config.infiniband_guid.is_empty(),
                "infinibandGUID",
                "there is no InfiniBand: leave it out",
            ),
            (
                self.ipam_type() == REFUSED,
                "ipam type dhcp",
                "the daemon asks DHCP servers itself: use driver lan with the options parent and fairway.dhcp=true, and no ipam type",
            ),
        ];
        match refused.into_iter().find(|(asked, ..)| *asked) {
            Some((_, key, reason)) => {
                Err(Error::Unsupported { key: key.to_owned(), reason: reason.to_owned() })
            }
            None => Ok(()),
        }
    }

    /// All addresses that are requested in the configuration.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a text that is no address.
    pub fn requested(&self) -> Result<Vec<IpAddr>, Error> {
        let texts = self.runtime_config.ips.iter().chain(&self.args.cni.ips);
        let read = |text: &String| {
            let address = text.split_once('/').map_or(text.as_str(), |(address, _)| address);
            address.parse().map_err(|_| Error::Invalid(format!("invalid address {text:?} in ips")))
        };
        texts.map(read).collect()
    }

    /// The names of the container on the network, besides that of its sandbox.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another shape.
    pub fn aliases(&self) -> Result<Vec<String>, Error> {
        let list = match &self.runtime_config.aliases {
            Value::Object(by_network) => by_network.get(&self.name).unwrap_or(&Value::Null),
            other => other,
        };
        match list {
            Value::Null => Ok(Vec::new()),
            list => Vec::<String>::deserialize(list)
                .map_err(|_| Error::Invalid("aliases: a list of names is expected".to_owned())),
        }
    }
}
