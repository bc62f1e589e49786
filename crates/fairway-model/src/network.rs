//! Networks.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{AddressInUse, BridgeOptions, GatewayMode, Macvlan, MacvlanMode, NetworkId, Peer, Uplink};

/// How a network is made of kernel objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge on this host, one veth pair a sandbox.
    Bridge,
    /// The host's own namespace.
    Host,
    /// Nothing but loopback.
    Null,
    /// A bridge whose subnet other hosts reach by routes.
    Routed,
    /// A bridge that takes over an interface of the host, so that sandboxes are on its LAN.
    Lan,
    /// Links of their own upon a link of the host, one a sandbox.
    Macvlan,
    /// A pair of interfaces, one in each of two sandboxes, and nothing else.
    Ptp,
}

impl Driver {
    /// The drivers of networks that users create, and what such a network is.
    pub const CREATABLE: [(Self, &str); 5] = [
        (Self::Bridge, "a bridge of this host, behind its address"),
        (Self::Routed, "a bridge whose subnet other hosts reach by routes"),
        (Self::Lan, "the LAN of an interface (-o parent=), which the host shares with sandboxes"),
        (Self::Macvlan, "the LAN of an interface (-o parent=), without the host"),
        (Self::Ptp, "a pair of interfaces between two sandboxes"),
    ];

    /// Its name.
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

    /// Whether its networks are bridges with a veth pair for each sandbox.
    pub fn has_bridge(self) -> bool {
        matches!(self, Self::Bridge | Self::Routed | Self::Lan)
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A pool of addresses that belongs to a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The subnet, its host bits zero.
    pub subnet: IpNet,
    /// The gateway: the bridge's own address, or with the driver `macvlan` that of a router out
    /// there. It means nothing on pairs.
    pub gateway: IpAddr,
    /// Addresses are given automatically from here only.
    pub ip_range: Option<IpNet>,
    /// Addresses that are never given, by name.
    pub auxiliary: BTreeMap<String, IpAddr>,
    /// Whether the user named the subnet (then `--ip` is allowed, as in Docker).
    pub chosen: bool,
    /// Whether the user named the gateway.
    pub gateway_chosen: bool,
}

/// Who answers to a name that several endpoints of a network have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AliasAnswer {
    /// All of them, those that joined first, first: who asks can go on to the next.
    #[default]
    All,
    /// The one that joined first, as long as it runs.
    First,
}

/// A set of endpoints that may talk to one another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its identifier.
    pub id: NetworkId,
    /// Its name, unique on the host.
    pub name: String,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// How it is made.
    pub driver: Driver,
    /// Whether it was there from the start (`bridge`, `host`, `none`).
    pub predefined: bool,
    /// The name of the bridge of ours; empty where there is none.
    pub bridge: String,
    /// Whether endpoints get IPv4 addresses.
    pub enable_ipv4: bool,
    /// Whether endpoints get IPv6 addresses.
    pub enable_ipv6: bool,
    /// At most one subnet of each family.
    pub subnets: Vec<Subnet>,
    /// No way out and no way in but from its own endpoints and the host.
    pub internal: bool,
    /// Whether what leaves it is masqueraded; none means as the daemon says (`--ip-masq`).
    pub masquerade: Option<bool>,
    /// Whether its endpoints may talk to one another (`enable_icc`); none means yes. The default
    /// bridge does as the daemon says (`--icc`).
    #[serde(default)]
    pub icc: Option<bool>,
    /// The largest packet in bytes; none means as the daemon says (`--mtu`).
    pub mtu: Option<u32>,
    /// Where `--publish` without an address publishes; none means the daemon's default.
    pub host_binding: Option<IpAddr>,
    /// Of a bridge that is the user's own and not ours: the addresses that it had by itself.
    #[serde(default)]
    pub adopted: Option<Vec<IpNet>>,
    /// What else its options say, where it is a bridge.
    #[serde(default)]
    pub bridge_options: BridgeOptions,
    /// The hosts whose subnets a routed network and the host itself reach by routes.
    #[serde(default)]
    pub peers: Vec<Peer>,
    /// Who answers to a name that several endpoints have.
    #[serde(default)]
    pub alias_answer: AliasAnswer,
    /// The interface that a lan network has taken over.
    #[serde(default)]
    pub uplink: Option<Uplink>,
    /// Addresses of a LAN that somebody there was seen to have.
    #[serde(default, alias = "held")]
    pub addresses_in_use: BTreeMap<IpAddr, AddressInUse>,
    /// What the driver `macvlan` knows; none for the others.
    #[serde(default)]
    pub macvlan: Option<Macvlan>,
    /// The driver options as they were given.
    pub options: BTreeMap<String, String>,
    /// The labels as they were given.
    pub labels: BTreeMap<String, String>,
}

impl Network {
    /// Its subnet of the family of `address`.
    pub fn subnet_for(&self, address: IpAddr) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.subnet.addr().is_ipv4() == address.is_ipv4())
    }

    /// Its IPv4 subnet.
    pub fn ipv4(&self) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.subnet.addr().is_ipv4())
    }

    /// Its IPv6 subnet.
    pub fn ipv6(&self) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.subnet.addr().is_ipv6())
    }

    /// Whether nobody else can have the gateway address of one of its subnets. It is free where no
    /// gateway has a use: as in Docker, on isolated networks, and on internal ones whose bridge has no
    /// IPv4 address, unless the user named it; and on pairs.
    pub fn reserves_gateway(&self, subnet: &Subnet) -> bool {
        let ipv4 = subnet.subnet.addr().is_ipv4();
        let isolated = self.bridge_options.gateway_mode(ipv4) == GatewayMode::Isolated;
        let nobodys = isolated || (ipv4 && self.bridge_options.inhibit_ipv4 && self.internal);
        self.driver != Driver::Ptp && (!nobodys || subnet.gateway_chosen)
    }

    /// How many endpoints there can be, where that is limited.
    pub fn max_endpoints(&self) -> Option<usize> {
        match (self.driver, &self.macvlan) {
            (Driver::Ptp, _) => Some(2),
            (_, Some(macvlan)) if macvlan.mode == MacvlanMode::Passthru => Some(1),
            _ => None,
        }
    }

    /// How many running endpoints its bridge has ports for; none without a bridge. The kernel numbers the ports of a
    /// bridge from 1 to 1,023 (`BR_MAX_PORTS`, net/bridge/br_private.h), and an interface that is taken over is one.
    pub fn max_ports(&self) -> Option<usize> {
        const MOST: usize = 1023;
        self.driver.has_bridge().then(|| MOST - usize::from(self.uplink.is_some()))
    }

    /// Whether it was made by a user, and so resolves names.
    pub fn user_defined(&self) -> bool {
        !self.predefined
    }
}
