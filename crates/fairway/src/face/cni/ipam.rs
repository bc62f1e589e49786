//! The addresses of a network and of a container on it: of the daemon, or of an IPAM plugin.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fairway_api::types::IpamConfig;
use ipnet::IpNet;

use super::configuration::{Configuration, Dns, Ipam, Range, Route};
use super::error::Error;
use super::result::Outcome;

/// What is known of addresses before the container is attached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addressing {
    /// The subnets; none leaves their choice to the daemon.
    pub subnets: Vec<Subnet>,
    /// The addresses that the container gets, at most one of each family; the daemon chooses the others.
    pub addresses: Vec<IpAddr>,
    /// The routes of the container.
    pub routes: Vec<Route>,
    /// Name servers that came with the addresses.
    pub dns: Dns,
}

/// A subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// The subnet, host bits zero.
    pub subnet: IpNet,
    /// The gateway.
    pub gateway: IpAddr,
    /// The addresses for containers, as `FIRST-LAST` or as a prefix; empty for all.
    pub range: String,
}

impl Subnet {
    /// The subnet as the daemon's API has it.
    pub fn configuration(&self) -> IpamConfig {
        IpamConfig {
            subnet: self.subnet.to_string(),
            ip_range: self.range.clone(),
            gateway: self.gateway.to_string(),
            auxiliary_addresses: BTreeMap::new(),
        }
    }
}

impl Addressing {
    /// What the configuration says where the daemon manages the addresses.
    ///
    /// # Errors
    /// Names the key that cannot be read, or that the daemon cannot have.
    pub fn built_in(configuration: &Configuration, requested: &[IpAddr]) -> Result<Self, Error> {
        let ipam = configuration.ipam.clone().unwrap_or_default();
        let mut sets = configuration.runtime_config.ip_ranges.clone();
        let Ipam { subnet, range_start, range_end, gateway, .. } = ipam;
        let range = Range { subnet, range_start, range_end, gateway };
        if range != Range::default() {
            sets.push(vec![range]);
        }
        sets.extend(ipam.ranges);
        let mut subnets: Vec<Subnet> = Vec::new();
        for set in &sets {
            let subnet = of_set(set)?;
            if subnets.contains(&subnet) {
                continue;
            }
            if let Some(other) = subnets.iter().find(|other| same_family(other, &subnet)) {
                let reason = format!(
                    "{} and {} are of one address family, and a container has one address of each: keep one, or give the container a second network",
                    other.subnet, subnet.subnet
                );
                return Err(Error::Unsupported { key: "ranges".to_owned(), reason });
            }
            subnets.push(subnet);
        }
        let mut addresses: Vec<IpAddr> = configuration.requested()?;
        addresses.extend(requested);
        Ok(Self { subnets, addresses: one_of_each(addresses)?, routes: ipam.routes, dns: Dns::default() })
    }

    /// What an IPAM plugin gave.
    ///
    /// # Errors
    /// The daemon cannot have these addresses.
    pub fn of_plugin(given: Outcome) -> Result<Self, Error> {
        let mut subnets = Vec::new();
        let mut addresses = Vec::new();
        for ip in given.ips {
            let invalid = |_| Error::Invalid(format!("the IPAM plugin gave the address {:?}", ip.address));
            let net: IpNet = ip.address.parse().map_err(invalid)?;
            addresses.push(net.addr());
            let subnet = net.trunc();
            let gateway = match ip.gateway.as_str() {
                "" => first_host(subnet),
                text => address("gateway", text)?,
            };
            subnets.push(Subnet { subnet, gateway, range: String::new() });
        }
        if addresses.is_empty() {
            return Err(Error::Invalid("the IPAM plugin gave no address".to_owned()));
        }
        Ok(Self { subnets, addresses: one_of_each(addresses)?, routes: given.routes, dns: given.dns })
    }

    /// With the name servers of the file that the configuration names (`resolvConf`).
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn with_name_servers(self, configuration: &Configuration) -> Result<Self, Error> {
        let path = configuration.ipam.as_ref().map_or("", |ipam| ipam.resolv_conf.as_str());
        // A plugin that manages the addresses has read it.
        if path.is_empty() || configuration.delegate().is_some() {
            return Ok(self);
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::Invalid(format!("cannot read resolvConf {path}: {error}")))?;
        Ok(Self { dns: resolv_conf(&text), ..self })
    }

    /// The gateway of a family.
    pub fn gateway(&self, ipv4: bool) -> Option<IpAddr> {
        let found = self.subnets.iter().find(|subnet| subnet.subnet.addr().is_ipv4() == ipv4);
        found.map(|subnet| subnet.gateway)
    }

    /// Whether the network has a family, as far as the configuration decides it.
    pub fn enables(&self, ipv4: bool) -> Option<bool> {
        match self.subnets.is_empty() {
            true => None,
            false => Some(self.gateway(ipv4).is_some()),
        }
    }
}

/// The name servers in the text of a resolv.conf(5).
fn resolv_conf(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => dns.nameservers.extend(words.next()),
            Some("domain") => dns.domain = words.next().unwrap_or_default(),
            Some("search") => dns.search = words.collect(),
            Some("options") => dns.options.extend(words),
            _ => {}
        }
    }
    dns
}

fn same_family(one: &Subnet, other: &Subnet) -> bool {
    one.subnet.addr().is_ipv4() == other.subnet.addr().is_ipv4()
}

/// The addresses without repetitions.
fn one_of_each(mut addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, Error> {
    addresses.sort_unstable();
    addresses.dedup();
    let pair = addresses.windows(2).find(|pair| pair[0].is_ipv4() == pair[1].is_ipv4());
    match pair {
        Some(pair) => Err(Error::Unsupported {
            key: "ips".to_owned(),
            reason: format!(
                "{} and {} are of one address family, and a container has one address of each: keep one, or give the container a second network",
                pair[0], pair[1]
            ),
        }),
        None => Ok(addresses),
    }
}

fn of_set(set: &[Range]) -> Result<Subnet, Error> {
    match set {
        [] => Err(Error::Invalid("ranges: a set is empty".to_owned())),
        [range] => of_range(range),
        [first, rest @ ..] if rest.iter().all(|range| range == first) => of_range(first),
        _ => Err(Error::Unsupported {
            key: "ranges".to_owned(),
            reason: "a set has several ranges, and a network has one of each address family: keep one"
                .to_owned(),
        }),
    }
}

fn of_range(range: &Range) -> Result<Subnet, Error> {
    let text = &range.subnet;
    let invalid = |reason: &str| Error::Invalid(format!("invalid subnet {text:?}: {reason}"));
    let subnet: IpNet = text.parse().map_err(|_| invalid("a prefix such as 10.22.0.0/16 is expected"))?;
    if subnet != subnet.trunc() {
        return Err(invalid(&format!("it should be {}", subnet.trunc())));
    }
    let gateway = match range.gateway.as_str() {
        "" => first_host(subnet),
        text => address("gateway", text)?,
    };
    let bound = |key: &str, text: &str, default: IpAddr| match text {
        "" => Ok(default),
        text => match address(key, text)? {
            address if subnet.contains(&address) => Ok(address),
            address => Err(Error::Invalid(format!("{key} {address} is not in subnet {subnet}"))),
        },
    };
    let first = bound("rangeStart", &range.range_start, first_host(subnet))?;
    let last = bound("rangeEnd", &range.range_end, last_host(subnet))?;
    if first > last {
        return Err(Error::Invalid(format!("rangeStart {first} is above rangeEnd {last}")));
    }
    let whole = (range.range_start.as_str(), range.range_end.as_str()) == ("", "");
    let range = if whole { String::new() } else { range_text(first, last) };
    Ok(Subnet { subnet, gateway, range })
}

fn address(key: &str, text: &str) -> Result<IpAddr, Error> {
    text.parse().map_err(|_| Error::Invalid(format!("invalid {key} {text:?}: an address is expected")))
}

/// A range as a prefix, if it is one, else as `FIRST-LAST`.
fn range_text(first: IpAddr, last: IpAddr) -> String {
    let bits = if first.is_ipv4() { 32 } else { 128 };
    let prefixes = (0..=bits).filter_map(|length| IpNet::new(first, length).ok());
    let mut exact = prefixes.filter(|net| net.network() == first && net.broadcast() == last);
    exact.next().map_or_else(|| format!("{first}-{last}"), |net| net.to_string())
}

/// The first address for hosts: the one after that of the subnet.
fn first_host(subnet: IpNet) -> IpAddr {
    match subnet.network() {
        IpAddr::V4(network) if subnet.prefix_len() < 31 => (u32::from(network) + 1).to_be_bytes().into(),
        IpAddr::V6(network) if subnet.prefix_len() < 127 => (u128::from(network) + 1).to_be_bytes().into(),
        network => network,
    }
}

/// The last address for hosts: of IPv4 the one before the broadcast address.
fn last_host(subnet: IpNet) -> IpAddr {
    match subnet.broadcast() {
        IpAddr::V4(last) if subnet.prefix_len() < 31 => (u32::from(last) - 1).to_be_bytes().into(),
        last => last,
    }
}

#[cfg(test)]
mod tests;
