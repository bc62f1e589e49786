//! Overlaps of subnets with the host's addresses and routes.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use fairway_model::address_range::overlap;
use fairway_model::{HostFacts, HostRoute, NextHop, Subnet};

/// The number of overlaps that a warning names.
const NAMED: usize = 3;

/// An address that the host would lose to a bridge: an address of the host, or a next hop whose packets would go to the
/// bridge.
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

/// Finds an address or next hop of the host that would be lost if `bridge` had the subnet's gateway address, by equality or
/// by longest prefix match.
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

/// Warnings about overlaps of a subnet with the host's routes and addresses, with the consequences.
pub fn host_overlap_warnings(network: &str, subnet: &Subnet, host: &HostFacts, bridge: &str) -> Vec<String> {
    let subnet = subnet.subnet;
    let of_host = host.routes.iter().chain(&host.addresses);
    // 0.0.0.0/1 and 128.0.0.0/1, which VPN clients put in front of a default route, are no overlap.
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
