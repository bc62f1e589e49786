//! Which host ports a sandbox's publications get.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Refusal, World};
use crate::Draw;
use crate::model::{PortRange, Protocol, Publication, PublishRequest, Sandbox};

/// Where random host ports come from when the host does not say: the range that IANA leaves for
/// it (RFC 6335, 6).
const EPHEMERAL_PORTS: (u16, u16) = (49_153, 65_535);

impl World {
    /// The addresses that a request publishes on. No address, and none set for the network or the
    /// daemon, means all of both families.
    pub(super) fn host_addresses(&self, sandbox: &Sandbox, request: &PublishRequest) -> Vec<IpAddr> {
        let network = [true, false].into_iter().find_map(|ipv4| self.publishing_endpoint(sandbox.id, ipv4));
        let binding = network
            .and_then(|endpoint| self.networks.get(&endpoint.network))
            .and_then(|network| network.host_binding);
        match request.host_address.or(binding).unwrap_or(self.settings.publish_address) {
            address if address.is_unspecified() && request.host_address.is_none() => {
                let both = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
                // The proxy leads from one family to the other, but not to what is routed.
                let leads_nowhere = |address: &IpAddr| {
                    let ipv4 = address.is_ipv4();
                    self.gateway_endpoint(sandbox.id, ipv4).is_none()
                        && self.not_translated(sandbox, *address)
                };
                both.into_iter().filter(|address| !leads_nowhere(address)).collect()
            }
            address => vec![address],
        }
    }

    /// Whether what a running sandbox publishes at a host address is routed instead: by its gateway of that
    /// family, or, where it has none, by that of the other, to which the proxy would lead.
    fn not_translated(&self, sandbox: &Sandbox, address: IpAddr) -> bool {
        let ipv4 = address.is_ipv4();
        let family = if self.gateway_endpoint(sandbox.id, ipv4).is_some() { ipv4 } else { !ipv4 };
        self.publishes_routed(sandbox.id, family)
    }

    /// The publications of a sandbox whose gateways may be others than when they were decided, what cannot be
    /// published there, and what the user should know. Without a way out nothing is published; with one again, all
    /// is decided anew. Host ports are decided for what was routed and is no more, and given back for what is routed
    /// now.
    pub(super) fn follow_gateways(
        &self,
        sandbox: &Sandbox,
        draw: &mut Draw,
    ) -> (Vec<Publication>, Vec<Refusal>, Vec<String>) {
        let published = &sandbox.publications;
        if sandbox.running() && published.is_empty() {
            return match self.decide_publications(sandbox, &[], draw) {
                Ok((publications, warnings)) => (publications, Vec::new(), warnings),
                Err(refusal) => (Vec::new(), vec![refusal], Vec::new()),
            };
        }
        if self.no_way_out(sandbox).is_some() {
            return Default::default();
        }
        let routed = |publication: &Publication| self.not_translated(sandbox, publication.host_address);
        let stays = |publication: &&Publication| publication.routed == routed(publication);
        if published.iter().all(|publication| stays(&publication)) {
            return (published.clone(), Vec::new(), Vec::new());
        }
        let decided = published.iter().filter(stays).cloned().collect();
        let mut choice = Choice::new(self, sandbox, &[], decided);
        let (mut followed, mut refusals) = (Vec::new(), Vec::new());
        for publication in published {
            if stays(&publication) {
                followed.push(publication.clone());
            } else if !publication.routed {
                followed.push(Publication { routed: true, ..publication.clone() });
            } else {
                let request = choice.asked_for(publication);
                match choice.decide(&request, draw) {
                    Ok(()) => followed.extend(choice.decided.last().cloned()),
                    Err(refusal) => refusals.push(refusal),
                }
            }
        }
        (followed, refusals, Vec::new())
    }

    /// The requests of a sandbox, those of `--publish-all` included, split so that each can be
    /// decided by itself.
    pub(super) fn publish_requests(sandbox: &Sandbox) -> Vec<PublishRequest> {
        let mut requests = sandbox.options.publish.clone();
        if sandbox.options.publish_all {
            let asked = |port, protocol| {
                let same = |request: &PublishRequest| {
                    request.protocol == protocol && request.container_ports.contains(port)
                };
                sandbox.options.publish.iter().any(same)
            };
            for (port, protocol) in &sandbox.options.exposed {
                if !asked(*port, *protocol) {
                    requests.push(PublishRequest {
                        host_address: None,
                        host_ports: None,
                        container_ports: PortRange::single(*port),
                        protocol: *protocol,
                    });
                }
            }
        }
        requests
    }

    /// Decides the host ports of a sandbox that is about to run, and says what the user should
    /// know. Ports in `avoid` are held by other programs.
    pub(super) fn decide_publications(
        &self,
        sandbox: &Sandbox,
        avoid: &[u16],
        draw: &mut Draw,
    ) -> Result<(Vec<Publication>, Vec<String>), Refusal> {
        let requests = Self::publish_requests(sandbox);
        if requests.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        if let Some(warning) = self.no_way_out(sandbox) {
            return Ok((Vec::new(), vec![warning]));
        }
        let publications = self.decide_further(sandbox, Vec::new(), &requests, avoid, draw)?;
        let warning = self.not_forwarded(sandbox, &publications);
        Ok((publications, warning.into_iter().collect()))
    }

    /// What to say of a sandbox whose ports nobody would reach, for it has no way out.
    pub(super) fn no_way_out(&self, sandbox: &Sandbox) -> Option<String> {
        if [true, false].into_iter().any(|ipv4| self.publishing_endpoint(sandbox.id, ipv4).is_some()) {
            return None;
        }
        let out = [true, false].into_iter().any(|ipv4| self.gateway_endpoint(sandbox.id, ipv4).is_some());
        let reason = if out {
            "they mean nothing on a LAN, where each of its ports is reached at its own address"
        } else if self.endpoints_of_sandbox(sandbox.id).is_empty() {
            "it is on no network"
        } else {
            "it is on internal networks only"
        };
        Some(format!("Published ports of {} are discarded: {reason}", sandbox.name))
    }

    /// Decides the host ports of `requests` beside those that are `decided`, which stay in front.
    pub(super) fn decide_further(
        &self,
        sandbox: &Sandbox,
        decided: Vec<Publication>,
        requests: &[PublishRequest],
        avoid: &[u16],
        draw: &mut Draw,
    ) -> Result<Vec<Publication>, Refusal> {
        let mut choice = Choice::new(self, sandbox, avoid, decided);
        for request in requests {
            choice.decide(request, draw)?;
        }
        Ok(choice.decided)
    }

    /// What to say where nothing forwards what is published.
    pub(super) fn not_forwarded(&self, sandbox: &Sandbox, publications: &[Publication]) -> Option<String> {
        let held = |ipv4: bool| {
            publications.iter().any(|publication| publication.host_address.is_ipv4() == ipv4)
                && self.publication_target(sandbox.id, ipv4).is_some()
                && self.settings.backend_of(ipv4).is_none()
        };
        let proxy = self.settings.userland_proxy;
        if proxy && publications.iter().any(|publication| !publication.protocol.is_carried()) {
            return Some(format!(
                "SCTP ports of {} are published by the firewall alone, which other hosts reach: the userland proxy, which answers this host and its containers, does not carry SCTP (--userland-proxy=false)",
                sandbox.name
            ));
        }
        let flags = match (held(true), held(false)) {
            _ if proxy => return None,
            (false, false) => return None,
            (true, false) => "--iptables=false",
            (false, true) => "--ip6tables=false",
            (true, true) => "--iptables=false, --ip6tables=false",
        };
        Some(format!(
            "Published ports of {} are held but not forwarded: the daemon runs with {flags} and --userland-proxy=false",
            sandbox.name
        ))
    }
}

/// Publications in the making.
struct Choice<'a> {
    world: &'a World,
    sandbox: &'a Sandbox,
    avoid: &'a [u16],
    decided: Vec<Publication>,
    /// How many of them were there before.
    before: usize,
}

impl<'a> Choice<'a> {
    fn new(world: &'a World, sandbox: &'a Sandbox, avoid: &'a [u16], decided: Vec<Publication>) -> Self {
        let before = decided.len();
        Self { world, sandbox, avoid, decided, before }
    }

    /// Whether an earlier one of the same requests publishes the same ports at an address already: asking twice for
    /// one thing is no conflict.
    fn asked_twice(&self, request: &PublishRequest, host: PortRange, address: IpAddr) -> bool {
        self.decided.iter().skip(self.before).any(|earlier| {
            let offset = host.first.checked_sub(earlier.host_ports.first);
            earlier.host_address == address
                && earlier.protocol == request.protocol
                && earlier.host_ports.contains(host.last)
                && offset.and_then(|offset| earlier.container_port.checked_add(offset))
                    == Some(request.container_ports.first)
        })
    }

    /// The address of an earlier one of the same requests that a port conflicts with.
    fn own_conflict(&self, protocol: Protocol, port: u16, address: IpAddr) -> Option<IpAddr> {
        let mut earlier = self.decided.iter().skip(self.before);
        earlier.find(|publication| publication.claims(protocol, port, address)).map(|it| it.host_address)
    }

    /// Who stands in the way of a port: another sandbox, or this one's earlier requests.
    fn holder(&self, protocol: Protocol, port: u16, address: IpAddr) -> Option<String> {
        if self.decided.iter().any(|publication| publication.claims(protocol, port, address)) {
            return Some(self.sandbox.name.clone());
        }
        let other = self.world.index.port_holder(protocol, port, address)?;
        let other = self.world.sandboxes.get(&other).filter(|other| other.id != self.sandbox.id)?;
        Some(other.name.clone())
    }

    fn free(&self, protocol: Protocol, port: u16, addresses: &[IpAddr]) -> bool {
        !self.avoid.contains(&port)
            && addresses.iter().all(|address| self.holder(protocol, port, *address).is_none())
    }

    fn add(&mut self, request: &PublishRequest, host: PortRange, container: u16, addresses: &[IpAddr]) {
        let publication = |address: &IpAddr| Publication {
            host_address: *address,
            host_ports: host,
            container_port: container,
            protocol: request.protocol,
            routed: self.world.not_translated(self.sandbox, *address),
        };
        let publications: Vec<_> = addresses.iter().map(publication).collect();
        self.decided.extend(publications);
    }

    /// What asks for a publication that has no host ports to have some: those of the same ports at
    /// another address, or those that the user asked for.
    fn asked_for(&self, publication: &Publication) -> PublishRequest {
        let ports = publication.container_ports();
        let other = self.decided.iter().find(|other| {
            !other.routed && other.protocol == publication.protocol && other.container_ports() == ports
        });
        let requests = World::publish_requests(self.sandbox);
        let request = requests.iter().find(|request| {
            request.protocol == publication.protocol
                && request.container_ports == ports
                && request.host_address.is_none_or(|address| address == publication.host_address)
        });
        PublishRequest {
            host_address: Some(publication.host_address),
            host_ports: other
                .map(|other| other.host_ports)
                .or_else(|| request.map_or(Some(publication.host_ports), |request| request.host_ports)),
            container_ports: ports,
            protocol: publication.protocol,
        }
    }

    /// Finds `count` free ports in a row within `range`, starting at a random place.
    fn free_run(
        &self,
        request: &PublishRequest,
        addresses: &[IpAddr],
        range: PortRange,
        count: usize,
        start: u64,
    ) -> Result<PortRange, Refusal> {
        let starts = (range.len() + 1).saturating_sub(count) as u64;
        for step in 0..starts {
            let offset = u16::try_from((start + step) % starts).unwrap_or(0);
            let first = range.first + offset;
            let run = PortRange { first, last: first + u16::try_from(count - 1).unwrap_or(0) };
            if run.iter().all(|port| self.free(request.protocol, port, addresses)) {
                return Ok(run);
            }
        }
        Err(Refusal::NoFreePort { range, protocol: request.protocol })
    }

    fn decide(&mut self, request: &PublishRequest, draw: &mut Draw) -> Result<(), Refusal> {
        let mut addresses = self.world.host_addresses(self.sandbox, request);
        if let Some(range) = request.host_ports.filter(|range| range.len() == request.container_ports.len()) {
            addresses.retain(|address| !self.asked_twice(request, range, *address));
        }
        let bound = addresses.iter().filter(|address| !self.world.not_translated(self.sandbox, **address));
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
                self.free_run(request, &bound, PortRange { first, last }, count, draw.next() >> 16)?
            }
        };
        self.add(request, host, request.container_ports.first, &addresses);
        Ok(())
    }

    fn check_exact(&self, protocol: Protocol, range: PortRange, addresses: &[IpAddr]) -> Result<(), Refusal> {
        for port in range.iter() {
            for address in addresses {
                if let Some(other) = self.own_conflict(protocol, port, *address) {
                    return Err(Refusal::PortTwice { port, protocol, address: *address, other });
                }
                if let Some(holder) = self.holder(protocol, port, *address) {
                    return Err(Refusal::PortInUse { address: *address, port, protocol, holder });
                }
            }
        }
        Ok(())
    }
}
