//! What the relay serves for a directory of network files: names, views by source address, and resolvers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use fairway_core::names::{Convention, NameRecord, NameView, Upstreams};
use fairway_model::{EndpointId, NameServer, NetworkId, SandboxId};
use fairway_relay::table::{Record, RecordKey};

use super::network_file::{Container, Network};

/// The port of name servers.
const DNS: u16 = 53;

/// The settings of all networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// The port to listen at.
    pub port: u16,
    /// The search domain, without dots at its ends; empty for none.
    pub domain: String,
    /// Whether queries about other names are forwarded.
    pub forwards: bool,
    /// The host's name servers.
    pub host_servers: Vec<NameServer>,
}

impl Settings {
    /// A search domain as the relay compares it, of the text of a flag.
    pub fn domain(text: &str) -> String {
        text.trim_matches('.').to_lowercase()
    }
}

/// The relay's records for a directory, and the numbers that identify its networks and order its containers. A later
/// table keeps them, so that a file that changes causes few changes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Table {
    /// The records.
    pub records: BTreeMap<RecordKey, Record>,
    networks: BTreeMap<String, u64>,
    last: u64,
}

/// Identifiers in the relay are random bytes elsewhere; here each kind begins with a byte of its own.
#[derive(Clone, Copy)]
enum Kind {
    Network = 1,
    Endpoint,
    Source,
    Others,
}

impl Table {
    /// The table of these networks, which follows this one.
    pub fn next(&self, networks: &[Network], settings: &Settings) -> Self {
        let mut next = Self { last: self.last, ..Self::default() };
        for network in networks {
            let number = match self.networks.get(&network.name).or(next.networks.get(&network.name)) {
                Some(number) => *number,
                None => next.number(),
            };
            next.networks.insert(network.name.clone(), number);
            next.add_names(self, network, number, &settings.domain);
        }
        next.add_views(networks, settings);
        let servers = settings.host_servers.clone();
        next.insert(Record::HostServers(usable(servers, &listeners(networks, settings))));
        next
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn insert(&mut self, record: Record) {
        self.records.insert(record.key(), record);
    }

    fn add_names(&mut self, before: &Self, network: &Network, number: u64, domain: &str) {
        for container in &network.file.containers {
            for place in 0..container.ipv4.len().max(container.ipv6.len()) {
                let (ipv4, ipv6) = (container.ipv4.get(place).copied(), container.ipv6.get(place).copied());
                let Some(address) = ipv4.map(IpAddr::V4).or(ipv6.map(IpAddr::V6)) else { continue };
                let (endpoint, earlier) = self.free_endpoint(before, number, address);
                let order = earlier.unwrap_or_else(|| self.number());
                self.insert(Record::Names(NameRecord {
                    endpoint,
                    network: network_id(number),
                    network_name: domain.to_owned(),
                    domain: None,
                    order,
                    names: container.names.clone(),
                    first_only: false,
                    ipv4,
                    ipv6,
                }));
            }
        }
    }

    /// An identifier for an address on a network, with the order that it has in the table before. A container that
    /// is gone may have left its line, so several may have an address.
    fn free_endpoint(&self, before: &Self, number: u64, address: IpAddr) -> (EndpointId, Option<u64>) {
        let mut ordinal: u32 = 0;
        loop {
            let endpoint = endpoint_id(number, address, ordinal);
            let key = RecordKey::Names(endpoint);
            if !self.records.contains_key(&key) {
                let order = match before.records.get(&key) {
                    Some(Record::Names(record)) => Some(record.order),
                    _ => None,
                };
                return (endpoint, order);
            }
            ordinal += 1;
        }
    }

    fn add_views(&mut self, networks: &[Network], settings: &Settings) {
        let listeners = listeners(networks, settings);
        let domain = Some(settings.domain.clone()).filter(|domain| !domain.is_empty());
        let convention = Convention::Podman { domain };
        let mut sources = sources(networks);
        for network in networks {
            for address in &network.file.listen {
                // The host queries from the address that it queries. What else is on the network is no container.
                sources.entry(*address).or_default().add(network, &[], true);
                let forwards = settings.forwards && !network.internal;
                let others = id(Kind::Others, &address_bytes(*address));
                let view = NameView {
                    sandbox: SandboxId::new(others),
                    networks: self.networks.get(&network.name).copied().map(network_id).into_iter().collect(),
                    links: Vec::new(),
                    upstreams: if forwards { Upstreams::Host } else { Upstreams::None },
                    convention: convention.clone(),
                    source: None,
                };
                let address = SocketAddr::new(*address, settings.port);
                self.insert(Record::SharedResolver { address, others: view.sandbox });
                self.insert(Record::View(view));
            }
        }
        for (address, source) in sources {
            let networks = source.networks.iter().filter_map(|name| self.networks.get(*name));
            let view = NameView {
                sandbox: SandboxId::new(id(Kind::Source, &address_bytes(address))),
                networks: networks.copied().map(network_id).collect(),
                links: Vec::new(),
                upstreams: source.upstreams(settings.forwards, &listeners),
                convention: convention.clone(),
                source: Some(address),
            };
            self.insert(Record::View(view));
        }
    }
}

/// What applies to queries from one address.
#[derive(Debug, Default)]
struct Source<'a> {
    networks: BTreeSet<&'a str>,
    /// Whether a network of it is not internal.
    forwards: bool,
    own_servers: Vec<IpAddr>,
    network_servers: Vec<IpAddr>,
}

impl<'a> Source<'a> {
    fn add(&mut self, network: &'a Network, own_servers: &[IpAddr], forwards: bool) {
        self.networks.insert(&network.name);
        if forwards {
            self.forwards = true;
            self.own_servers.extend(own_servers);
        }
    }

    fn upstreams(&self, forwards: bool, listeners: &BTreeSet<IpAddr>) -> Upstreams {
        if !(forwards && self.forwards) {
            return Upstreams::None;
        }
        let chosen = if self.own_servers.is_empty() { &self.network_servers } else { &self.own_servers };
        let servers = usable(chosen.iter().map(|address| NameServer::from(*address)).collect(), listeners);
        if servers.is_empty() { Upstreams::Host } else { Upstreams::Servers(servers) }
    }
}

/// The sources of queries: all addresses of containers, each with all networks of its containers.
fn sources(networks: &[Network]) -> BTreeMap<IpAddr, Source<'_>> {
    let mut containers: BTreeMap<&str, Vec<(&Network, &Container)>> = BTreeMap::new();
    for network in networks {
        for container in &network.file.containers {
            containers.entry(&container.id).or_default().push((network, container));
        }
    }
    let mut sources: BTreeMap<IpAddr, Source<'_>> = BTreeMap::new();
    for memberships in containers.values() {
        let addresses = memberships.iter().flat_map(|(_, container)| {
            let ipv4 = container.ipv4.iter().copied().map(IpAddr::V4);
            ipv4.chain(container.ipv6.iter().copied().map(IpAddr::V6))
        });
        for address in addresses {
            let source = sources.entry(address).or_default();
            for (network, container) in memberships {
                source.add(network, &container.servers, !network.internal);
                if !network.internal {
                    source.network_servers.extend(&network.file.servers);
                }
            }
        }
    }
    sources
}

/// The addresses of the resolvers that other programs query as name servers.
fn listeners(networks: &[Network], settings: &Settings) -> BTreeSet<IpAddr> {
    let all = networks.iter().flat_map(|network| network.file.listen.iter().copied());
    all.filter(|_| settings.port == DNS).collect()
}

/// The name servers without repetitions and without our own resolvers, which would query themselves.
fn usable(servers: Vec<NameServer>, listeners: &BTreeSet<IpAddr>) -> Vec<NameServer> {
    let mut seen = BTreeSet::new();
    let others = servers.into_iter().filter(|server| !listeners.contains(&server.address));
    others.filter(|server| seen.insert(*server)).collect()
}

fn network_id(number: u64) -> NetworkId {
    NetworkId::new(id(Kind::Network, &number.to_be_bytes()))
}

fn endpoint_id(number: u64, address: IpAddr, ordinal: u32) -> EndpointId {
    let bytes = [&number.to_be_bytes()[..], &address_bytes(address), &ordinal.to_be_bytes()].concat();
    EndpointId::new(id(Kind::Endpoint, &bytes))
}

/// The family and the bytes of an address: different for different addresses.
fn address_bytes(address: IpAddr) -> [u8; 17] {
    let mut bytes = [0; 17];
    let octets = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => {
            bytes[0] = 6;
            address.octets()
        }
    };
    bytes[1..].copy_from_slice(&octets);
    bytes
}

/// An identifier of a kind, which ends with these bytes; at most 31.
fn id(kind: Kind, bytes: &[u8]) -> [u8; 32] {
    let mut id = [0; 32];
    id[0] = kind as u8;
    for (place, byte) in id[1..].iter_mut().zip(bytes) {
        *place = *byte;
    }
    id
}

#[cfg(test)]
mod tests;
