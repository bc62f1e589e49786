//! Other hosts whose subnets are reached by routes.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::parse::expected_message;

/// A subnet of another host, and that host's address on a LAN that both are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Peer {
    /// The subnet of its sandboxes, its host bits zero.
    pub subnet: IpNet,
    /// The host: the next hop of the route to its subnet.
    pub gateway: IpAddr,
}

/// Why a text names no peer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParsePeerError {
    /// It has not the shape.
    #[error("{0:?} is no peer: {expected}", expected = expected_message(subnet_of(.0), PEER))]
    Shape(String),
    /// The subnet has host bits.
    #[error("{0} has host bits: {expected} is meant", expected = .0.trunc())]
    HostBits(IpNet),
    /// The families differ.
    #[error("{subnet} and {gateway} are of two families: a subnet is reached by a host of its own family")]
    Families {
        /// The subnet.
        subnet: IpNet,
        /// The host.
        gateway: IpAddr,
    },
    /// No host has such an address.
    #[error("{0} is no address of a host")]
    NotAHost(IpAddr),
    /// It would take in everything.
    #[error("{0} is no subnet of a host but a way to everywhere")]
    Everything(IpNet),
}

/// What a peer looks like.
const PEER: &str = "SUBNET@HOST, as 172.30.2.0/24@10.10.50.98,";

/// What stands before the host.
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
    fn a_peer_is_a_subnet_and_its_host() {
        for text in ["172.30.2.0/24@10.10.50.98", "fd02::/64@fd50::98"] {
            assert_eq!(text.parse::<Peer>().map(|peer| peer.to_string()), Ok(text.to_owned()));
        }
        let refused = |text: &str| text.parse::<Peer>().expect_err(text).to_string();
        for text in ["", "172.30.2.0/24", "172.30.2.0@10.0.0.1", "172.30.2.0/24@", "@10.0.0.1"] {
            assert!(refused(text).contains("SUBNET@HOST"), "{text}");
        }
        assert_eq!(refused("172.30.2.1/24@10.0.0.1"), "172.30.2.1/24 has host bits: 172.30.2.0/24 is meant");
        assert!(refused("172.30.2.0/24@fd50::98").contains("two families"));
        assert!(refused("172.30.2.0/24@127.0.0.1").contains("no address of a host"));
        assert!(refused("0.0.0.0/0@10.0.0.1").contains("everywhere"));
    }
}
