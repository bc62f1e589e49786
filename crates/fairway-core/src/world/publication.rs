//! Published ports of sandboxes.

mod choice;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Refusal, World};
use choice::{Asked, Choice};
use fairway_model::Rng;
use fairway_model::{NetworkMode, PortRange, Protocol, Publication, PublishRequest, Sandbox};

/// The gateways of a sandbox, as its publications depend on them. The flags are for IPv4 and IPv6.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gateways {
    default_address: IpAddr,
    exists: [bool; 2],
    routed: [bool; 2],
}

impl Gateways {
    /// The host addresses of a request. Without an address in the request, the network and the daemon, these are the
    /// unspecified addresses of both families.
    pub(super) fn host_addresses(&self, asked: Option<IpAddr>) -> Vec<IpAddr> {
        match asked.unwrap_or(self.default_address) {
            address if address.is_unspecified() && asked.is_none() => {
                let both = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
                // The proxy connects one family to the other, but not to a routed network.
                let leads_nowhere =
                    |address: &IpAddr| !self.exists(address.is_ipv4()) && self.not_translated(*address);
                both.into_iter().filter(|address| !leads_nowhere(address)).collect()
            }
            address => vec![address],
        }
    }

    /// Whether ports at a host address are published without NAT: because the gateway of that family is routed, or, without
    /// such a gateway, that of the other family, to which the proxy would connect.
    fn not_translated(&self, address: IpAddr) -> bool {
        let ipv4 = address.is_ipv4();
        self.routed[usize::from(if self.exists(ipv4) { !ipv4 } else { ipv4 })]
    }

    fn exists(&self, ipv4: bool) -> bool {
        self.exists[usize::from(!ipv4)]
    }
}

/// The container ports of requests.
pub(super) fn asked_ports(requests: &[PublishRequest]) -> HashSet<(u16, Protocol)> {
    let ports = |request: &PublishRequest| {
        let protocol = request.protocol;
        request.container_ports.iter().map(move |port| (port, protocol))
    };
    requests.iter().flat_map(ports).collect()
}

impl World {
    /// The gateways of a sandbox.
    pub(super) fn gateways(&self, sandbox: &Sandbox) -> Gateways {
        let network = [true, false].into_iter().find_map(|ipv4| self.publishing_endpoint(sandbox.id, ipv4));
        let binding = network
            .and_then(|endpoint| self.network(endpoint.network))
            .and_then(|network| network.host_binding);
        let families = [true, false];
        Gateways {
            default_address: binding.unwrap_or(self.settings.publish_address),
            exists: families.map(|ipv4| self.gateway_endpoint(sandbox.id, ipv4).is_some()),
            routed: families.map(|ipv4| self.publishes_without_nat(sandbox.id, ipv4)),
        }
    }

    /// Adapts the publications of a sandbox to its present gateways. Returns the publications, the refusals of ports that
    /// cannot be published there, and warnings. Without a gateway no port is published; with a gateway again, all ports
    /// are allocated again. Ports on a gateway that is no longer routed get host ports, and ports on a routed gateway
    /// release them.
    pub(super) fn follow_gateways(
        &self,
        sandbox: &Sandbox,
        rng: &mut Rng,
    ) -> (Vec<Publication>, Vec<Refusal>, Vec<String>) {
        let published = &sandbox.publications;
        if sandbox.running() && published.is_empty() {
            return match self.decide_publications(sandbox, &[], rng) {
                Ok((publications, warnings)) => (publications, Vec::new(), warnings),
                Err(refusal) => (Vec::new(), vec![refusal], Vec::new()),
            };
        }
        if self.no_way_out(sandbox).is_some() {
            return Default::default();
        }
        let gateways = self.gateways(sandbox);
        let stays = |publication: &&Publication| {
            publication.routed == gateways.not_translated(publication.host_address)
        };
        if published.iter().all(|publication| stays(&publication)) {
            return (published.clone(), Vec::new(), Vec::new());
        }
        let decided = published.iter().filter(stays).cloned().collect();
        let mut choice = Choice::new(self, sandbox, &[], decided);
        let mut asked = Asked::of(sandbox);
        let (mut followed, mut refusals) = (Vec::new(), Vec::new());
        for publication in published {
            if stays(&publication) {
                asked.note(publication);
            }
        }
        for publication in published {
            if stays(&publication) {
                followed.push(publication.clone());
            } else if !publication.routed {
                followed.push(Publication { routed: true, ..publication.clone() });
            } else {
                let before = choice.decided().len();
                match choice.decide(&asked.again(publication), rng) {
                    Ok(()) => {
                        let decided = choice.decided().iter().skip(before);
                        decided.clone().for_each(|decided| asked.note(decided));
                        followed.extend(decided.cloned());
                    }
                    Err(refusal) => refusals.push(refusal),
                }
            }
        }
        (followed, refusals, Vec::new())
    }

    /// The requests of a sandbox, with one for each port of `--publish-all`.
    pub(super) fn publish_requests(sandbox: &Sandbox) -> Vec<PublishRequest> {
        let mut requests = sandbox.options.publish.clone();
        if sandbox.options.publish_all {
            let asked = asked_ports(&sandbox.options.publish);
            for (port, protocol) in &sandbox.options.exposed {
                if !asked.contains(&(*port, *protocol)) {
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

    /// Allocates the host ports of a starting sandbox, and returns warnings too. Other programs hold the ports in `avoid`.
    pub(super) fn decide_publications(
        &self,
        sandbox: &Sandbox,
        avoid: &[u16],
        rng: &mut Rng,
    ) -> Result<(Vec<Publication>, Vec<String>), Refusal> {
        let requests = Self::publish_requests(sandbox);
        if requests.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        if let Some(warning) = self.no_way_out(sandbox) {
            // The creation of a sandbox in host mode has its own.
            let warning = Some(warning).filter(|_| sandbox.mode != NetworkMode::Host);
            return Ok((Vec::new(), warning.into_iter().collect()));
        }
        let publications = self.decide_further(sandbox, Vec::new(), &requests, avoid, rng)?;
        let warning = self.not_forwarded(sandbox, &publications);
        Ok((publications, warning.into_iter().collect()))
    }

    /// The warning about a sandbox whose ports cannot be published, since it has no gateway that publishes.
    pub(super) fn no_way_out(&self, sandbox: &Sandbox) -> Option<String> {
        if [true, false].into_iter().any(|ipv4| self.publishing_endpoint(sandbox.id, ipv4).is_some()) {
            return None;
        }
        let out = [true, false].into_iter().any(|ipv4| self.gateway_endpoint(sandbox.id, ipv4).is_some());
        let reason = if out {
            "its gateway is on a LAN, where each of its ports is reached at its own address"
        } else if self.endpoints_of_sandbox(sandbox.id).is_empty() {
            "it is on no network"
        } else {
            "it is on internal networks only"
        };
        Some(format!("Published ports of {} are discarded: {reason}", sandbox.name))
    }

    /// Allocates the host ports of `requests` in addition to the publications in `decided`, which come first in the result.
    pub(super) fn decide_further(
        &self,
        sandbox: &Sandbox,
        decided: Vec<Publication>,
        requests: &[PublishRequest],
        avoid: &[u16],
        rng: &mut Rng,
    ) -> Result<Vec<Publication>, Refusal> {
        let mut choice = Choice::new(self, sandbox, avoid, decided);
        for request in requests {
            choice.decide(request, rng)?;
        }
        Ok(choice.into_decided())
    }

    /// The warning about published ports that neither firewall nor proxy forwards.
    pub(super) fn not_forwarded(&self, sandbox: &Sandbox, publications: &[Publication]) -> Option<String> {
        let held = |ipv4: bool| {
            publications.iter().any(|publication| publication.host_address.is_ipv4() == ipv4)
                && self.publication_target(sandbox.id, ipv4).is_some()
                && self.settings.firewall_backend(ipv4).is_none()
        };
        let proxy = self.settings.userland_proxy;
        if proxy && publications.iter().any(|publication| !publication.protocol.supports_proxy()) {
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
