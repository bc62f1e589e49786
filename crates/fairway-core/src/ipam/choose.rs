//! Subnets from address pools.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::IpamError;
use super::blocker::{Blockers, Holder};
use fairway_model::Rng;
use fairway_model::address_range::{AddressRange, address};
use fairway_model::{AddressPool, HostFacts, Settings};

/// Docker's pools for bridge networks: base and subnet size.
const DEFAULT_POOLS: [(&str, u8); 7] = [
    ("172.17.0.0/16", 16),
    ("172.18.0.0/16", 16),
    ("172.19.0.0/16", 16),
    ("172.20.0.0/14", 16),
    ("172.24.0.0/14", 16),
    ("172.28.0.0/14", 16),
    ("192.168.0.0/16", 20),
];

/// The prefix length of unique local addresses (RFC 4193): fd and a global id of 40 bits.
const UNIQUE_LOCAL_PREFIX: u8 = 48;

/// The number of random prefixes to try. Of 2^40 prefixes many are taken only where a holder has a large part of
/// fd00::/8, and then more tries do not help.
const UNIQUE_LOCAL_TRIES: usize = 16;

/// The number of holders of a pool that an error names.
const NAMED_HOLDERS: usize = 3;

/// Chooses a subnet from the pools: the first that overlaps no subnet of another network (`taken`, each with the network's
/// name) and no address, name server or route of the host. `size` is the prefix length; none means the pool's.
///
/// IPv6 without a pool of that family gets a random unique local /64 (RFC 4193).
///
/// # Errors
/// [`IpamError::Exhausted`], which names the holders of each pool, and [`IpamError::TooSmall`]
/// for a size that cannot hold a gateway and an endpoint.
pub fn choose_subnet(
    settings: &Settings,
    host: &HostFacts,
    taken: &[(IpNet, String)],
    v6: bool,
    size: Option<u8>,
    rng: &mut Rng,
) -> Result<IpNet, IpamError> {
    let (widest, unspecified) =
        if v6 { (127, IpAddr::V6(Ipv6Addr::UNSPECIFIED)) } else { (31, IpAddr::from([0, 0, 0, 0])) };
    if let Some(subnet) =
        size.filter(|&size| size > widest).and_then(|size| IpNet::new(unspecified, size).ok())
    {
        return Err(IpamError::TooSmall { subnet });
    }
    let blockers = Blockers::new(host, taken, v6);
    let mut pools: Vec<AddressPool> =
        settings.address_pools.iter().copied().filter(|pool| pool.base.addr().is_ipv6() == v6).collect();
    if pools.is_empty() && v6 {
        return unique_local(&blockers, size.unwrap_or(64), rng);
    }
    if pools.is_empty() {
        pools.extend(
            DEFAULT_POOLS
                .into_iter()
                .filter_map(|(base, size)| Some(AddressPool { base: base.parse().ok()?, size })),
        );
    }
    let mut report = Report::default();
    for pool in pools {
        let size = size.unwrap_or(pool.size);
        if size < pool.base.prefix_len() || size > widest {
            report.add(pool.base, format!("cannot be cut into /{size}"));
            continue;
        }
        match cut(pool.base, size, &blockers) {
            Ok(subnet) => return Ok(subnet),
            Err(holders) => report.add(pool.base, describe(&holders)),
        }
    }
    Err(IpamError::Exhausted(report.text()))
}

/// The first free subnet of `size` within `base`, or the holders of all of it. Each step skips a holder, so that there are
/// no more steps than holders, however large the base.
fn cut<'a>(base: IpNet, size: u8, blockers: &Blockers<'a>) -> Result<IpNet, Vec<Holder<'a>>> {
    let pool = AddressRange::of(base);
    let mut holders = Vec::new();
    let mut place = pool.first;
    while pool.contains(place) {
        let Ok(subnet) = IpNet::new(address(place), size).map(|subnet| subnet.trunc()) else { break };
        let span = AddressRange::of(subnet);
        // The address after a holder may be within a subnet that the holder overlaps.
        let blocked = if span.first < place {
            span.last
        } else {
            match blockers.overlapping(span) {
                None => return Ok(subnet),
                Some((held, holder)) => {
                    holders.push(holder);
                    held.last
                }
            }
        };
        match blocked.checked_add(1) {
            Some(next) => place = next,
            None => break,
        }
    }
    Err(holders)
}

/// A random unique local subnet.
fn unique_local(blockers: &Blockers<'_>, size: u8, rng: &mut Rng) -> Result<IpNet, IpamError> {
    let exhausted = |reason: String| IpamError::Exhausted(format!("fd00::/8 {reason}"));
    if size < UNIQUE_LOCAL_PREFIX {
        return Err(exhausted(format!(
            "is given in /{UNIQUE_LOCAL_PREFIX} and less (RFC 4193), not in /{size}"
        )));
    }
    let mut holders = Vec::new();
    for _ in 0..UNIQUE_LOCAL_TRIES {
        let global = u128::from(rng.next() >> 24);
        let prefix = Ipv6Addr::from_bits((0xfd << 120) | (global << 80));
        let Ok(subnet) = IpNet::new(prefix.into(), size) else { continue };
        match blockers.overlapping(AddressRange::of(subnet)) {
            None => return Ok(subnet),
            Some((_, holder)) => holders.push(holder),
        }
    }
    holders.dedup();
    Err(exhausted(describe(&holders)))
}

/// The holders of a pool as text; names a few and counts the others.
fn describe(holders: &[Holder<'_>]) -> String {
    let mut texts: Vec<String> = holders.iter().take(NAMED_HOLDERS).map(Holder::to_string).collect();
    if let Some(more) = holders.len().checked_sub(NAMED_HOLDERS).filter(|&more| more > 0) {
        texts.push(format!("{more} more"));
    }
    match texts.split_last() {
        Some((last, others)) if !others.is_empty() => format!("by {} and {last}", others.join(", ")),
        _ => format!("by {}", texts.concat()),
    }
}

/// The reasons why each pool is unusable; adjacent pools with the same reason share a clause.
#[derive(Default)]
struct Report {
    clauses: Vec<(Vec<IpNet>, String)>,
}

impl Report {
    fn add(&mut self, pool: IpNet, fate: String) {
        match self.clauses.last_mut() {
            Some((pools, last)) if *last == fate => pools.push(pool),
            _ => self.clauses.push((vec![pool], fate)),
        }
    }

    fn text(&self) -> String {
        let clauses: Vec<String> = self
            .clauses
            .iter()
            .map(|(pools, fate)| {
                let pools: Vec<String> = pools.iter().map(IpNet::to_string).collect();
                format!("{} {fate}", pools.join(", "))
            })
            .collect();
        clauses.join("; ")
    }
}

#[cfg(test)]
mod tests;
