//! DHCP leases.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{EndpointId, MacAddress};

/// A DHCP lease of an endpoint's IPv4 address. All times are in nanoseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The leased address.
    pub address: Ipv4Addr,
    /// The subnet mask that the server sent, if any.
    pub netmask: Option<Ipv4Addr>,
    /// The MAC address of the client.
    pub mac: MacAddress,
    /// The endpoint, from which the client identifier is derived.
    pub client: EndpointId,
    /// The server's address.
    pub server: Ipv4Addr,
    /// The source MAC address of the server's answer: that of the server or of a relay agent on this LAN.
    pub server_mac: MacAddress,
    /// The time from which the lease is renewed with its server (T1 of RFC 2131, section 4.4.5).
    pub renew_at: i64,
    /// The time from which the lease is renewed with any server (T2).
    pub rebind_at: i64,
    /// The time at which the lease expires.
    pub expires_at: i64,
    /// Whether the lease expired or its renewal was refused; the address stays in use.
    pub lost: bool,
}

impl Lease {
    /// The lease by another clock, which is ahead by so many nanoseconds.
    #[must_use]
    pub fn by_clock(&self, ahead: i64) -> Self {
        Self {
            renew_at: self.renew_at.saturating_add(ahead),
            rebind_at: self.rebind_at.saturating_add(ahead),
            expires_at: self.expires_at.saturating_add(ahead),
            ..self.clone()
        }
    }
}

/// A lease that a command needs before the World can accept it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRequest {
    /// The name of the network.
    pub network: String,
    /// The host's interface on the network's LAN.
    pub parent: String,
    /// The client.
    pub identity: LeaseIdentity,
}

/// A DHCP client, as its messages identify it to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseIdentity {
    /// The endpoint, which stays the same across starts of its sandbox.
    pub client: EndpointId,
    /// The MAC address.
    pub mac: MacAddress,
    /// The host name: the sandbox's name.
    pub hostname: String,
}
