//! The daemon's settings.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// The firewall backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// nf_tables, with netlink.
    Nftables,
    /// iptables and ip6tables, and nf_tables for the bridge family.
    Iptables,
}

/// An address pool, from which networks without `--subnet` get subnets of prefix length `size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPool {
    /// The range of the pool.
    pub base: IpNet,
    /// The prefix length of each subnet.
    pub size: u8,
}

/// A match on packet marks: `mark & mask == value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketMark {
    /// The value, within the mask.
    pub value: u32,
    /// The mask.
    pub mask: u32,
}

/// The bridge of the default network (`--bridge`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DefaultBridge {
    /// The bridge `fairway0`, which Fairway creates.
    #[default]
    #[serde(alias = "ours")]
    Managed,
    /// An existing bridge of this name.
    Named(String),
    /// No default network (`none`).
    Disabled,
}

/// The daemon's settings, with the names of dockerd's flags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `--firewall-backend`: the firewall backend of the enabled families.
    pub backend: Backend,
    /// `--iptables`: enable IPv4 firewall rules and NAT, with either backend.
    pub iptables: bool,
    /// `--ip6tables`: enable IPv6 firewall rules and NAT.
    pub ip6tables: bool,
    /// `--userland-proxy`.
    pub userland_proxy: bool,
    /// `--ip-forward`: enable forwarding.
    pub ip_forward: bool,
    /// `--ip-forward-no-drop`: do not drop unrelated forwarded traffic where Fairway enabled forwarding.
    pub ip_forward_no_drop: bool,
    /// `--allow-direct-routing`: allow direct routed access to the published ports of endpoints.
    pub allow_direct_routing: bool,
    /// `--bridge-accept-fwmark`: accept packets with this mark to all networks that are not internal.
    pub accept_mark: Option<PacketMark>,
    /// `--firewall-integration`: insert a jump into foreign firewalls that would drop the traffic of networks, so that
    /// it passes.
    pub firewall_integration: bool,
    /// `--ip-masq`.
    pub masquerade: bool,
    /// `--icc`: allow communication between sandboxes on the default bridge.
    pub icc: bool,
    /// `--bip`: address and subnet of the default bridge.
    pub bridge_address: Option<Ipv4Net>,
    /// `--fixed-cidr`: the range of the default bridge's addresses.
    pub fixed_cidr: Option<Ipv4Net>,
    /// `--default-gateway`: the default gateway of sandboxes on the default bridge.
    pub default_gateway: Option<Ipv4Addr>,
    /// `--bridge`.
    pub bridge: DefaultBridge,
    /// `--ipv6`: enable IPv6 on the default bridge.
    pub ipv6: bool,
    /// `--bip6`.
    pub bridge_address_ipv6: Option<Ipv6Net>,
    /// `--fixed-cidr-v6`.
    pub fixed_cidr_ipv6: Option<Ipv6Net>,
    /// `--default-gateway-v6`.
    pub default_gateway_ipv6: Option<Ipv6Addr>,
    /// `--host-gateway-ip`: the addresses of `host-gateway` in `--add-host`; without one of a family, the default
    /// bridge's address.
    pub host_gateway: Vec<IpAddr>,
    /// `--default-network-opt`: default options of new networks, by driver.
    pub network_options: BTreeMap<String, BTreeMap<String, String>>,
    /// `--default-address-pool`; empty means Docker's pools.
    pub address_pools: Vec<AddressPool>,
    /// `--mtu`; none means that of the default route's interface.
    pub mtu: Option<u32>,
    /// `--ip`: the host address of `--publish` without an address.
    pub publish_address: IpAddr,
    /// `--dns`.
    pub dns: Vec<IpAddr>,
    /// `--dns-search`.
    pub dns_search: Vec<String>,
    /// `--dns-opt`.
    pub dns_options: Vec<String>,
    /// `--log-opt`: default log options of new sandboxes.
    #[serde(default)]
    pub log_options: BTreeMap<String, String>,
    /// The user id of the relay process, by which the firewall matches its traffic; none if the relay cannot change its
    /// user.
    pub relay_user: Option<u32>,
}

impl Settings {
    /// The firewall backend of a family; none if the family's firewall is disabled.
    pub fn firewall_backend(&self, ipv4: bool) -> Option<Backend> {
        let on = if ipv4 { self.iptables } else { self.ip6tables };
        on.then_some(self.backend)
    }

    /// Whether the firewall of a family is enabled.
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
