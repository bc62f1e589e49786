//! Subnets and addresses that subnets from pools must not overlap.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use fairway_model::address_range::AddressRange;
use fairway_model::{HostFacts, HostRoute, NextHop};

/// The holder of a subnet or address that a new subnet must not overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder<'a> {
    Network(&'a str, IpNet),
    Address(&'a HostRoute),
    Route(&'a HostRoute),
    NextHop(&'a NextHop),
    Nameserver(IpAddr),
}

impl fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(name, subnet) => write!(f, "network {name} ({subnet})"),
            Self::Address(address) => write!(f, "address {address}", address = Shown(address)),
            Self::Route(route) => write!(f, "route {route}", route = Shown(route)),
            Self::NextHop(hop) => {
                write!(f, "next hop {} of route {} of {}", hop.address, hop.destination, hop.interface)
            }
            Self::Nameserver(address) => write!(f, "nameserver {address}"),
        }
    }
}

/// Displays a destination with its interface, if any.
struct Shown<'a>(&'a HostRoute);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HostRoute { destination, interface } = self.0;
        if interface.is_empty() {
            write!(f, "{destination}")
        } else {
            write!(f, "{destination} of {interface}")
        }
    }
}

/// The holders of one family, searchable in O(log n).
pub(super) struct Blockers<'a> {
    /// Sorted by first address.
    sorted: Vec<(AddressRange, Holder<'a>)>,
    /// For each index in `sorted`, the index of the highest last address up to it.
    reach: Vec<usize>,
}

impl<'a> Blockers<'a> {
    pub fn new(host: &'a HostFacts, taken: &'a [(IpNet, String)], v6: bool) -> Self {
        let networks = taken.iter().map(|(subnet, name)| (*subnet, Holder::Network(name, *subnet)));
        let addresses = host.addresses.iter().map(|held| (held.destination, Holder::Address(held)));
        let nameservers = host.nameservers.iter().map(|server| server.address);
        let nameservers = nameservers.map(|address| (address.into(), Holder::Nameserver(address)));
        let next_hops = host.next_hops.iter().map(|hop| (hop.address.into(), Holder::NextHop(hop)));
        // Default routes block no subnet, and neither do 0.0.0.0/1 and 128.0.0.0/1, which VPN clients put in front
        // of one.
        let routes = host
            .routes
            .iter()
            .filter(|route| route.destination.prefix_len() > 1)
            .map(|route| (route.destination, Holder::Route(route)));
        let mut sorted: Vec<_> = networks
            .chain(routes)
            .chain(addresses)
            .chain(next_hops)
            .chain(nameservers)
            .filter(|(subnet, _)| subnet.addr().is_ipv6() == v6)
            .map(|(subnet, holder)| (AddressRange::of(subnet), holder))
            .collect();
        sorted.sort_by_key(|(span, _)| span.first);
        let reach = sorted
            .iter()
            .enumerate()
            .scan(0, |farthest: &mut usize, (index, (span, _))| {
                if span.last > sorted[*farthest].0.last {
                    *farthest = index;
                }
                Some(*farthest)
            })
            .collect();
        Self { sorted, reach }
    }

    /// The holder that overlaps a range; of several the one with the highest last address.
    pub fn overlapping(&self, span: AddressRange) -> Option<(AddressRange, Holder<'a>)> {
        let before = self.sorted.partition_point(|(blocker, _)| blocker.first <= span.last);
        let farthest = *self.reach.get(before.checked_sub(1)?)?;
        let found = *self.sorted.get(farthest)?;
        (found.0.last >= span.first).then_some(found)
    }
}
