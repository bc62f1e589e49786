//! The subnet that a user asks for.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// One subnet of a network that is to be created: Docker's `IPAM.Config` entry, as text was parsed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubnetRequest {
    /// `--subnet`, host bits included; an unspecified address (`0.0.0.0/24`) asks for any subnet of
    /// that size.
    pub subnet: Option<IpNet>,
    /// `--gateway`.
    pub gateway: Option<IpAddr>,
    /// `--ip-range`.
    pub ip_range: Option<IpNet>,
    /// `--aux-address`.
    pub auxiliary: BTreeMap<String, IpAddr>,
}
