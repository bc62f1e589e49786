//! Matching of requests with published ports by lookups, since both may be many.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Binding;
use crate::world::Refusal;
use crate::world::limit::check_ranges;
use fairway_model::{PortRange, Protocol, Publication, PublishRequest, UnpublishRequest};

const FIRST_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const LAST_ADDRESS: IpAddr = IpAddr::V6(Ipv6Addr::from_bits(u128::MAX));

/// The requests of one `unpublish`, indexed by their given parts.
pub(super) struct Unpublishing<'a> {
    /// The requests with at most one host port and one container port.
    single: HashSet<&'a UnpublishRequest>,
    /// Whether address, host port and container port are given: the combinations that occur in `single`.
    shapes: BTreeSet<[bool; 3]>,
    /// The requests with ranges, which are compared with each port.
    ranges: BTreeSet<&'a UnpublishRequest>,
}

impl<'a> Unpublishing<'a> {
    pub fn of(requests: &'a [UnpublishRequest]) -> Result<Self, Refusal> {
        let single = |range: Option<PortRange>| range.is_none_or(|range| range.len() == 1);
        let is_single = |it: &&UnpublishRequest| single(it.host_ports) && single(it.container_ports);
        let (single, ranges): (Vec<_>, Vec<_>) = requests.iter().partition(is_single);
        let shape = |it: &&UnpublishRequest| {
            [it.host_address.is_some(), it.host_ports.is_some(), it.container_ports.is_some()]
        };
        let shapes = single.iter().map(shape).collect();
        let ranges: BTreeSet<_> = ranges.into_iter().collect();
        check_ranges(ranges.len())?;
        Ok(Self { single: single.into_iter().collect(), shapes, ranges })
    }

    /// The requests that select a published port.
    pub fn meaning(
        &self,
        protocol: Protocol,
        binding: &Binding,
    ) -> impl Iterator<Item = &'a UnpublishRequest> {
        let Binding { address, host_port, container_port } = *binding;
        let single = self.shapes.iter().filter_map(move |[by_address, by_host, by_container]| {
            // A port whose host port is chosen at the next start matches no host port.
            let host_ports = match (by_host, host_port) {
                (true, None) => return None,
                (true, Some(port)) => Some(PortRange::single(port)),
                (false, _) => None,
            };
            let request = UnpublishRequest {
                host_address: by_address.then_some(address),
                host_ports,
                container_ports: by_container.then_some(PortRange::single(container_port)),
                protocol,
            };
            self.single.get(&request).copied()
        });
        let means = move |it: &&UnpublishRequest| it.matches(protocol, address, host_port, container_port);
        single.chain(self.ranges.iter().copied().filter(means))
    }
}

/// A range of container ports: protocol, first port, count.
type Run = (Protocol, u16, usize);

/// The publications that are not yet assigned to a request.
pub(super) struct Decided<'a> {
    by_port: BTreeMap<(Run, u16, IpAddr), &'a Publication>,
    by_address: BTreeSet<(Run, IpAddr, u16)>,
}

impl<'a> Decided<'a> {
    pub fn of(publications: &'a [Publication]) -> Self {
        let mut decided = Self { by_port: BTreeMap::new(), by_address: BTreeSet::new() };
        for publication in publications {
            let (address, ports) = (publication.host_address, publication.host_ports);
            let run = (publication.protocol, publication.container_port, ports.len());
            decided.by_port.insert((run, ports.first, address), publication);
            decided.by_address.insert((run, address, ports.first));
        }
        decided
    }

    /// Takes the publications of a request.
    pub fn claim(&mut self, request: &PublishRequest) -> Vec<Binding> {
        let ports = request.container_ports;
        let run = (request.protocol, ports.first, ports.len());
        let host = request.host_ports.unwrap_or(PortRange { first: 0, last: u16::MAX });
        let spare = host.len().checked_sub(ports.len()).and_then(|spare| u16::try_from(spare).ok());
        let Some(last) = spare.and_then(|spare| host.first.checked_add(spare)) else { return Vec::new() };
        let keys: Vec<(u16, IpAddr)> = match request.host_address {
            Some(address) => {
                let mut found = self.by_address.range((run, address, host.first)..=(run, address, last));
                found.next().map(|(_, address, first)| (*first, *address)).into_iter().collect()
            }
            None => {
                let from = (run, host.first, FIRST_ADDRESS);
                let mut found = self.by_port.range(from..=(run, last, LAST_ADDRESS));
                let Some(((_, first, _), _)) = found.next() else { return Vec::new() };
                let same = self.by_port.range((run, *first, FIRST_ADDRESS)..=(run, *first, LAST_ADDRESS));
                same.map(|((_, first, address), _)| (*first, *address)).collect()
            }
        };
        let mut bindings = Vec::new();
        for (first, address) in keys {
            self.by_address.remove(&(run, address, first));
            let publication = self.by_port.remove(&(run, first, address));
            let pairs = publication.into_iter().flat_map(Publication::pairs);
            bindings.extend(pairs.map(|(host_port, container_port)| Binding {
                address,
                host_port: Some(host_port),
                container_port,
            }));
        }
        bindings
    }
}
