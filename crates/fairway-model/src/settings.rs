//! The daemon's settings that decide what follows from a World.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// What programs a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// nf_tables, by netlink.
    Nftables,
    /// iptables and ip6tables; what passes between the ports of a bridge is left to nf_tables.
    Iptables,
}

/// A range that subnets of `size` bits are cut from when a network names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPool {
    /// The whole range.
    pub base: IpNet,
    /// The prefix length of each subnet.
    pub size: u8,
}

/// Marks of packets: those that have exactly `value` in the bits of `mask`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketMark {
    /// The bits that are set; none outside `mask`.
    pub value: u32,
    /// The bits that are looked at.
    pub mask: u32,
}

/// `--bridge`: what the default network is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DefaultBridge {
    /// The bridge `fairway0`, which Fairway creates.
    #[default]
    #[serde(alias = "ours")]
    Managed,
    /// The user's own bridge of that name.
    Named(String),
    /// Nothing (`none`): there is no default network.
    Disabled,
}

/// The daemon's flags, by dockerd's names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `--firewall-backend`: what programs the firewall, for the families that have one.
    pub backend: Backend,
    /// `--iptables`: whether IPv4 is filtered and translated, whatever the backend.
    pub iptables: bool,
    /// `--ip6tables`: the same for IPv6.
    pub ip6tables: bool,
    /// `--userland-proxy`.
    pub userland_proxy: bool,
    /// `--ip-forward`: switch forwarding on if it is off.
    pub ip_forward: bool,
    /// `--ip-forward-no-drop`: the host stays a router for everybody where we switched forwarding on.
    pub ip_forward_no_drop: bool,
    /// `--allow-direct-routing`: whoever has a route may go straight to published ports of endpoints.
    pub allow_direct_routing: bool,
    /// `--bridge-accept-fwmark`: packets with such a mark may enter any network that is not internal.
    pub accept_mark: Option<PacketMark>,
    /// `--firewall-integration`: where firewalls of others would drop what is forwarded for our networks, a jump
    /// is placed that lets it pass.
    pub firewall_integration: bool,
    /// `--ip-masq`.
    pub masquerade: bool,
    /// `--icc`: sandboxes on the default bridge may talk to one another.
    pub icc: bool,
    /// `--bip`: address and subnet of the default bridge.
    pub bridge_address: Option<Ipv4Net>,
    /// `--fixed-cidr`: where the default bridge's addresses are given from.
    pub fixed_cidr: Option<Ipv4Net>,
    /// `--default-gateway`: that of the default bridge's sandboxes.
    pub default_gateway: Option<Ipv4Addr>,
    /// `--bridge`.
    pub bridge: DefaultBridge,
    /// `--ipv6`: the default bridge has IPv6.
    pub ipv6: bool,
    /// `--bip6`.
    pub bridge_address_ipv6: Option<Ipv6Net>,
    /// `--fixed-cidr-v6`.
    pub fixed_cidr_ipv6: Option<Ipv6Net>,
    /// `--default-gateway-v6`.
    pub default_gateway_ipv6: Option<Ipv6Addr>,
    /// `--host-gateway-ip`: what `host-gateway` means in `--add-host`; none of a family means the default bridge's
    /// own address.
    pub host_gateway: Vec<IpAddr>,
    /// `--default-network-opt`: for each driver by name, options of networks that do not say otherwise.
    pub network_options: BTreeMap<String, BTreeMap<String, String>>,
    /// `--default-address-pool`; none means Docker's.
    pub address_pools: Vec<AddressPool>,
    /// `--mtu`; none means that of the default route's interface.
    pub mtu: Option<u32>,
    /// `--ip`: where `--publish` without an address publishes.
    pub publish_address: IpAddr,
    /// `--dns`.
    pub dns: Vec<IpAddr>,
    /// `--dns-search`.
    pub dns_search: Vec<String>,
    /// `--dns-opt`.
    pub dns_options: Vec<String>,
    /// `--log-opt`: of the logs of new sandboxes that do not say otherwise.
    #[serde(default)]
    pub log_options: BTreeMap<String, String>,
    /// The user that the relay runs as, so that the firewall can tell its traffic; none where it
    /// cannot change its user.
    pub relay_user: Option<u32>,
}

impl Settings {
    /// What filters and translates a family; none if nothing does, and the proxy alone carries.
    pub fn firewall_backend(&self, ipv4: bool) -> Option<Backend> {
        let on = if ipv4 { self.iptables } else { self.ip6tables };
        on.then_some(self.backend)
    }

    /// Whether there is a firewall for a family at all.
    pub fn has_firewall(&self) -> bool {
        self.iptables || self.ip6tables
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            backend: Backend::Nftables,
            iptables: true,
            ip6tables: true,
            userland_proxy: true,
            ip_forward: true,
            ip_forward_no_drop: false,
            allow_direct_routing: false,
            accept_mark: None,
            firewall_integration: false,
            masquerade: true,
            icc: true,
            bridge_address: None,
            fixed_cidr: None,
            default_gateway: None,
            bridge: DefaultBridge::Managed,
            ipv6: false,
            bridge_address_ipv6: None,
            fixed_cidr_ipv6: None,
            default_gateway_ipv6: None,
            host_gateway: Vec::new(),
            network_options: BTreeMap::new(),
            address_pools: Vec::new(),
            mtu: None,
            publish_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
            log_options: BTreeMap::new(),
            relay_user: None,
        }
    }
}
