//! Uplinks: interfaces of the host that lan networks enslave.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::MacAddress;

/// A route of the host via an uplink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkRoute {
    /// The destination; prefix length 0 is a default route.
    pub destination: IpNet,
    /// The next hop; none for an on-link route.
    pub gateway: Option<IpAddr>,
    /// The metric; the lowest is preferred.
    pub metric: u32,
}

/// An uplink: an interface of the host, with its addresses and routes before the network was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink {
    /// The name of the interface.
    pub parent: String,
    /// The MAC address, which the bridge takes over: neighbors and DHCP servers know the host by it.
    pub mac: MacAddress,
    /// The MTU in bytes.
    pub mtu: u32,
    /// The addresses, without link-local ones.
    pub addresses: Vec<IpNet>,
    /// The routes via the interface in the main table.
    pub routes: Vec<UplinkRoute>,
    /// The boot id at that time (`/proc/sys/kernel/random/boot_id`): addresses and routes are not restored after a
    /// reboot, which configured the host again.
    pub boot: String,
    /// The reason why the interface cannot be a port of a bridge; none if it can.
    #[serde(default, alias = "obstacle")]
    pub unusable: Option<String>,
}

/// A host that duplicate address detection found to use an address of a LAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressInUse {
    /// The MAC address that answered the probe.
    pub mac: MacAddress,
    /// The time of the answer, in nanoseconds since 1970.
    pub at: i64,
}

impl Uplink {
    /// The first address of a family, with prefix length.
    pub fn address(&self, ipv4: bool) -> Option<IpNet> {
        self.addresses.iter().find(|address| address.addr().is_ipv4() == ipv4).copied()
    }

    /// The next hop of the default route of a family with the lowest metric.
    pub fn gateway(&self, ipv4: bool) -> Option<IpAddr> {
        let defaults = self.routes.iter().filter(|route| {
            route.destination.prefix_len() == 0 && route.destination.addr().is_ipv4() == ipv4
        });
        defaults.min_by_key(|route| route.metric)?.gateway
    }
}
