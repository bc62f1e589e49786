//! Allocation of host ports, in time proportional to the number of ports.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::Gateways;
use crate::world::port_claims::PortClaims;
use crate::world::{Refusal, World};
use fairway_model::Rng;
use fairway_model::{PortRange, Protocol, Publication, PublishRequest, Sandbox};

/// The ephemeral ports where the host's are unknown: IANA's dynamic ports (RFC 6335, section 6).
const EPHEMERAL_PORTS: (u16, u16) = (49_153, 65_535);

/// Taken ports, each with the next port that may be free, so that requests on the same range do not check a taken port
/// again.
#[derive(Debug, Default)]
struct Passed(HashMap<u32, u32>);

impl Passed {
    /// The first port of `range` that is free, if there is one.
    fn first_free(&mut self, range: PortRange, is_free: impl Fn(u16) -> bool) -> Option<u16> {
        let (mut next, mut walked) = (u32::from(range.first), Vec::new());
        let found = loop {
            let port = u16::try_from(next).ok().filter(|port| *port <= range.last);
            let Some(port) = port else { break None };
            let behind = match self.0.get(&next) {
                Some(behind) => *behind,
                None if is_free(port) => break Some(port),
                None => next + 1,
            };
            walked.push(next);
            next = behind;
        };
        for passed in walked {
            self.0.insert(passed, next);
        }
        found
    }
}

/// The allocation of publications for requests.
pub(super) struct Choice<'a> {
    world: &'a World,
    sandbox: &'a Sandbox,
    gateways: Gateways,
    avoid: HashSet<u16>,
    decided: Vec<Publication>,
    /// The number of publications from before.
    before: usize,
    /// The host ports of `decided`, each with its index there.
    own: PortClaims<usize>,
    /// The host ports of the new publications, also of those without NAT, each with its index in `decided`.
    asked: HashMap<(Protocol, u16, IpAddr), usize>,
    passed: HashMap<(Protocol, Vec<IpAddr>), Passed>,
}

impl<'a> Choice<'a> {
    /// Starts with the publications in `decided`. Ports in `avoid` are not chosen as random ports.
    pub fn new(world: &'a World, sandbox: &'a Sandbox, avoid: &[u16], decided: Vec<Publication>) -> Self {
        let mut own = PortClaims::default();
        decided.iter().enumerate().for_each(|(place, publication)| own.claim(publication, place));
        Self {
            world,
            sandbox,
            gateways: world.gateways(sandbox),
            avoid: avoid.iter().copied().collect(),
            before: decided.len(),
            decided,
            own,
            asked: HashMap::new(),
            passed: HashMap::new(),
        }
    }

    pub fn decided(&self) -> &[Publication] {
        &self.decided
    }

    pub fn into_decided(self) -> Vec<Publication> {
        self.decided
    }

    /// The name of the sandbox that publishes a port already: another sandbox, or this one by an earlier request.
    fn holder(&self, protocol: Protocol, port: u16, address: IpAddr) -> Option<&str> {
        if self.own.holder(protocol, port, address).is_some() {
            return Some(&self.sandbox.name);
        }
        let other = self.world.index.ports.holder(protocol, port, address)?;
        let other = self.world.sandbox(other).filter(|other| other.id != self.sandbox.id)?;
        Some(&other.name)
    }

    /// Whether an earlier request of the same command publishes the same ports at an address: a repeated request is no
    /// conflict.
    fn asked_twice(&self, request: &PublishRequest, host: PortRange, address: IpAddr) -> bool {
        let place = self.asked.get(&(request.protocol, host.first, address));
        place.and_then(|place| self.decided.get(*place)).is_some_and(|earlier| {
            let offset = host.first.checked_sub(earlier.host_ports.first);
            earlier.host_ports.contains(host.last)
                && offset.and_then(|offset| earlier.container_port.checked_add(offset))
                    == Some(request.container_ports.first)
        })
    }

    /// The address of an earlier request of the same command that a port conflicts with.
    fn own_conflict(&self, protocol: Protocol, port: u16, address: IpAddr) -> Option<IpAddr> {
        let place = self.own.holder(protocol, port, address).filter(|place| *place >= self.before)?;
        self.decided.get(place).map(|earlier| earlier.host_address)
    }

    fn free(&self, protocol: Protocol, port: u16, addresses: &[IpAddr]) -> bool {
        !self.avoid.contains(&port)
            && addresses.iter().all(|address| self.holder(protocol, port, *address).is_none())
    }

    fn add(&mut self, request: &PublishRequest, host: PortRange, addresses: &[IpAddr]) {
        for address in addresses {
            let publication = Publication {
                host_address: *address,
                host_ports: host,
                container_port: request.container_ports.first,
                protocol: request.protocol,
                routed: self.gateways.not_translated(*address),
            };
            let place = self.decided.len();
            self.own.claim(&publication, place);
            self.asked.extend(host.iter().map(|port| ((request.protocol, port, *address), place)));
            self.decided.push(publication);
        }
    }

    /// Finds a free port within `range`, from `start` on and then from its beginning.
    fn free_port(
        &mut self,
        protocol: Protocol,
        addresses: &[IpAddr],
        range: PortRange,
        start: u16,
    ) -> Option<u16> {
        let mut passed = self.passed.remove(&(protocol, addresses.to_vec())).unwrap_or_default();
        let from = PortRange { first: start, last: range.last };
        let found = [from, range]
            .into_iter()
            .find_map(|range| passed.first_free(range, |port| self.free(protocol, port, addresses)));
        self.passed.insert((protocol, addresses.to_vec()), passed);
        found
    }

    /// Finds `count` free ports in a row within `range`, from its `start`th place on and then from its beginning.
    fn free_run(
        &mut self,
        request: &PublishRequest,
        addresses: &[IpAddr],
        range: PortRange,
        count: usize,
        start: u64,
    ) -> Result<PortRange, Refusal> {
        let none = Refusal::NoFreePort { range, protocol: request.protocol };
        let places = (range.len() + 1).saturating_sub(count);
        let Some(start) = start.checked_rem(places as u64).and_then(|start| usize::try_from(start).ok())
        else {
            return Err(none);
        };
        let port = |place: usize| u16::try_from(usize::from(range.first) + place).unwrap_or(range.last);
        if count == 1 {
            let found = self.free_port(request.protocol, addresses, range, port(start));
            return found.map(PortRange::single).ok_or(none);
        }
        // A run that a taken port is in is followed by the one that begins behind that port.
        let mut step = 0;
        while step < places {
            let place = (start + step) % places;
            let run = PortRange { first: port(place), last: port(place + count - 1) };
            let taken = (0..count).rev().find(|at| !self.free(request.protocol, port(place + at), addresses));
            match taken {
                None => return Ok(run),
                Some(at) => step += (at + 1).min(places - place),
            }
        }
        Err(none)
    }

    /// Decides the host ports of a request.
    ///
    /// # Errors
    /// Those that it asks for, or all that may be chosen, are taken.
    pub fn decide(&mut self, request: &PublishRequest, rng: &mut Rng) -> Result<(), Refusal> {
        let mut addresses = self.gateways.host_addresses(request.host_address);
        if let Some(range) = request.host_ports.filter(|range| range.len() == request.container_ports.len()) {
            addresses.retain(|address| !self.asked_twice(request, range, *address));
        }
        let bound = addresses.iter().filter(|address| !self.gateways.not_translated(**address));
        let bound: Vec<IpAddr> = bound.copied().collect();
        let count = request.container_ports.len();
        let host = match request.host_ports {
            Some(range) if range.len() == count => {
                self.check_exact(request.protocol, range, &bound)?;
                range
            }
            Some(range) => self.free_run(request, &bound, range, count, 0)?,
            None if bound.is_empty() => request.container_ports,
            None => {
                let (first, last) = self.world.host.ephemeral_ports.unwrap_or(EPHEMERAL_PORTS);
                self.free_run(request, &bound, PortRange { first, last }, count, rng.next() >> 16)?
            }
        };
        self.add(request, host, &addresses);
        Ok(())
    }

    fn check_exact(&self, protocol: Protocol, range: PortRange, addresses: &[IpAddr]) -> Result<(), Refusal> {
        for port in range.iter() {
            for address in addresses {
                if let Some(other) = self.own_conflict(protocol, port, *address) {
                    return Err(Refusal::PortTwice { port, protocol, address: *address, other });
                }
                if let Some(holder) = self.holder(protocol, port, *address) {
                    let holder = holder.to_owned();
                    return Err(Refusal::PortInUse { address: *address, port, protocol, holder });
                }
            }
        }
        Ok(())
    }
}

/// The number of a request, and the host ports that it asks for.
type Requested = (usize, Option<PortRange>);

/// The requests of a sandbox by container ports, to allocate host ports for publications that had none.
pub(super) struct Asked {
    /// By protocol, ports and host address.
    requests: HashMap<(Protocol, PortRange, Option<IpAddr>), Requested>,
    decided: HashMap<(Protocol, PortRange), PortRange>,
}

impl Asked {
    pub fn of(sandbox: &Sandbox) -> Self {
        let mut requests = HashMap::new();
        for (number, request) in World::publish_requests(sandbox).into_iter().enumerate() {
            let key = (request.protocol, request.container_ports, request.host_address);
            requests.entry(key).or_insert((number, request.host_ports));
        }
        Self { requests, decided: HashMap::new() }
    }

    /// Records allocated host ports: the same container ports get the same host ports at another address.
    pub fn note(&mut self, decided: &Publication) {
        if !decided.routed {
            let key = (decided.protocol, decided.container_ports());
            self.decided.entry(key).or_insert(decided.host_ports);
        }
    }

    /// The request of host ports for a publication: those of the same container ports at another address, or those that
    /// the user requested.
    pub fn again(&self, publication: &Publication) -> PublishRequest {
        let Publication { protocol, host_address, host_ports, .. } = *publication;
        let ports = publication.container_ports();
        let asked = [None, Some(host_address)]
            .into_iter()
            .filter_map(|address| self.requests.get(&(protocol, ports, address)))
            .min_by_key(|(number, _)| *number);
        PublishRequest {
            host_address: Some(host_address),
            host_ports: match (self.decided.get(&(protocol, ports)), asked) {
                (Some(decided), _) => Some(*decided),
                (None, Some((_, asked))) => *asked,
                (None, None) => Some(host_ports),
            },
            container_ports: ports,
            protocol,
        }
    }
}
