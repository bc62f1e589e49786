//! Interfaces of the host that a `lan` network takes over.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::MacAddress;

/// A route of the host by an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkRoute {
    /// Where it leads; a prefix of length 0 is a default route.
    pub destination: IpNet,
    /// The next hop; none where destinations are neighbours.
    pub gateway: Option<IpAddr>,
    /// Lower ones are preferred.
    pub metric: u32,
}

/// An interface of the host as it was when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uplink {
    /// Its name.
    pub parent: String,
    /// Its hardware address, which the bridge gets: neighbours, and who gave the host a lease, know it.
    pub mac: MacAddress,
    /// The largest packet in bytes.
    pub mtu: u32,
    /// Its addresses, link-local ones left out.
    pub addresses: Vec<IpNet>,
    /// The routes by it, in the main table.
    pub routes: Vec<UplinkRoute>,
    /// Which run of the kernel it was (`/proc/sys/kernel/random/boot_id`): what was true then is not restored in
    /// another one, which was configured anew.
    pub boot: String,
    /// Why it cannot be a port of a bridge, if it cannot.
    #[serde(default, alias = "obstacle")]
    pub unusable: Option<String>,
}

/// Who has an address of a LAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressInUse {
    /// The hardware address that answered for it.
    pub mac: MacAddress,
    /// When, in nanoseconds since 1970.
    pub at: i64,
}

impl Uplink {
    /// The first address of a family, with its prefix length.
    pub fn address(&self, ipv4: bool) -> Option<IpNet> {
        self.addresses.iter().find(|address| address.addr().is_ipv4() == ipv4).copied()
    }

    /// Where its best default route of a family leads.
    pub fn gateway(&self, ipv4: bool) -> Option<IpAddr> {
        let defaults = self.routes.iter().filter(|route| {
            route.destination.prefix_len() == 0 && route.destination.addr().is_ipv4() == ipv4
        });
        defaults.min_by_key(|route| route.metric)?.gateway
    }
}
