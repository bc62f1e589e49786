//! What was observed of the host and bears on decisions.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::NameServer;

/// A route of the host that pools must not meet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRoute {
    /// Where it leads.
    pub destination: IpNet,
    /// The interface that it leaves by; empty for one without (blackhole).
    pub interface: String,
}

/// The next hop of a route of the host, default routes among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHop {
    /// Its address.
    pub address: IpAddr,
    /// Where the route leads.
    pub destination: IpNet,
    /// The interface that it leaves by.
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
    /// The bridges among its links, by name.
    #[serde(default)]
    pub bridges: Vec<String>,
    /// Routes other than default routes.
    pub routes: Vec<HostRoute>,
    /// The next hops of its routes.
    #[serde(default)]
    pub next_hops: Vec<NextHop>,
    /// The servers of the host's resolv.conf.
    pub nameservers: Vec<NameServer>,
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
    /// The interfaces of others that take router advertisements as long as the host does not forward (`accept_ra`
    /// is 1), and `all` and `default`; nothing once it does.
    #[serde(default)]
    pub router_advertisements: BTreeSet<String>,
    /// The host's own name.
    pub hostname: String,
}

impl HostFacts {
    /// The addresses of an interface with their prefix lengths, without link-local ones.
    pub fn addresses_of(&self, interface: &str) -> impl Iterator<Item = IpNet> {
        let own = self.addresses.iter().filter(move |address| address.interface == interface);
        own.map(|address| address.destination).filter(|address| match address.addr() {
            IpAddr::V4(address) => !address.is_link_local(),
            IpAddr::V6(address) => !address.is_unicast_link_local(),
        })
    }

    /// Takes a bridge as it was in `known`: what networks were made of does not change by itself.
    pub fn keep_bridge(&mut self, known: &Self, name: &str) {
        self.addresses.retain(|address| address.interface != name);
        self.addresses.extend(known.addresses.iter().filter(|address| address.interface == name).cloned());
        if !self.bridges.iter().any(|bridge| bridge == name) {
            self.bridges.push(name.to_owned());
            self.bridges.sort();
        }
    }
}
