//! Networks.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    AddressInUse, BridgeOptions, GatewayMode, IpRange, Macvlan, MacvlanMode, NameOptions, NetworkId, Peer,
    RouteOptions, SubnetRequest, Uplink,
};

/// The driver of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge on this host, with a veth pair for each sandbox, behind the host's address.
    Bridge,
    /// The host's network namespace.
    Host,
    /// No network: loopback only.
    Null,
    /// A bridge whose subnet other hosts have routes to.
    Routed,
    /// A bridge with an interface of the host as a port: sandboxes are on that interface's LAN.
    Lan,
    /// A macvlan link on a parent interface for each sandbox.
    Macvlan,
    /// A veth pair between two sandboxes, with no interface on the host.
    Ptp,
}

impl Driver {
    /// The drivers that a user can create networks of, each with its help text.
    pub const CREATABLE: [(Self, &str); 5] = [
        (Self::Bridge, "a bridge of this host, behind its address"),
        (Self::Routed, "a bridge whose subnet other hosts reach by routes"),
        (Self::Lan, "the LAN of an interface (-o parent=), which the host shares with sandboxes"),
        (Self::Macvlan, "the LAN of an interface (-o parent=), without the host"),
        (Self::Ptp, "a pair of interfaces between two sandboxes"),
    ];

    /// The driver's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::Null => "null",
            Self::Routed => "routed",
            Self::Lan => "lan",
            Self::Macvlan => "macvlan",
            Self::Ptp => "ptp",
        }
    }

    /// Whether networks of this driver have a bridge with a veth pair for each sandbox.
    pub fn has_bridge(self) -> bool {
        matches!(self, Self::Bridge | Self::Routed | Self::Lan)
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A subnet of a network, with its gateway and address range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The subnet, host bits zero.
    pub subnet: IpNet,
    /// The gateway: the bridge's address, or with the drivers `lan` and `macvlan` the address of a router on the LAN.
    /// Unused by the driver `ptp`.
    pub gateway: IpAddr,
    /// The range that addresses are allocated from, unless requested with `--ip`.
    pub ip_range: Option<IpRange>,
    /// Auxiliary addresses by name, which are never allocated.
    pub auxiliary: BTreeMap<String, IpAddr>,
    /// Whether the user specified the subnet.
    pub chosen: bool,
    /// Whether the user specified the gateway.
    pub gateway_chosen: bool,
}

/// The addresses in the answer to a name that several endpoints of a network share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AliasAnswer {
    /// The addresses of all endpoints, oldest first.
    #[default]
    All,
    /// The addresses of the oldest running endpoint.
    First,
}

/// A network: a set of endpoints that can communicate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The identifier.
    pub id: NetworkId,
    /// The name, unique on the host.
    pub name: String,
    /// The time of creation, in nanoseconds since 1970.
    pub created: i64,
    /// The driver.
    pub driver: Driver,
    /// Whether the network is predefined (`bridge`, `host`, `none`).
    pub predefined: bool,
    /// Whether the network exists only while an endpoint is on it: another engine describes it with each request.
    #[serde(default)]
    pub transient: bool,
    /// The name of the bridge; empty without one.
    pub bridge: String,
    /// Whether endpoints have IPv4 addresses.
    pub enable_ipv4: bool,
    /// Whether endpoints have IPv6 addresses.
    pub enable_ipv6: bool,
    /// The subnets, at most one of each family.
    pub subnets: Vec<Subnet>,
    /// `--internal`: endpoints communicate with one another and the host only.
    pub internal: bool,
    /// Whether outbound traffic is masqueraded; none means the daemon's setting (`--ip-masq`).
    pub masquerade: Option<bool>,
    /// Whether the endpoints may communicate with one another (`enable_icc`); none means yes, and for the default
    /// bridge the daemon's setting (`--icc`).
    #[serde(default)]
    pub icc: Option<bool>,
    /// The MTU in bytes; none means the daemon's setting (`--mtu`).
    pub mtu: Option<u32>,
    /// The host address of `--publish` without an address; none means the daemon's setting (`--ip`).
    pub host_binding: Option<IpAddr>,
    /// The addresses of a bridge that the user created; none for a bridge that Fairway creates.
    #[serde(default)]
    pub adopted: Option<Vec<IpNet>>,
    /// The parsed options of bridge networks.
    #[serde(default)]
    pub bridge_options: BridgeOptions,
    /// The peers of a routed network: subnets of other hosts, with the next hops to them.
    #[serde(default)]
    pub peers: Vec<Peer>,
    /// The options of name resolution.
    #[serde(default)]
    pub name_options: NameOptions,
    /// The options of the routes of endpoints that do not have them.
    #[serde(default)]
    pub routes: RouteOptions,
    /// The addresses in the answer to a name that several endpoints share.
    #[serde(default)]
    pub alias_answer: AliasAnswer,
    /// The uplink of a lan network: the interface of the host that is a port of its bridge.
    #[serde(default)]
    pub uplink: Option<Uplink>,
    /// Addresses of the LAN that duplicate address detection found in use by other hosts.
    #[serde(default, alias = "held")]
    pub addresses_in_use: BTreeMap<IpAddr, AddressInUse>,
    /// The settings of a macvlan network; none for other drivers.
    #[serde(default)]
    pub macvlan: Option<Macvlan>,
    /// The options of IPAM as specified; Fairway's has none.
    #[serde(default)]
    pub ipam_options: BTreeMap<String, String>,
    /// `--config-only`: what networks with `--config-from` get. Such a network has no endpoints.
    #[serde(default)]
    pub configuration: Option<NetworkConfiguration>,
    /// `--config-from`: the name of the network whose configuration this one has.
    #[serde(default)]
    pub config_from: Option<String>,
    /// The driver options as specified.
    pub options: BTreeMap<String, String>,
    /// The labels.
    pub labels: BTreeMap<String, String>,
}

/// What a network with `--config-only` holds for others, besides options and labels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkConfiguration {
    /// The requested subnets.
    pub subnets: Vec<SubnetRequest>,
    /// `--ipv4`.
    pub enable_ipv4: Option<bool>,
    /// `--ipv6`.
    pub enable_ipv6: Option<bool>,
}

impl Network {
    /// The subnet of the family of `address`.
    pub fn subnet_for(&self, address: IpAddr) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.subnet.addr().is_ipv4() == address.is_ipv4())
    }

    /// The IPv4 subnet.
    pub fn ipv4(&self) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.subnet.addr().is_ipv4())
    }

    /// The IPv6 subnet.
    pub fn ipv6(&self) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.subnet.addr().is_ipv6())
    }

    /// Whether the gateway address of a subnet is reserved, so that no endpoint can have it. The address is free where
    /// the network has no gateway: with the driver `ptp`, and, unless the user specified the gateway, on isolated
    /// networks and on internal ones whose bridge has no IPv4 address, as in Docker.
    pub fn reserves_gateway(&self, subnet: &Subnet) -> bool {
        let ipv4 = subnet.subnet.addr().is_ipv4();
        let isolated = self.bridge_options.gateway_mode(ipv4) == GatewayMode::Isolated;
        let unused = isolated || (ipv4 && self.bridge_options.inhibit_ipv4 && self.internal);
        self.driver != Driver::Ptp && (!unused || subnet.gateway_chosen)
    }

    /// The highest number of endpoints, if the driver limits it.
    pub fn max_endpoints(&self) -> Option<usize> {
        match (self.driver, &self.macvlan) {
            (Driver::Ptp, _) => Some(2),
            (_, Some(macvlan)) if macvlan.mode == MacvlanMode::Passthru => Some(1),
            _ => None,
        }
    }

    /// The highest number of running endpoints that the bridge has ports for; none without a bridge. The kernel numbers
    /// the ports of a bridge from 1 to 1,023 (`BR_MAX_PORTS`, net/bridge/br_private.h), and an uplink is one of them.
    pub fn max_ports(&self) -> Option<usize> {
        const MOST: usize = 1023;
        self.driver.has_bridge().then(|| MOST - usize::from(self.uplink.is_some()))
    }

    /// Whether a user created the network.
    pub fn user_defined(&self) -> bool {
        !self.predefined
    }

    /// Whether endpoints of the network resolve one another's names: on user-defined networks, unless
    /// `fairway.names=false`.
    pub fn resolves_names(&self) -> bool {
        self.user_defined() && !self.name_options.disabled
    }
}
