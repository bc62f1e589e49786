//! What was observed of the host and bears on decisions.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A route of the host that pools must not meet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRoute {
    /// Where it leads.
    pub destination: IpNet,
    /// The interface that it leaves by; empty for one without (blackhole).
    pub interface: String,
}

/// What was observed of the host. Our own bridges, links and routes are not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// The MTU of the default route's interface; none without a default route.
    pub mtu: Option<u32>,
    /// The name of that interface.
    #[serde(default)]
    pub default_interface: Option<String>,
    /// Addresses with their subnets and interfaces.
    pub addresses: Vec<HostRoute>,
    /// Routes other than default routes.
    pub routes: Vec<HostRoute>,
    /// The servers of the host's resolv.conf.
    pub nameservers: Vec<IpAddr>,
    /// Its search list.
    pub search: Vec<String>,
    /// Its options.
    pub resolver_options: Vec<String>,
    /// Whether bridged IPv4 packets meet the IP hooks (`net.bridge.bridge-nf-call-iptables`).
    pub bridge_netfilter_ipv4: bool,
    /// Whether bridged IPv6 packets do.
    pub bridge_netfilter_ipv6: bool,
    /// The ports given to outgoing connections: random host ports are taken from here
    /// (`net.ipv4.ip_local_port_range`).
    pub ephemeral_ports: Option<(u16, u16)>,
    /// Whether forwarding was on, IPv4 and IPv6, before we touched it.
    pub forwarding: (bool, bool),
    /// The host's own name.
    pub hostname: String,
}
