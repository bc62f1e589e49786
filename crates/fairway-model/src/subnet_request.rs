//! Requested subnets.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::IpRange;

/// A requested subnet of a new network: an entry of Docker's `IPAM.Config`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetRequest {
    /// `--subnet`, with host bits; an unspecified address (`0.0.0.0/24`) requests any subnet of that size.
    pub subnet: Option<IpNet>,
    /// `--gateway`.
    pub gateway: Option<IpAddr>,
    /// `--ip-range`.
    pub ip_range: Option<IpRange>,
    /// `--aux-address`.
    pub auxiliary: BTreeMap<String, IpAddr>,
}
