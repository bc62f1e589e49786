//! The table of names, and the answers to queries.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Convention, NameRecord, NameView, Upstreams};
use fairway_model::{EndpointId, NetworkId, SandboxId};

/// The type of a query: the record types that names of sandboxes have (RFC 1035, RFC 3596).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueryType {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// The name of an address, by a name below `in-addr.arpa` or `ip6.arpa`.
    Ptr,
    /// Another type, which names of sandboxes do not have.
    Other,
}

/// The answer to a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<'table> {
    /// Addresses of the queried family, of the oldest endpoint first.
    Addresses(Vec<IpAddr>),
    /// Names without the final dot.
    Names(Vec<String>),
    /// The name exists and has no record of this type (NODATA, RFC 2308).
    NoData,
    /// The name is not that of a sandbox: forward the query to these servers.
    Forward(&'table Upstreams),
    /// The name is not that of a sandbox, and the querying sandbox has no upstream servers.
    NoUpstream,
    /// The name does not exist (NXDOMAIN, RFC 1035 section 4.1.1).
    NoSuchName,
}

/// An endpoint as the holder of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    order: u64,
    endpoint: EndpointId,
    /// Whether the name is the sandbox's name, and not an alias.
    primary: bool,
    ipv4: Option<Ipv4Addr>,
    ipv6: Option<Ipv6Addr>,
}

/// The names of one network.
#[derive(Debug, Clone, Default)]
struct NetworkNames {
    /// The network's name in lower case, with a dot before it.
    suffix: String,
    /// The network's domain in lower case, with a dot before it.
    domain: Option<String>,
    /// Whether answers have the address of the oldest endpoint only.
    first_only: bool,
    /// The number of endpoints with names.
    members: usize,
    holders: HashMap<String, Vec<Holder>>,
    by_address: HashMap<IpAddr, Vec<EndpointId>>,
}

/// A view with its names in lower case.
#[derive(Debug, Clone)]
struct View {
    view: NameView,
    /// Network, alias, name of the target sandbox.
    links: Vec<(NetworkId, String, String)>,
}

/// The names of all networks, and the views of all sandboxes.
///
/// The cost of an answer depends on the networks and links of the querying sandbox and on the number of
/// endpoints with the name.
#[derive(Debug, Clone, Default)]
pub struct NameTable {
    records: HashMap<EndpointId, NameRecord>,
    networks: HashMap<NetworkId, NetworkNames>,
    views: HashMap<SandboxId, View>,
    by_source: HashMap<IpAddr, SandboxId>,
}

impl NameTable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the names of an endpoint, and replaces earlier ones.
    pub fn insert(&mut self, record: NameRecord) {
        self.remove(record.endpoint);
        let network = self.networks.entry(record.network).or_default();
        network.add(&record);
        self.records.insert(record.endpoint, record);
    }

    /// Removes the names of an endpoint; `None` if it had none.
    pub fn remove(&mut self, endpoint: EndpointId) -> Option<NameRecord> {
        let record = self.records.remove(&endpoint)?;
        if let Some(network) = self.networks.get_mut(&record.network) {
            network.forget(&record);
            if network.members == 0 {
                self.networks.remove(&record.network);
            }
        }
        Some(record)
    }

    /// Sets the view of a sandbox.
    pub fn set_view(&mut self, view: NameView) {
        self.remove_view(view.sandbox);
        if let Some(source) = view.source {
            self.by_source.insert(source, view.sandbox);
        }
        let links = view
            .links
            .iter()
            .map(|(network, alias, target)| (*network, folded(alias), folded(target)))
            .collect();
        self.views.insert(view.sandbox, View { view, links });
    }

    /// Removes the view of a sandbox, which then gets no answers.
    pub fn remove_view(&mut self, sandbox: SandboxId) -> Option<NameView> {
        let view = self.views.remove(&sandbox)?.view;
        if let Some(source) = view.source
            && self.by_source.get(&source) == Some(&sandbox)
        {
            self.by_source.remove(&source);
        }
        Some(view)
    }

    /// The sandbox that queries a shared resolver from this address.
    pub fn sandbox_at(&self, source: IpAddr) -> Option<SandboxId> {
        self.by_source.get(&source).copied()
    }

    /// The names of an endpoint.
    pub fn record(&self, endpoint: EndpointId) -> Option<&NameRecord> {
        self.records.get(&endpoint)
    }

    /// The view of a sandbox.
    pub fn view(&self, sandbox: SandboxId) -> Option<&NameView> {
        self.views.get(&sandbox).map(|view| &view.view)
    }

    /// All records, in any order.
    pub fn records(&self) -> impl Iterator<Item = &NameRecord> {
        self.records.values()
    }

    /// All views, in any order.
    pub fn views(&self) -> impl Iterator<Item = &NameView> {
        self.views.values().map(|view| &view.view)
    }

    /// The TTL of answers to a sandbox, in seconds.
    pub fn ttl(&self, sandbox: SandboxId) -> u32 {
        self.views.get(&sandbox).map_or(0, |view| view.view.convention.ttl())
    }

    /// Answers a query of a sandbox.
    ///
    /// `name` is in lower case, its labels joined by dots, without a final dot.
    pub fn answer(&self, sandbox: SandboxId, name: &str, kind: QueryType) -> Answer<'_> {
        let Some(view) = self.views.get(&sandbox) else { return Answer::NoUpstream };
        // Queries about names of sandboxes are not forwarded, for any type.
        let ours = self.forward(view, name, kind).or_else(|| self.reverse(&view.view, name, kind));
        ours.unwrap_or_else(|| match (&view.view.convention, &view.view.upstreams) {
            (Convention::Podman { domain: Some(domain) }, _) if is_within(name, domain) => Answer::NoSuchName,
            _ if self.is_in_domain(&view.view, name) => Answer::NoSuchName,
            (Convention::Podman { .. }, Upstreams::None) => Answer::NoSuchName,
            (Convention::Docker, Upstreams::None) => Answer::NoUpstream,
            (_, upstreams) => Answer::Forward(upstreams),
        })
    }

    /// Whether a name is below the domain of one of the sandbox's networks: such names are in no other place.
    fn is_in_domain(&self, view: &NameView, name: &str) -> bool {
        let mut domains =
            view.networks.iter().filter_map(|network| self.networks.get(network)?.domain.as_ref());
        domains.any(|domain| name.ends_with(domain.as_str()))
    }

    fn forward(&self, view: &View, name: &str, kind: QueryType) -> Option<Answer<'static>> {
        let holders = self.linked(view, name).or_else(|| self.shared(view, name))?;
        let addresses: Vec<IpAddr> = holders
            .iter()
            .filter_map(|holder| match kind {
                QueryType::A => holder.ipv4.map(IpAddr::V4),
                QueryType::Aaaa => holder.ipv6.map(IpAddr::V6),
                _ => None,
            })
            .collect();
        Some(if addresses.is_empty() { Answer::NoData } else { Answer::Addresses(addresses) })
    }

    /// The holders by the sandbox's links, which take precedence over the names of networks.
    fn linked(&self, view: &View, name: &str) -> Option<Vec<&Holder>> {
        let mut found = Vec::new();
        for (network, alias, target) in &view.links {
            if !view.view.networks.contains(network) {
                continue;
            }
            let Some(names) = self.networks.get(network) else { continue };
            if !names.spellings(name).any(|spelling| spelling == alias) {
                continue;
            }
            // Only the sandbox of that name: an alias of another sandbox must not match the link.
            found.extend(names.holders.get(target).into_iter().flatten().filter(|holder| holder.primary));
        }
        in_order(found)
    }

    /// The holders on the sandbox's networks.
    fn shared(&self, view: &View, name: &str) -> Option<Vec<&Holder>> {
        let mut found = Vec::new();
        for network in &view.view.networks {
            let Some(names) = self.networks.get(network) else { continue };
            found.extend(names.spellings(name).flat_map(|spelling| names.answering(spelling)));
        }
        in_order(found)
    }

    fn reverse(&self, view: &NameView, name: &str, kind: QueryType) -> Option<Answer<'static>> {
        let address = reverse_address(name)?;
        let names: Vec<String> = view
            .networks
            .iter()
            .filter_map(|network| self.networks.get(network)?.by_address.get(&address))
            .flatten()
            .filter_map(|endpoint| {
                let record = self.records.get(endpoint)?;
                Some(match &view.convention {
                    Convention::Docker => {
                        vec![format!("{}.{}", record.names.first()?, record.network_name)]
                    }
                    Convention::Podman { .. } => record.names.clone(),
                })
            })
            .flatten()
            .collect();
        if names.is_empty() {
            return None;
        }
        Some(if kind == QueryType::Ptr { Answer::Names(names) } else { Answer::NoData })
    }
}

impl NetworkNames {
    /// A name as it is, and without the network's name and domain behind it.
    fn spellings<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let suffixes = [Some(&self.suffix), self.domain.as_ref()].into_iter().flatten();
        [name].into_iter().chain(suffixes.filter_map(|suffix| name.strip_suffix(suffix.as_str())))
    }

    /// The holders of a name that are in the answer, oldest first.
    fn answering(&self, name: &str) -> impl Iterator<Item = &Holder> {
        let most = if self.first_only { 1 } else { usize::MAX };
        self.holders.get(name).into_iter().flatten().take(most)
    }

    fn add(&mut self, record: &NameRecord) {
        self.members += 1;
        self.first_only = record.first_only;
        self.suffix = format!(".{}", folded(&record.network_name));
        self.domain = record.domain.as_ref().map(|domain| format!(".{}", folded(domain)));
        for (place, name) in record.names.iter().enumerate() {
            let holders = self.holders.entry(folded(name)).or_default();
            // A sandbox may have its own name as an alias too; the first one applies.
            if holders.iter().any(|holder| holder.endpoint == record.endpoint) {
                continue;
            }
            let at = holders.partition_point(|holder| holder.order <= record.order);
            let holder = Holder {
                order: record.order,
                endpoint: record.endpoint,
                primary: place == 0,
                ipv4: record.ipv4,
                ipv6: record.ipv6,
            };
            holders.insert(at, holder);
        }
        for address in addresses(record) {
            self.by_address.entry(address).or_default().push(record.endpoint);
        }
    }

    fn forget(&mut self, record: &NameRecord) {
        self.members -= 1;
        for name in &record.names {
            let name = folded(name);
            if let Some(holders) = self.holders.get_mut(&name) {
                holders.retain(|holder| holder.endpoint != record.endpoint);
                if holders.is_empty() {
                    self.holders.remove(&name);
                }
            }
        }
        for address in addresses(record) {
            if let Some(endpoints) = self.by_address.get_mut(&address) {
                endpoints.retain(|endpoint| *endpoint != record.endpoint);
                if endpoints.is_empty() {
                    self.by_address.remove(&address);
                }
            }
        }
    }
}

/// Whether a name is a domain or below it. Both are in lower case.
fn is_within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn addresses(record: &NameRecord) -> impl Iterator<Item = IpAddr> {
    record.ipv4.map(IpAddr::V4).into_iter().chain(record.ipv6.map(IpAddr::V6))
}

/// Names are compared without ASCII case (RFC 4343) and without the final dot.
fn folded(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Sorts holders by the order of connection and removes duplicates; `None` if there are none.
fn in_order(mut holders: Vec<&Holder>) -> Option<Vec<&Holder>> {
    holders.sort_by_key(|holder| (holder.order, holder.endpoint));
    holders.dedup_by_key(|holder| holder.endpoint);
    if holders.is_empty() { None } else { Some(holders) }
}

/// The address in a name such as `2.0.17.172.in-addr.arpa` (RFC 1035 section 3.5) or one of 32
/// nibbles below `ip6.arpa` (RFC 3596 section 2.5).
fn reverse_address(name: &str) -> Option<IpAddr> {
    if let Some(parts) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0; 4];
        let mut labels = parts.split('.');
        for octet in octets.iter_mut().rev() {
            *octet = labels.next()?.parse().ok()?;
        }
        return labels.next().is_none().then(|| IpAddr::V4(Ipv4Addr::from(octets)));
    }
    let parts = name.strip_suffix(".ip6.arpa")?;
    let mut bits: u128 = 0;
    let mut labels = parts.split('.');
    for shift in (0..128).step_by(4) {
        let label = labels.next()?;
        if label.len() != 1 {
            return None;
        }
        bits |= u128::from(u8::from_str_radix(label, 16).ok()?) << shift;
    }
    labels.next().is_none().then(|| IpAddr::V6(Ipv6Addr::from(bits)))
}

#[cfg(test)]
mod tests;
