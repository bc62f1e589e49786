//! The families of addresses that a network has.

use crate::world::option::ADDRESSES;
use crate::world::{CreateNetwork, NetworkOptions, Refusal};
use fairway_model::Driver;

/// Whether a network has IPv4 and IPv6 addresses. Only with `fairway.addresses=false` it has neither.
pub(super) fn families(
    request: &CreateNetwork,
    options: &NetworkOptions,
    driver: Driver,
) -> Result<[bool; 2], Refusal> {
    if options.without_addresses {
        return check_without_addresses(request, options, driver).map(|()| [false, false]);
    }
    let asks_ipv6 = request.subnets.iter().any(|s| s.subnet.is_some_and(|s| s.addr().is_ipv6()));
    let ipv4 = request.enable_ipv4.or(options.enable_ipv4).unwrap_or(true);
    let ipv6 = request.enable_ipv6.or(options.enable_ipv6).unwrap_or(asks_ipv6);
    match ipv4 || ipv6 {
        true => Ok([ipv4, ipv6]),
        false => Err(Refusal::NoFamily),
    }
}

fn check_without_addresses(
    request: &CreateNetwork,
    options: &NetworkOptions,
    driver: Driver,
) -> Result<(), Refusal> {
    let family = [request.enable_ipv4.or(options.enable_ipv4), request.enable_ipv6.or(options.enable_ipv6)];
    let reason = match driver {
        _ if !request.subnets.is_empty() => "a network without addresses has no subnet: drop --subnet",
        _ if family.contains(&Some(true)) => "drop --ipv4 and --ipv6",
        _ if options.bridge.strict_guard => "it has no address to guard: drop fairway.guard",
        Driver::Bridge | Driver::Macvlan => return Ok(()),
        _ => "only networks of the drivers bridge and macvlan can be without addresses: add -d bridge",
    };
    let value = request.options.get(ADDRESSES).cloned().unwrap_or_default();
    Err(Refusal::InvalidOption { name: ADDRESSES.to_owned(), value, reason: reason.to_owned() })
}
