//! Subnets for networks without one.

use std::net::{Ipv4Addr, Ipv6Addr};

use fairway_model::Rng;
use fairway_model::address_range::overlap;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The prefix length of IPv6 subnets.
const IPV6_PREFIX: u8 = 64;

/// Whether a subnet has addresses of one of the others.
pub(super) fn intersects(subnet: &IpNet, others: &[IpNet]) -> bool {
    others.iter().any(|other| overlap(*subnet, *other))
}

/// The first subnet of the pools that has no address of those in use. A pool is a range with the prefix length of its
/// subnets.
pub(super) fn free_ipv4(used: &[IpNet], pools: impl IntoIterator<Item = (IpNet, u8)>) -> Option<Ipv4Net> {
    let of_pool = |(base, size): (IpNet, u8)| {
        let IpNet::V4(base) = base else { return None };
        let first = u64::from(u32::from(base.network()));
        let (count, step) =
            (1_u64 << size.checked_sub(base.prefix_len())?, 1_u64 << 32_u8.checked_sub(size)?);
        let subnets = (0..count).filter_map(move |number| {
            let address = u32::try_from(first + number * step).ok()?;
            Ipv4Net::new(Ipv4Addr::from(address), size).ok()
        });
        Some(subnets)
    };
    pools.into_iter().filter_map(of_pool).flatten().find(|subnet| !intersects(&IpNet::V4(*subnet), used))
}

/// A random subnet of unique local addresses (RFC 4193) that has no address of those in use.
pub(super) fn free_ipv6(used: &[IpNet], rng: &mut Rng) -> Ipv6Net {
    loop {
        let [a, b, c, d, e, f, g, ..] = rng.bytes();
        let address = Ipv6Addr::from([0xfd, a, b, c, d, e, f, g, 0, 0, 0, 0, 0, 0, 0, 0]);
        if let Ok(subnet) = Ipv6Net::new(address, IPV6_PREFIX)
            && !intersects(&IpNet::V6(subnet), used)
        {
            return subnet;
        }
    }
}
