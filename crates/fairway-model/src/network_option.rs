//! Parsed options of networks and endpoints.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::RouteOptions;

/// The gateway mode of a bridge network, for one address family, as in Docker's options `gateway_mode_ipv4` and
/// `gateway_mode_ipv6`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatewayMode {
    /// Published ports are translated (DNAT), outbound traffic is masqueraded, other inbound traffic is dropped.
    #[default]
    Nat,
    /// Like `Nat`, but hosts with a route to the subnet reach every port.
    NatUnprotected,
    /// No NAT: hosts with a route to the subnet reach the published ports at the endpoint's address, and may send
    /// ICMP. Host ports are unused.
    Routed,
    /// The bridge has no address, so that endpoints cannot reach the host. For internal networks only.
    Isolated,
}

impl GatewayMode {
    /// The mode of a name; an empty name is the default mode, as in Docker.
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

/// Which packets pass between two bridge networks, as netavark's option `isolate` says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// None but those to published ports, from and to any network.
    #[default]
    Strict,
    /// Those from and to networks that are not isolated.
    True,
    /// Those from and to networks that are not strictly isolated.
    False,
}

impl Isolation {
    /// Whether packets pass between two networks with these isolations, in both directions.
    pub const fn lets_pass(self, other: Self) -> bool {
        matches!((self, other), (Self::False, Self::False | Self::True) | (Self::True, Self::False))
    }
}

/// The options of name resolution on a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NameOptions {
    /// `fairway.names=false`: endpoints have no names on the network.
    pub disabled: bool,
    /// `fairway.domain`: the domain below which names resolve too, in lower case.
    pub domain: Option<String>,
    /// `fairway.dns`: the name servers of sandboxes without `--dns`.
    pub servers: Vec<IpAddr>,
}

/// The announcements of a new endpoint's addresses to neighbors (gratuitous ARP and unsolicited NA).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advertising {
    /// The number of announcements; 0 disables them.
    pub count: u8,
    /// The interval between two announcements.
    pub interval_milliseconds: u16,
}

impl Default for Advertising {
    /// Docker's default: three announcements (`ANNOUNCE_NUM` of RFC 5227 is two), one second apart.
    fn default() -> Self {
        Self { count: 3, interval_milliseconds: 1000 }
    }
}

/// The options of bridge networks. Defaults are those of Docker 29.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BridgeOptions {
    /// `com.docker.network.bridge.gateway_mode_ipv4`.
    pub gateway_mode_ipv4: GatewayMode,
    /// `com.docker.network.bridge.gateway_mode_ipv6`.
    pub gateway_mode_ipv6: GatewayMode,
    /// `com.docker.network.bridge.inhibit_ipv4`: the bridge does not get the gateway's IPv4 address.
    pub inhibit_ipv4: bool,
    /// `com.docker.network.bridge.trusted_host_interfaces`: packets from these interfaces may be
    /// addressed directly to the published ports of endpoints.
    pub trusted_interfaces: Vec<String>,
    /// `com.docker.network.container_iface_prefix`: the prefix of interface names in sandboxes.
    pub interface_prefix: Option<String>,
    /// `com.docker.network.host_ipv4`: the source address of outbound IPv4 traffic (SNAT instead of masquerade).
    pub source_ipv4: Option<Ipv4Addr>,
    /// `com.docker.network.host_ipv6`: the source address of outbound IPv6 traffic.
    pub source_ipv6: Option<Ipv6Addr>,
    /// `com.docker.network.advertise_addr_nmsgs` and `advertise_addr_ms`.
    pub advertising: Advertising,
    /// `fairway.route_localnet`: enable `route_localnet` of the bridge where published ports on 127.0.0.0/8 need it.
    pub route_localnet: bool,
    /// `fairway.storm_limit`: the broadcast and multicast frames a second that an endpoint of a lan network may send; 0
    /// means no limit.
    pub storm_limit: u32,
    /// `fairway.guard=strict`: endpoints may send from their own addresses only.
    pub strict_guard: bool,
    /// `fairway.isolate`: the isolation from other bridge networks.
    pub isolation: Isolation,
    /// `fairway.dhcp`: the LAN's DHCP server allocates the IPv4 addresses.
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
            isolation: Isolation::default(),
            dhcp: false,
        }
    }
}

impl BridgeOptions {
    /// The gateway mode of a family.
    pub const fn gateway_mode(&self, ipv4: bool) -> GatewayMode {
        if ipv4 { self.gateway_mode_ipv4 } else { self.gateway_mode_ipv6 }
    }

    /// The source address of outbound traffic of a family; none means masquerade.
    pub fn source(&self, ipv4: bool) -> Option<IpAddr> {
        if ipv4 { self.source_ipv4.map(IpAddr::V4) } else { self.source_ipv6.map(IpAddr::V6) }
    }
}

/// A sysctl of one interface: `net.ipv4.conf.IFNAME.log_martians`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InterfaceSysctl {
    /// The directory before the interface's name: `net/ipv4/conf`.
    pub directory: String,
    /// The name after the interface's name: `log_martians`.
    pub name: String,
    /// The value.
    pub value: String,
}

impl InterfaceSysctl {
    /// The path below `/proc/sys` for an interface.
    pub fn path(&self, interface: &str) -> String {
        format!("{}/{interface}/{}", self.directory, self.name)
    }

    /// Whether the sysctl disables IPv6.
    pub fn disables_ipv6(&self) -> bool {
        self.directory == "net/ipv6/conf" && self.name == "disable_ipv6" && self.value == "1"
    }
}

/// A limit of the traffic in one direction. What exceeds it waits, and is dropped when too much waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// The rate in bits a second.
    pub rate: u64,
    /// How many bits may pass at once after a pause; none for the default.
    pub burst: Option<u64>,
}

/// The parsed driver options of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointOptions {
    /// `com.docker.network.endpoint.ifname`: the name of the interface in the sandbox.
    pub interface: Option<String>,
    /// `com.docker.network.endpoint.sysctls`, each path once; of several values the last applies.
    pub sysctls: Vec<InterfaceSysctl>,
    /// `com.docker.network.advertise_addr_nmsgs`; none means the network's value.
    pub advertise_count: Option<u8>,
    /// `com.docker.network.advertise_addr_ms`; none means the network's value.
    pub advertise_interval: Option<u16>,
    /// The options of the endpoint's routes; none means the network's value.
    pub routes: RouteOptions,
    /// `fairway.host_interface`: an alternative name of the host's end of the veth pair.
    pub host_interface: Option<String>,
    /// `fairway.ingress_rate` and `fairway.ingress_burst`: the limit of the traffic to the sandbox.
    pub ingress: Option<RateLimit>,
    /// `fairway.egress_rate` and `fairway.egress_burst`: the limit of the traffic from the sandbox.
    pub egress: Option<RateLimit>,
}

impl EndpointOptions {
    /// Whether the endpoint has no IPv6 address, although its network may have IPv6.
    pub fn disables_ipv6(&self) -> bool {
        self.sysctls.iter().any(InterfaceSysctl::disables_ipv6)
    }

    /// The announcements of the endpoint's addresses, with defaults from its network.
    pub fn advertising(&self, network: Advertising) -> Advertising {
        Advertising {
            count: self.advertise_count.unwrap_or(network.count),
            interval_milliseconds: self.advertise_interval.unwrap_or(network.interval_milliseconds),
        }
    }
}
