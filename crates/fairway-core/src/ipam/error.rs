//! Errors of IPAM.

use std::net::IpAddr;

use ipnet::IpNet;
use thiserror::Error;

use fairway_model::{IpRange, RefusalKind};

/// The reason why no subnet or address can be allocated.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the message of each says what its fields are")]
pub enum IpamError {
    /// No pool has a free subnet; the text names the holders of each pool.
    #[error(
        "all predefined address pools have been fully subnetted: {0}: choose a free subnet with --subnet, or configure another --default-address-pool"
    )]
    Exhausted(String),
    /// All addresses of a network's subnet or range are in use.
    #[error(
        "no available addresses on network {network}: all of {range} are in use: disconnect a container, or choose a free address with --ip or --ip6"
    )]
    Full { network: String, range: IpRange },
    #[error(
        "Pool overlaps with other one on this address space: {subnet} overlaps {held} of network {holder}: choose another subnet, or remove that network"
    )]
    Overlap { subnet: IpNet, held: IpNet, holder: String },
    #[error("invalid {what} {given}: it should be {expected}")]
    HostBits { what: &'static str, given: IpNet, expected: IpNet },
    #[error("invalid {what} {value}: parent subnet {subnet} doesn't contain it")]
    Outside { what: &'static str, value: String, subnet: IpNet },
    #[error("invalid subnet {subnet}: {family} has not been enabled for network {network}: {way_out}")]
    FamilyDisabled { subnet: IpNet, family: &'static str, network: String, way_out: &'static str },
    #[error(
        "invalid subnet {subnet}: network {network} has {family} subnet {first} already, and can have one of each family"
    )]
    SecondOfFamily { subnet: String, first: String, family: &'static str, network: String },
    #[error("invalid subnet {subnet}: {reason}: choose one of private or global unicast addresses")]
    Reserved { subnet: IpNet, reason: &'static str },
    #[error(
        "invalid subnet {subnet}: no available addresses on this pool: it must hold a gateway and a container: at most /31 in IPv4 and /127 in IPv6"
    )]
    TooSmall { subnet: IpNet },
    #[error("invalid {what} {address}: it is the {role} address of {subnet}: choose one between")]
    NotForHosts { what: &'static str, address: IpAddr, role: &'static str, subnet: IpNet },
    #[error("invalid auxiliary address {name}={address}: Address already in use: it is {holder}")]
    AuxiliaryInUse { name: String, address: IpAddr, holder: String },
    #[error("failed to allocate gateway: no available addresses on {subnet}: auxiliary addresses take all")]
    NoGateway { subnet: IpNet },
    #[error("invalid {what} {value}: its subnet is unknown: add --subnet")]
    NeedsSubnet { what: &'static str, value: String },
    #[error("invalid {what} {text}: {reason}")]
    Unreadable { what: &'static str, text: String, reason: String },
    #[error("no matching subnet for {what} {value}: add the --subnet that contains it")]
    NoMatch { what: &'static str, value: String },
    #[error("every ip-range or gateway must have a corresponding subnet: add --subnet")]
    MoreThanSubnets,
    #[error("multiple overlapping subnet configuration is not supported: {first} and {second}")]
    SubnetsOverlap { first: IpNet, second: IpNet },
    #[error("cannot configure multiple {what} ({first}, {second}) on the same subnet ({subnet})")]
    Multiple { what: &'static str, first: String, second: String, subnet: IpNet },
    #[error("invalid --{flag} {value}: {reason}")]
    Flag { flag: &'static str, value: String, reason: String },
}

impl IpamError {
    /// The kind of the refusal.
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::Exhausted(_) | Self::Full { .. } | Self::Overlap { .. } => RefusalKind::Forbidden,
            _ => RefusalKind::Invalid,
        }
    }
}
