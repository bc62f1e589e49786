//! Matching of gateways, ranges and auxiliary addresses with subnets.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::IpamError;
use fairway_model::address_range::overlap;
use fairway_model::parse::expected_message;
use fairway_model::{IpRange, ParseIpRangeError, SubnetRequest};

/// Matches the values of `--subnet`, `--gateway`, `--ip-range` and `--aux-address` (`name=address`), in any order and of
/// both families: each belongs to the subnet that contains it, as in the docker client.
/// [`allocate_subnets`](super::allocate_subnets) checks the result.
///
/// # Errors
/// A text that cannot be parsed, a value that no subnet contains, two values of a kind for one subnet, and overlapping
/// subnets, in the docker client's words.
pub fn match_subnets(
    subnets: &[String],
    gateways: &[String],
    ranges: &[String],
    auxiliary: &[String],
) -> Result<Vec<SubnetRequest>, IpamError> {
    if subnets.is_empty() && !(gateways.is_empty() && ranges.is_empty()) {
        return Err(IpamError::MoreThanSubnets);
    }
    let mut matched: Vec<(IpNet, SubnetRequest)> = Vec::new();
    for text in subnets {
        let subnet = read_subnet("subnet", text, "10.1.0.0/24")?;
        let unsized_address = subnet.addr().is_unspecified();
        if let Some(&(first, _)) =
            matched.iter().find(|(other, _)| !unsized_address && overlap(*other, subnet))
        {
            return Err(IpamError::SubnetsOverlap { first, second: subnet });
        }
        matched.push((subnet, SubnetRequest { subnet: Some(subnet), ..SubnetRequest::default() }));
    }
    for text in ranges {
        let range = read_range(text)?;
        let (subnet, request) = find("range", text, &mut matched, |subnet| range.is_within(*subnet))?;
        if let Some(first) = request.ip_range.filter(|first| *first != range) {
            return Err(multiple("ranges", first.to_string(), range.to_string(), subnet));
        }
        request.ip_range = Some(range);
    }
    for text in gateways {
        let gateway: IpAddr = read("gateway", text, "an IP address")?;
        let (subnet, request) = find("gateway", text, &mut matched, |subnet| subnet.contains(&gateway))?;
        if let Some(first) = request.gateway.filter(|first| *first != gateway) {
            return Err(multiple("gateways", first.to_string(), gateway.to_string(), subnet));
        }
        request.gateway = Some(gateway);
    }
    for text in auxiliary {
        let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
        let Some((name, value)) = pair else {
            return Err(unreadable("aux-address", text, "name=address is expected".to_owned()));
        };
        let address: IpAddr = read("aux-address", value, "an IP address")?;
        let (_, request) = find("aux-address", value, &mut matched, |subnet| subnet.contains(&address))?;
        request.auxiliary.insert(name.to_owned(), address);
    }
    Ok(matched.into_iter().map(|(_, request)| request).collect())
}

fn read_subnet(what: &'static str, text: &str, example: &str) -> Result<IpNet, IpamError> {
    let expected = format!("an address and a prefix length ({example})");
    text.parse().map_err(|_| unreadable(what, text, expected_message(text, &expected)))
}

fn read_range(text: &str) -> Result<IpRange, IpamError> {
    text.parse().map_err(|error: ParseIpRangeError| match error {
        ParseIpRangeError::Shape => {
            let expected =
                "an address and a prefix length (10.1.0.128/25), or two addresses (10.1.0.10-10.1.0.50),";
            unreadable("ip-range", text, expected_message(text, expected))
        }
        other => unreadable("ip-range", text, other.to_string()),
    })
}

fn read<T: FromStr>(what: &'static str, text: &str, expected: &str) -> Result<T, IpamError> {
    text.parse().map_err(|_| unreadable(what, text, format!("{expected} is expected")))
}

fn unreadable(what: &'static str, text: &str, reason: String) -> IpamError {
    IpamError::Unreadable { what, text: text.to_owned(), reason }
}

fn multiple(what: &'static str, first: String, second: String, subnet: IpNet) -> IpamError {
    IpamError::Multiple { what, first, second, subnet }
}

/// The request of the first subnet that `fits`.
fn find<'a>(
    what: &'static str,
    value: &str,
    matched: &'a mut [(IpNet, SubnetRequest)],
    fits: impl Fn(&IpNet) -> bool,
) -> Result<(IpNet, &'a mut SubnetRequest), IpamError> {
    matched
        .iter_mut()
        .find(|(subnet, _)| fits(subnet))
        .map(|(subnet, request)| (*subnet, request))
        .ok_or_else(|| IpamError::NoMatch { what, value: value.to_owned() })
}

#[cfg(test)]
mod tests;
