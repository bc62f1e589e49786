//! What the options of a network and of an endpoint say, read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// How a bridge network is joined to what is outside, for one family of addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatewayMode {
    /// Published ports are translated, what leaves is masqueraded, and nothing else comes in.
    #[default]
    Nat,
    /// The same, but whoever has a route reaches every port.
    NatUnprotected,
    /// Nothing is translated: whoever has a route reaches the published ports at the endpoint's own
    /// address, and may send ICMP. Host ports have no meaning.
    Routed,
    /// The bridge has no address: the host cannot be reached either. For internal networks only.
    Isolated,
}

impl GatewayMode {
    /// The mode of that name; an empty one stands for the default, as in Docker.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "" | "nat" => Self::Nat,
            "nat-unprotected" => Self::NatUnprotected,
            "routed" => Self::Routed,
            "isolated" => Self::Isolated,
            _ => return None,
        })
    }
}

/// How often, and in which intervals, neighbours are told of the addresses of an endpoint that joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advertising {
    /// How many times; 0 means not at all.
    pub count: u8,
    /// The time between two of them.
    pub interval_milliseconds: u16,
}

impl Default for Advertising {
    /// Docker's: three times (`ANNOUNCE_NUM` of RFC 5227 is two), a second apart.
    fn default() -> Self {
        Self { count: 3, interval_milliseconds: 1000 }
    }
}

/// The options that only bridge networks have. What no option says is as in Docker 29.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BridgeOptions {
    /// `com.docker.network.bridge.gateway_mode_ipv4`.
    pub gateway_mode_ipv4: GatewayMode,
    /// `com.docker.network.bridge.gateway_mode_ipv6`.
    pub gateway_mode_ipv6: GatewayMode,
    /// `com.docker.network.bridge.inhibit_ipv4`: somebody else has the gateway's IPv4 address.
    pub inhibit_ipv4: bool,
    /// `com.docker.network.bridge.trusted_host_interfaces`: what arrives there may go straight to
    /// published ports of endpoints.
    pub trusted_interfaces: Vec<String>,
    /// `com.docker.network.container_iface_prefix`: interfaces inside are named so, with a number.
    pub interface_prefix: Option<String>,
    /// `com.docker.network.host_ipv4`: what leaves gets this address instead of being masqueraded.
    pub source_ipv4: Option<Ipv4Addr>,
    /// `com.docker.network.host_ipv6`: the same for IPv6.
    pub source_ipv6: Option<Ipv6Addr>,
    /// `com.docker.network.advertise_addr_nmsgs` and `advertise_addr_ms`.
    pub advertising: Advertising,
    /// `fairway.route_localnet`: the bridge may route 127.0.0.0/8 where publishing needs it.
    pub route_localnet: bool,
    /// `fairway.storm_limit`: so many frames a second may an endpoint on a LAN send to all or many; 0 is no limit.
    pub storm_limit: u32,
    /// `fairway.guard=strict`: endpoints may use nothing but their own addresses.
    pub strict_guard: bool,
    /// `fairway.dhcp`: IPv4 addresses come from the DHCP server of the LAN.
    pub dhcp: bool,
}

impl Default for BridgeOptions {
    fn default() -> Self {
        Self {
            gateway_mode_ipv4: GatewayMode::default(),
            gateway_mode_ipv6: GatewayMode::default(),
            inhibit_ipv4: false,
            trusted_interfaces: Vec::new(),
            interface_prefix: None,
            source_ipv4: None,
            source_ipv6: None,
            advertising: Advertising::default(),
            route_localnet: true,
            strict_guard: false,
            storm_limit: 500,
            dhcp: false,
        }
    }
}

impl BridgeOptions {
    /// The gateway mode of a family.
    pub const fn gateway_mode(&self, ipv4: bool) -> GatewayMode {
        if ipv4 { self.gateway_mode_ipv4 } else { self.gateway_mode_ipv6 }
    }

    /// The address that what leaves gets instead of being masqueraded.
    pub fn source(&self, ipv4: bool) -> Option<IpAddr> {
        if ipv4 { self.source_ipv4.map(IpAddr::V4) } else { self.source_ipv6.map(IpAddr::V6) }
    }
}

/// A sysctl of one interface: `net.ipv4.conf.IFNAME.log_martians`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InterfaceSysctl {
    /// The directory in front of the interface's name: `net/ipv4/conf`.
    pub directory: String,
    /// What is behind it: `log_martians`.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl InterfaceSysctl {
    /// The path under `/proc/sys` for an interface.
    pub fn path(&self, interface: &str) -> String {
        format!("{}/{interface}/{}", self.directory, self.name)
    }

    /// Whether it switches IPv6 off.
    pub fn disables_ipv6(&self) -> bool {
        self.directory == "net/ipv6/conf" && self.name == "disable_ipv6" && self.value == "1"
    }
}

/// What the driver options of an endpoint say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointOptions {
    /// `com.docker.network.endpoint.ifname`: the name of the interface in the sandbox.
    pub interface: Option<String>,
    /// `com.docker.network.endpoint.sysctls`, each path once; a later one takes an earlier one's place.
    pub sysctls: Vec<InterfaceSysctl>,
    /// `com.docker.network.advertise_addr_nmsgs`; none means as the network says.
    pub advertise_count: Option<u8>,
    /// `com.docker.network.advertise_addr_ms`; none means as the network says.
    pub advertise_interval: Option<u16>,
}

impl EndpointOptions {
    /// Whether the endpoint is to have no IPv6, whatever its network has.
    pub fn disables_ipv6(&self) -> bool {
        self.sysctls.iter().any(InterfaceSysctl::disables_ipv6)
    }

    /// How neighbours are told of its addresses, on a network that says `network`.
    pub fn advertising(&self, network: Advertising) -> Advertising {
        Advertising {
            count: self.advertise_count.unwrap_or(network.count),
            interval_milliseconds: self.advertise_interval.unwrap_or(network.interval_milliseconds),
        }
    }
}
