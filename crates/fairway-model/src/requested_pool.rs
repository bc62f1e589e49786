//! Pools of addresses that Docker Engine requested from Fairway's IPAM driver.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::IpRange;

/// A pool of addresses. dockerd names it when it requests addresses for a network of any driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestedPool {
    /// The subnet.
    pub subnet: IpNet,
    /// The range that addresses are allocated from; none for the whole subnet.
    pub range: Option<IpRange>,
    /// The time of the request, in nanoseconds since 1970.
    pub created: i64,
    /// The id of the dockerd that has a network with it, if that is known.
    pub daemon: Option<String>,
}

/// An address of a pool that dockerd has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolAddress {
    /// The subnet of the pool.
    pub pool: IpNet,
    /// The address.
    pub address: IpAddr,
    /// The time of the request, in nanoseconds since 1970.
    pub created: i64,
    /// Whether it is a gateway.
    pub gateway: bool,
}
