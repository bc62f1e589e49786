//! The subnet of the bridge that exists from the start.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::subnet::{check_address, check_overlap, check_subnet, first_except};
use super::{IpamError, choose};
use crate::Draw;
use crate::model::{HostFacts, Settings, Subnet};

/// The auxiliary address that `--default-gateway` becomes: it is never given to an endpoint, and
/// is the default route of those on the default bridge. Docker calls it the same.
pub const DEFAULT_GATEWAY_KEY: &str = "DefaultGatewayIPv4";

/// Decides the subnet of the default bridge.
///
/// `--bip` is its address and subnet. Without it, it is the first pool that meets nothing, and the
/// bridge has the first address; or `--fixed-cidr` itself, if that pool does not contain it.
/// `--fixed-cidr` is where addresses are given from, and a `--default-gateway` other than the
/// bridge's own address is kept as the auxiliary address [`DEFAULT_GATEWAY_KEY`].
///
/// # Errors
/// [`IpamError::Flag`] for flags that contradict one another, [`IpamError::Overlap`] for a `--bip`
/// that another network has, [`IpamError::Exhausted`] without a free pool.
pub fn default_bridge(
    settings: &Settings,
    host: &HostFacts,
    taken: &[(IpNet, String)],
    draw: &mut Draw,
) -> Result<Subnet, IpamError> {
    let range = settings.fixed_cidr.map(|range| IpNet::V4(range.trunc()));
    let subnet = match (settings.bridge_address, range) {
        (Some(address), _) => {
            let subnet = IpNet::V4(address.trunc());
            let flag = |error| flag("bip", address.to_string(), error);
            check_subnet(subnet).map_err(flag)?;
            check_address("bridge address", address.addr().into(), subnet).map_err(flag)?;
            check_overlap(subnet, taken)?;
            subnet
        }
        (None, None) => choose(settings, host, taken, false, None, draw)?,
        (None, Some(range)) => match choose(settings, host, taken, false, None, draw) {
            Ok(subnet) if subnet.contains(&range) => subnet,
            _ => {
                check_subnet(range).map_err(|error| flag("fixed-cidr", range.to_string(), error))?;
                check_overlap(range, taken)?;
                range
            }
        },
    };
    if let Some(range) = range.filter(|range| !subnet.contains(range)) {
        let reason = format!("it is not within the default bridge's {subnet}: change it or --bip");
        return Err(IpamError::Flag { flag: "fixed-cidr", value: range.to_string(), reason });
    }
    let gateway = match settings.bridge_address {
        Some(address) => address.addr().into(),
        None => first_except(subnet, std::iter::empty())?,
    };
    let mut auxiliary = BTreeMap::new();
    if let Some(default) = settings.default_gateway.map(IpAddr::V4).filter(|&default| default != gateway) {
        check_address("default gateway", default, subnet)
            .map_err(|error| flag("default-gateway", default.to_string(), error))?;
        auxiliary.insert(DEFAULT_GATEWAY_KEY.to_owned(), default);
    }
    Ok(Subnet {
        subnet,
        gateway,
        ip_range: range,
        auxiliary,
        chosen: settings.bridge_address.is_some(),
        gateway_chosen: settings.bridge_address.is_some(),
    })
}

/// Says which flag is to blame.
fn flag(flag: &'static str, value: String, error: IpamError) -> IpamError {
    IpamError::Flag { flag, value, reason: error.to_string() }
}

#[cfg(test)]
mod tests;
