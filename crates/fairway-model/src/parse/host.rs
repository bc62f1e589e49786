//! Addresses, other hosts and name servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::name::{alias, domain, is_name};
use super::{ParseError, name};
use crate::MacAddress;

/// The value of `--add-host` that means the host's address.
pub const HOST_GATEWAY: &str = "host-gateway";

/// Parses an IP address of either family.
///
/// # Errors
/// [`ParseError::Address`].
pub fn address(text: &str) -> Result<IpAddr, ParseError> {
    read("IP address", text, "10.1.2.3 or fd00::3")
}

/// Parses `--ip`.
///
/// # Errors
/// [`ParseError::Address`].
pub fn ipv4(text: &str) -> Result<Ipv4Addr, ParseError> {
    read("IPv4 address", text, "10.1.2.3")
}

/// Parses `--ip6`.
///
/// # Errors
/// [`ParseError::Address`].
pub fn ipv6(text: &str) -> Result<Ipv6Addr, ParseError> {
    read("IPv6 address", text, "fd00::3")
}

/// Parses `--dns`: the unicast address of a name server.
///
/// # Errors
/// [`ParseError::Address`].
pub fn dns_server(text: &str) -> Result<IpAddr, ParseError> {
    let (what, example) = ("DNS server", "10.1.2.3 or fd00::3");
    let address: IpAddr = read(what, text, example)?;
    if address.is_multicast() || address.is_unspecified() {
        return Err(ParseError::Address { what, text: text.to_owned(), example });
    }
    Ok(address)
}

/// Parses `--dns-search`: a domain, or `.` for none.
///
/// # Errors
/// [`ParseError::HostName`].
pub fn dns_search(text: &str) -> Result<String, ParseError> {
    if text == "." {
        return Ok(text.to_owned());
    }
    domain("DNS search domain", text.strip_suffix('.').unwrap_or(text))
}

/// Parses `--dns-opt`: one word of resolv.conf(5).
///
/// # Errors
/// [`ParseError::DnsOption`].
pub fn dns_option(text: &str) -> Result<String, ParseError> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err(ParseError::DnsOption(text.to_owned()))
    }
}

/// Parses `--mac-address`.
///
/// # Errors
/// [`ParseError::Mac`].
pub fn mac(text: &str) -> Result<MacAddress, ParseError> {
    Ok(text.parse()?)
}

/// Parses `--add-host`: `name:address` or `name=address`, an IPv6 address with brackets or without.
/// Returns no address for [`HOST_GATEWAY`].
///
/// # Errors
/// [`ParseError::ExtraHost`], [`ParseError::HostName`] and [`ParseError::Address`].
pub fn add_host(text: &str) -> Result<(String, Option<IpAddr>), ParseError> {
    let (host, value) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .filter(|(host, value)| !host.is_empty() && !value.is_empty())
        .ok_or_else(|| ParseError::ExtraHost(text.to_owned()))?;
    let host = alias(host)?;
    if value == HOST_GATEWAY {
        return Ok((host, None));
    }
    let bracketed = value.strip_prefix('[').and_then(|value| value.strip_suffix(']'));
    let (what, example) = ("IP address in add-host", "10.1.2.3, fd00::3 or host-gateway");
    let address = match bracketed {
        Some(inner) => read::<Ipv6Addr>(what, inner, example).map(IpAddr::V6),
        None => read(what, value, example),
    }?;
    Ok((host, Some(address)))
}

/// Parses `--link`: the name or id of a sandbox, and its alias, which defaults to the name.
/// Docker writes names with a leading `/`.
///
/// # Errors
/// [`ParseError::Link`], [`ParseError::HostName`].
pub fn link(text: &str) -> Result<(String, String), ParseError> {
    let (target, known_as) = text.split_once(':').unwrap_or((text, text));
    let target = target.strip_prefix('/').unwrap_or(target);
    // Docker's records have /SANDBOX/ALIAS as the alias.
    let known_as = known_as.rsplit_once('/').map_or(known_as, |(_, alias)| alias);
    if !is_name(target) {
        return Err(ParseError::Link(text.to_owned()));
    }
    Ok((name(target)?, alias(known_as)?))
}

fn read<T: FromStr>(what: &'static str, text: &str, example: &'static str) -> Result<T, ParseError> {
    text.parse().map_err(|_| ParseError::Address { what, text: text.to_owned(), example })
}
