//! What a decision needs from outside, and why there is none.

use std::net::IpAddr;

use fairway_model::{Lease, LeaseRequest, MacAddress, Rng};
use thiserror::Error;

use super::Refusal;

/// What a decision rests on besides the World and the command: time, chance, and what was found out by trying.
#[derive(Debug)]
pub struct Context<'a> {
    /// Nanoseconds since 1970.
    pub now: i64,
    /// The source of identifiers, names and random ports.
    pub rng: &'a mut Rng,
    /// The DHCP leases that the command may use, each with the name of its network.
    pub leases: &'a [(String, Lease)],
    /// Whether endpoints get no IPv4 address where a lease is needed, as to check a command before a server is asked.
    pub leases_unknown: bool,
    /// Addresses that other hosts on the LAN of a network have which the command makes, each with the network's name.
    pub addresses_in_use: &'a [(String, IpAddr, MacAddress)],
    /// Ports that random choices leave out, since other programs have them.
    pub avoided_ports: &'a [u16],
}

impl<'a> Context<'a> {
    /// A context without leases and avoided ports.
    pub fn new(now: i64, rng: &'a mut Rng) -> Self {
        Self { now, rng, leases: &[], leases_unknown: false, addresses_in_use: &[], avoided_ports: &[] }
    }
}

/// Why a command is not decided.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Undecided {
    /// The command is refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The command needs a lease, and [`Context::leases_unknown`] is not set: it is decided again with one in
    /// [`Context::leases`].
    #[error("network {} needs a lease of the DHCP server at {}", .0.network, .0.parent)]
    LeaseNeeded(Box<LeaseRequest>),
}
