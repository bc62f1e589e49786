//! What a subnet takes from the host itself.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use fairway_model::address_range::overlap;
use fairway_model::{HostFacts, HostRoute, NextHop, Subnet};

/// How many overlaps a warning names before it only counts them.
const NAMED: usize = 3;

/// Why a bridge with an address in a subnet would cut the host off: an address that it takes from the host, or whose
/// packets it draws to itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostHostAddress {
    address: IpAddr,
    holder: String,
}

impl fmt::Display for LostHostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.address, self.holder)
    }
}

/// Finds what a subnet would take from the host if `bridge` had the subnet's gateway address: an address of the host,
/// the next hop of a route, or the way to one of them, since packets go by the longest prefix.
pub fn lost_host_address(subnet: &Subnet, host: &HostFacts, bridge: &str) -> Option<LostHostAddress> {
    let others = || host.addresses.iter().filter(|address| address.interface != bridge);
    let connected = |address: IpAddr| {
        let lengths = others().map(|own| own.destination).filter(|own| own.contains(&address));
        lengths.map(|own| own.prefix_len()).max()
    };
    let is_lost = |address: IpAddr| {
        address == subnet.gateway
            || (subnet.subnet.contains(&address)
                && connected(address).is_none_or(|length| length <= subnet.subnet.prefix_len()))
    };
    let next_hops = host.next_hops.iter().filter(|it| it.interface != bridge);
    let next_hops = next_hops
        .map(|it| (it.address, format!("the next hop of the host's route to {}", destination_of(it))));
    let own =
        others().map(|own| (own.destination.addr(), format!("the host's address at {}", own.interface)));
    let mut lost = next_hops.chain(own).filter(|(address, _)| is_lost(*address));
    lost.next().map(|(address, holder)| LostHostAddress { address, holder })
}

fn destination_of(next_hop: &NextHop) -> String {
    match next_hop.destination.prefix_len() {
        0 => format!("everywhere by {}", next_hop.interface),
        _ => format!("{} by {}", next_hop.destination, next_hop.interface),
    }
}

/// Warns of what a subnet overlaps of the host's routes and addresses, and says who does not reach whom then.
pub fn host_overlap_warnings(network: &str, subnet: &Subnet, host: &HostFacts, bridge: &str) -> Vec<String> {
    let subnet = subnet.subnet;
    let of_host = host.routes.iter().chain(&host.addresses);
    // The two halves of everything that VPN clients put in front of a default route take nothing.
    let meets = |held: &&HostRoute| {
        held.interface != bridge && held.destination.prefix_len() > 1 && overlap(held.destination, subnet)
    };
    let mut held: Vec<(IpNet, &str)> =
        of_host.filter(meets).map(|held| (held.destination.trunc(), held.interface.as_str())).collect();
    held.sort();
    held.dedup();
    let (inner, outer): (Vec<_>, Vec<_>) = held.into_iter().partition(|(held, _)| subnet.contains(held));
    let warning = |held: Vec<(IpNet, &str)>, consequence: String| {
        let shown = held.iter().take(NAMED).map(|(held, interface)| match interface.is_empty() {
            true => held.to_string(),
            false => format!("{held} of {interface}"),
        });
        let mut named = shown.collect::<Vec<_>>().join(", ");
        if let Some(more) = held.len().checked_sub(NAMED).filter(|more| *more > 0) {
            named.push_str(&format!(" and {more} more"));
        }
        (!held.is_empty())
            .then(|| format!("subnet {subnet} of network {network} overlaps {named}: {consequence}"))
    };
    let inner = warning(inner, "containers of the network do not reach it".to_owned());
    let outer = warning(outer, format!("the host does not reach what it has of {subnet} there any more"));
    inner.into_iter().chain(outer).collect()
}

#[cfg(test)]
mod tests;
