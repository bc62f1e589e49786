//! Addresses that a DHCP server of a LAN lends.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{EndpointId, MacAddress, NetworkId};

/// An IPv4 address that a DHCP server has lent an endpoint. All times are in nanoseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// What the server said that the LAN's mask is, if it did.
    pub netmask: Option<Ipv4Addr>,
    /// The hardware address that it was asked for with.
    pub mac: MacAddress,
    /// The endpoint that it was asked for with.
    pub client: EndpointId,
    /// Who lent it.
    pub server: Ipv4Addr,
    /// Where the server's answer came from: itself, or the relay agent's side of this LAN.
    pub server_mac: MacAddress,
    /// From when on the server is asked to extend it (T1 of RFC 2131, section 4.4.5).
    pub renew_at: i64,
    /// From when on any server is (T2).
    pub rebind_at: i64,
    /// When it ends.
    pub expires_at: i64,
    /// Whether it was refused or ended, and the address is used without it.
    pub lost: bool,
}

/// A lease that somebody needs before a command can be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRequest {
    /// The network.
    pub network: NetworkId,
    /// The network's name.
    pub network_name: String,
    /// The interface that leads to its LAN.
    pub parent: String,
    /// Who asks.
    pub identity: LeaseIdentity,
}

/// What a DHCP server is told of who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseIdentity {
    /// The endpoint, which stays the same when its sandbox starts again.
    pub client: EndpointId,
    /// Its hardware address.
    pub mac: MacAddress,
    /// The sandbox's name.
    pub hostname: String,
}
