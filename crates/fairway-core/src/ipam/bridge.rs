//! The subnet of the default bridge.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::subnet::{check_address, check_overlap, check_subnet, first_except};
use super::{IpamError, LostHostAddress, choose_subnet};
use fairway_model::Rng;
use fairway_model::address_range::reserved_reason;
use fairway_model::{HostFacts, IpRange, Settings, Subnet};

/// The name of the auxiliary address of `--default-gateway`, as in Docker. It is never allocated, and is the next hop of
/// the default route on the default bridge.
const DEFAULT_GATEWAY_KEY: &str = "DefaultGatewayIPv4";
/// The name of the auxiliary address of `--default-gateway-v6`.
const DEFAULT_GATEWAY_IPV6_KEY: &str = "DefaultGatewayIPv6";

/// The default gateway of a subnet of the default bridge; none if it is the bridge itself.
pub fn default_gateway(subnet: &Subnet) -> Option<IpAddr> {
    let key = if subnet.subnet.addr().is_ipv6() { DEFAULT_GATEWAY_IPV6_KEY } else { DEFAULT_GATEWAY_KEY };
    subnet.auxiliary.get(key).copied()
}

/// The values and names of the flags of one family.
struct Flags {
    address: Option<IpNet>,
    range: Option<IpNet>,
    gateway: Option<IpAddr>,
    names: [&'static str; 3],
    key: &'static str,
}

impl Flags {
    fn of(settings: &Settings, v6: bool) -> Self {
        if v6 {
            return Self {
                address: settings.bridge_address_ipv6.map(IpNet::V6),
                range: settings.fixed_cidr_ipv6.map(|range| IpNet::V6(range.trunc())),
                gateway: settings.default_gateway_ipv6.map(IpAddr::V6),
                names: ["bip6", "fixed-cidr-v6", "default-gateway-v6"],
                key: DEFAULT_GATEWAY_IPV6_KEY,
            };
        }
        Self {
            address: settings.bridge_address.map(IpNet::V4),
            range: settings.fixed_cidr.map(|range| IpNet::V4(range.trunc())),
            gateway: settings.default_gateway.map(IpAddr::V4),
            names: ["bip", "fixed-cidr", "default-gateway"],
            key: DEFAULT_GATEWAY_KEY,
        }
    }
}

/// Decides the subnet of the default bridge in one family.
///
/// `--bip` is its address and subnet. Without the flag the subnet is the first free one of the pools, and the bridge has
/// the first address; or `--fixed-cidr` itself, if that pool does not contain it.
/// `--fixed-cidr` is the range of addresses, and a `--default-gateway` other than the
/// bridge's own address is kept for [`default_gateway`]. IPv6 has the same flags by other names.
///
/// # Errors
/// [`IpamError::Flag`] for contradictory flags, [`IpamError::Overlap`] for a `--bip` that overlaps another network, [`IpamError::Exhausted`] without a free pool.
pub fn default_bridge_subnet(
    settings: &Settings,
    host: &HostFacts,
    taken: &[(IpNet, String)],
    v6: bool,
    rng: &mut Rng,
) -> Result<Subnet, IpamError> {
    let Flags { address, range, gateway: default, names: [bip, fixed_cidr, default_name], key } =
        Flags::of(settings, v6);
    let subnet = match (address, range) {
        (Some(address), _) => {
            let subnet = address.trunc();
            let flag = |error| flag(bip, address.to_string(), error);
            check_subnet(subnet).map_err(flag)?;
            check_address("bridge address", address.addr(), subnet).map_err(flag)?;
            check_overlap(subnet, taken)?;
            subnet
        }
        (None, None) => choose_subnet(settings, host, taken, v6, None, rng)?,
        (None, Some(range)) => match choose_subnet(settings, host, taken, v6, None, rng) {
            Ok(subnet) if subnet.contains(&range) => subnet,
            _ => {
                check_subnet(range).map_err(|error| flag(fixed_cidr, range.to_string(), error))?;
                check_overlap(range, taken)?;
                range
            }
        },
    };
    if let Some(range) = range.filter(|range| !subnet.contains(range)) {
        let reason = format!("it is not within the default bridge's {subnet}: change it or --{bip}");
        return Err(IpamError::Flag { flag: fixed_cidr, value: range.to_string(), reason });
    }
    let gateway = match address {
        Some(address) => address.addr(),
        None => first_except(subnet, std::iter::empty())?,
    };
    let mut auxiliary = BTreeMap::new();
    if let Some(default) = default.filter(|&default| default != gateway) {
        check_address("default gateway", default, subnet)
            .map_err(|error| flag(default_name, default.to_string(), error))?;
        auxiliary.insert(key.to_owned(), default);
    }
    let chosen = address.is_some();
    Ok(Subnet {
        subnet,
        gateway,
        ip_range: range.map(IpRange::from),
        auxiliary,
        chosen,
        gateway_chosen: chosen,
    })
}

/// Checks the flags of the default bridge as far as their sense does not depend on the host: with `--bip` all of them,
/// and else whether `--fixed-cidr` can hold addresses of hosts.
///
/// # Errors
/// [`IpamError::Flag`].
pub fn check_default_bridge_flags(settings: &Settings, v6: bool) -> Result<(), IpamError> {
    let Flags { address, range, names: [_, fixed_cidr, _], .. } = Flags::of(settings, v6);
    if address.is_some() {
        return default_bridge_subnet(settings, &HostFacts::default(), &[], v6, &mut Rng::new(0)).map(drop);
    }
    match range.and_then(|range| Some((range, reserved_reason(range)?))) {
        Some((subnet, reason)) => {
            Err(flag(fixed_cidr, subnet.to_string(), IpamError::Reserved { subnet, reason }))
        }
        None => Ok(()),
    }
}

/// The error about the flag of the default bridge whose subnet would take an address or a next hop from the host.
pub fn flag_error(subnet: &Subnet, v6: bool, taken: &LostHostAddress) -> IpamError {
    let Flags { names: [bip, fixed_cidr, _], .. } = Flags::of(&Settings::default(), v6);
    let flag = if subnet.chosen { bip } else { fixed_cidr };
    let value = match IpNet::new(subnet.gateway, subnet.subnet.prefix_len()) {
        Ok(address) if subnet.chosen => address,
        _ => subnet.subnet,
    };
    let reason = format!("{taken}, and the host would lose it: choose another subnet");
    IpamError::Flag { flag, value: value.to_string(), reason }
}

/// The error about a flag.
fn flag(flag: &'static str, value: String, error: IpamError) -> IpamError {
    IpamError::Flag { flag, value, reason: error.to_string() }
}

#[cfg(test)]
mod tests;
