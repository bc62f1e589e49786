//! Peers of routed networks.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::parse::expected_message;

/// A subnet on another host, and the address of that host on a common LAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Peer {
    /// The subnet, host bits zero.
    pub subnet: IpNet,
    /// The host's address: the next hop of the route to the subnet.
    pub gateway: IpAddr,
}

/// The error of a text that is not a peer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParsePeerError {
    /// Not of the form SUBNET@HOST.
    #[error("invalid peer {0:?}: {expected}", expected = expected_message(subnet_of(.0), PEER))]
    Shape(String),
    /// The subnet has host bits.
    #[error("invalid peer subnet {0}: it should be {expected}", expected = .0.trunc())]
    HostBits(IpNet),
    /// Subnet and host are of different address families.
    #[error("invalid peer {subnet}@{gateway}: subnet and host must be of one address family")]
    Families {
        /// The subnet.
        subnet: IpNet,
        /// The host.
        gateway: IpAddr,
    },
    /// The host's address is unspecified, multicast or loopback.
    #[error("invalid peer host {0}: a unicast address of a host is expected")]
    NotAHost(IpAddr),
    /// The subnet is a default route.
    #[error("invalid peer subnet {0}: a peer subnet must not be a default route")]
    Everything(IpNet),
}

/// The expected form of a peer.
const PEER: &str = "SUBNET@HOST, as 172.30.2.0/24@10.10.50.98,";

/// The part of a peer before the host.
fn subnet_of(peer: &str) -> &str {
    peer.split_once('@').map_or(peer, |(subnet, _)| subnet)
}

impl FromStr for Peer {
    type Err = ParsePeerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape = || ParsePeerError::Shape(text.to_owned());
        let (subnet, gateway) = text.split_once('@').ok_or_else(shape)?;
        let subnet: IpNet = subnet.parse().map_err(|_| shape())?;
        let gateway: IpAddr = gateway.parse().map_err(|_| shape())?;
        if subnet != subnet.trunc() {
            return Err(ParsePeerError::HostBits(subnet));
        }
        if subnet.prefix_len() == 0 {
            return Err(ParsePeerError::Everything(subnet));
        }
        if subnet.addr().is_ipv4() != gateway.is_ipv4() {
            return Err(ParsePeerError::Families { subnet, gateway });
        }
        if gateway.is_unspecified() || gateway.is_multicast() || gateway.is_loopback() {
            return Err(ParsePeerError::NotAHost(gateway));
        }
        Ok(Self { subnet, gateway })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.subnet, self.gateway)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_subnet_and_a_host() {
        for text in ["172.30.2.0/24@10.10.50.98", "fd02::/64@fd50::98"] {
            assert_eq!(text.parse::<Peer>().map(|peer| peer.to_string()), Ok(text.to_owned()));
        }
        let refused = |text: &str| text.parse::<Peer>().expect_err(text).to_string();
        for text in ["", "172.30.2.0/24", "172.30.2.0@10.0.0.1", "172.30.2.0/24@", "@10.0.0.1"] {
            assert!(refused(text).contains("SUBNET@HOST"), "{text}");
        }
        assert_eq!(
            refused("172.30.2.1/24@10.0.0.1"),
            "invalid peer subnet 172.30.2.1/24: it should be 172.30.2.0/24"
        );
        assert!(refused("172.30.2.0/24@fd50::98").contains("one address family"));
        assert!(refused("172.30.2.0/24@127.0.0.1").contains("invalid peer host 127.0.0.1"));
        assert!(refused("0.0.0.0/0@10.0.0.1").contains("default route"));
    }
}
