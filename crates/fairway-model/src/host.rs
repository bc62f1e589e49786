//! The observed state of the host that decisions depend on.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::NameServer;

/// An address or route of the host, which subnets from pools must not overlap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRoute {
    /// The destination subnet.
    pub destination: IpNet,
    /// The interface; empty for a route without one (blackhole).
    pub interface: String,
}

/// The next hop of a route of the host, also of a default route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHop {
    /// The address of the next hop.
    pub address: IpAddr,
    /// The destination subnet of the route.
    pub destination: IpNet,
    /// The interface of the route.
    pub interface: String,
}

/// The observed state of the host, without Fairway's own bridges, links and routes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// The MTU of the default route's interface; none without a default route.
    pub mtu: Option<u32>,
    /// The name of the default route's interface.
    #[serde(default)]
    pub default_interface: Option<String>,
    /// The addresses of the host, each with prefix length and interface.
    pub addresses: Vec<HostRoute>,
    /// The names of the host's bridges.
    #[serde(default)]
    pub bridges: Vec<String>,
    /// The routes, without default routes.
    pub routes: Vec<HostRoute>,
    /// The next hops of the routes.
    #[serde(default)]
    pub next_hops: Vec<NextHop>,
    /// The name servers of the host's resolv.conf.
    pub nameservers: Vec<NameServer>,
    /// The search list of the host's resolv.conf.
    pub search: Vec<String>,
    /// The options of the host's resolv.conf.
    pub resolver_options: Vec<String>,
    /// Whether bridged IPv4 packets pass the IP hooks (`net.bridge.bridge-nf-call-iptables`).
    pub bridge_netfilter_ipv4: bool,
    /// Whether bridged IPv6 packets pass the IP hooks (`net.bridge.bridge-nf-call-ip6tables`).
    pub bridge_netfilter_ipv6: bool,
    /// The ephemeral ports, from which random host ports are chosen (`net.ipv4.ip_local_port_range`).
    pub ephemeral_ports: Option<(u16, u16)>,
    /// Whether IPv4 and IPv6 forwarding were enabled before Fairway enabled them.
    pub forwarding: (bool, bool),
    /// The foreign interfaces that accept router advertisements only while the host does not forward (`accept_ra` is
    /// 1), and `all` and `default`; empty if the host forwards.
    #[serde(default)]
    pub router_advertisements: BTreeSet<String>,
    /// The host name.
    pub hostname: String,
}

impl HostFacts {
    /// The addresses of an interface with prefix lengths, without link-local addresses.
    pub fn addresses_of(&self, interface: &str) -> impl Iterator<Item = IpNet> {
        let own = self.addresses.iter().filter(move |address| address.interface == interface);
        own.map(|address| address.destination).filter(|address| match address.addr() {
            IpAddr::V4(address) => !address.is_link_local(),
            IpAddr::V6(address) => !address.is_unicast_link_local(),
        })
    }

    /// Restores the facts of a bridge from `known`: a bridge that networks use keeps its recorded addresses.
    pub fn keep_bridge(&mut self, known: &Self, name: &str) {
        self.addresses.retain(|address| address.interface != name);
        self.addresses.extend(known.addresses.iter().filter(|address| address.interface == name).cloned());
        if !self.bridges.iter().any(|bridge| bridge == name) {
            self.bridges.push(name.to_owned());
            self.bridges.sort();
        }
    }
}
