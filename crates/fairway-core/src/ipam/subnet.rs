//! The subnets of a new network.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{IpamError, choose_subnet};
use fairway_model::Rng;
use fairway_model::SubnetRequest;
use fairway_model::address_range::{AddressRange, address, key, overlap, reserved_reason};
use fairway_model::{HostFacts, IpRange, Settings, Subnet};

/// Allocates the subnets of a network: the requested ones, checked, and one from the pools for each enabled family without a
/// requested subnet; IPv4 first.
///
/// An unspecified address (`0.0.0.0/24`, `::/64`) requests any subnet of that size. A requested subnet may overlap routes
/// of the host, as in Docker. `taken` are the subnets of other networks, with their names.
///
/// # Errors
/// [`IpamError`] with the invalid part of the request.
#[allow(clippy::too_many_arguments, reason = "a pure decision takes all it depends on")]
pub fn allocate_subnets(
    network: &str,
    requests: &[SubnetRequest],
    enable_ipv4: bool,
    enable_ipv6: bool,
    settings: &Settings,
    host: &HostFacts,
    taken: &[(IpNet, String)],
    rng: &mut Rng,
) -> Result<Vec<Subnet>, IpamError> {
    let mut by_family: [Option<&SubnetRequest>; 2] = [None, None];
    for request in requests {
        let v6 = request.subnet.map_or(!enable_ipv4, |subnet| subnet.addr().is_ipv6());
        if let (Some(subnet), false) = (request.subnet, if v6 { enable_ipv6 } else { enable_ipv4 }) {
            let network = network.to_owned();
            let (family, way_out) = if v6 { ("IPv6", "add --ipv6") } else { ("IPv4", "drop --ipv4=false") };
            return Err(IpamError::FamilyDisabled { subnet, family, network, way_out });
        }
        let place = &mut by_family[usize::from(v6)];
        if let Some(first) = place {
            let shown = |request: &SubnetRequest| {
                request.subnet.map_or_else(|| "of any size".to_owned(), |subnet| subnet.to_string())
            };
            return Err(IpamError::SecondOfFamily {
                subnet: shown(request),
                first: shown(first),
                family: if v6 { "IPv6" } else { "IPv4" },
                network: network.to_owned(),
            });
        }
        *place = Some(request);
    }
    let any = SubnetRequest::default();
    let mut subnets = Vec::new();
    for (v6, enabled, request) in [(false, enable_ipv4, by_family[0]), (true, enable_ipv6, by_family[1])] {
        if !enabled {
            continue;
        }
        let request = request.unwrap_or(&any);
        let size = request.subnet.filter(|subnet| subnet.addr().is_unspecified());
        subnets.push(match request.subnet {
            Some(subnet) if size.is_none() => {
                check_subnet(subnet)?;
                check_overlap(subnet, taken)?;
                complete(subnet, true, request)?
            }
            _ => {
                needs_no_subnet(request)?;
                let size = size.map(|subnet| subnet.prefix_len());
                complete(choose_subnet(settings, host, taken, v6, size, rng)?, false, request)?
            }
        });
    }
    Ok(subnets)
}

/// Checks that a requested subnet can hold endpoints.
pub(super) fn check_subnet(subnet: IpNet) -> Result<(), IpamError> {
    check_host_bits("subnet", subnet)?;
    if let Some(reason) = reserved_reason(subnet) {
        return Err(IpamError::Reserved { subnet, reason });
    }
    if subnet.prefix_len() == subnet.max_prefix_len() {
        return Err(IpamError::TooSmall { subnet });
    }
    Ok(())
}

/// Checks that a subnet overlaps no other network.
pub(super) fn check_overlap(subnet: IpNet, taken: &[(IpNet, String)]) -> Result<(), IpamError> {
    match taken.iter().find(|(held, _)| overlap(*held, subnet)) {
        Some((held, holder)) => Err(IpamError::Overlap { subnet, held: *held, holder: holder.clone() }),
        None => Ok(()),
    }
}

fn check_host_bits(what: &'static str, given: IpNet) -> Result<(), IpamError> {
    let expected = given.trunc();
    if given == expected { Ok(()) } else { Err(IpamError::HostBits { what, given, expected }) }
}

/// Refuses gateway, range and auxiliary addresses without a subnet.
fn needs_no_subnet(request: &SubnetRequest) -> Result<(), IpamError> {
    let gateway = request.gateway.map(|gateway| ("gateway", gateway.to_string()));
    let range = request.ip_range.map(|range| ("ip-range", range.to_string()));
    let auxiliary =
        request.auxiliary.iter().next().map(|(name, value)| ("auxiliary address", format!("{name}={value}")));
    match gateway.or(range).or(auxiliary) {
        Some((what, value)) => Err(IpamError::NeedsSubnet { what, value }),
        None => Ok(()),
    }
}

/// Checks gateway, range and auxiliary addresses of a subnet, and allocates the gateway.
fn complete(subnet: IpNet, chosen: bool, request: &SubnetRequest) -> Result<Subnet, IpamError> {
    if let Some(range) = request.ip_range {
        if let IpRange::Part(part) = range {
            check_host_bits("ip-range", part)?;
        }
        if !range.is_within(subnet) {
            return Err(IpamError::Outside { what: "ip-range", value: range.to_string(), subnet });
        }
    }
    if let Some(gateway) = request.gateway {
        check_address("gateway", gateway, subnet)?;
    }
    let mut held: Vec<(IpAddr, &str)> =
        request.gateway.map(|gateway| (gateway, "the gateway")).into_iter().collect();
    for (name, &address) in &request.auxiliary {
        check_address("auxiliary address", address, subnet)?;
        if let Some((_, holder)) = held.iter().find(|(other, _)| *other == address) {
            let (name, holder) = (name.clone(), (*holder).to_owned());
            return Err(IpamError::AuxiliaryInUse { name, address, holder });
        }
        held.push((address, name));
    }
    let gateway = match request.gateway {
        Some(gateway) => gateway,
        None => first_except(subnet, held.iter().map(|(address, _)| *address))?,
    };
    Ok(Subnet {
        subnet,
        gateway,
        ip_range: request.ip_range,
        auxiliary: request.auxiliary.clone(),
        chosen,
        gateway_chosen: request.gateway.is_some(),
    })
}

/// The lowest usable address of a subnet outside `except`.
pub(super) fn first_except(subnet: IpNet, except: impl Iterator<Item = IpAddr>) -> Result<IpAddr, IpamError> {
    let usable = AddressRange::usable(subnet);
    let except: std::collections::BTreeSet<u128> = except.map(key).collect();
    let mut lowest = usable.first;
    for taken in except.range(usable.first..=usable.last) {
        if *taken != lowest {
            break;
        }
        lowest = lowest.saturating_add(1);
    }
    if usable.contains(lowest) { Ok(address(lowest)) } else { Err(IpamError::NoGateway { subnet }) }
}

/// Checks that an interface in a subnet can have an address.
pub(crate) fn check_address(what: &'static str, address: IpAddr, subnet: IpNet) -> Result<(), IpamError> {
    if !subnet.contains(&address) {
        return Err(IpamError::Outside { what, value: address.to_string(), subnet });
    }
    if AddressRange::usable(subnet).contains(key(address)) {
        return Ok(());
    }
    let role = match address {
        IpAddr::V6(_) => "subnet-router anycast",
        IpAddr::V4(_) if address == subnet.network() => "network's own",
        IpAddr::V4(_) => "broadcast",
    };
    Err(IpamError::NotForHosts { what, address, role, subnet: subnet.trunc() })
}

#[cfg(test)]
mod tests;
