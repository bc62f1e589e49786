//! Publishing and unpublishing of ports of existing and running sandboxes.

mod matching;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use super::limit::check_ports;
use super::port_claims::PortClaims;
use super::publication::{Gateways, asked_ports};
use super::{Change, Context, Refusal, World};
use fairway_model::{
    NetworkMode, PortRange, Publication, PublishRequest, Sandbox, SandboxOptions, UnpublishRequest,
};
use matching::{Decided, Unpublishing};

/// The number of port ranges that a refusal lists.
const LISTED: usize = 8;

/// A request with the ports that are published for it.
struct Published {
    request: PublishRequest,
    /// Whether the user requested it, and it does not follow from `--publish-all`.
    asked: bool,
    bindings: Vec<Binding>,
}

/// One published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Binding {
    address: IpAddr,
    /// The host port; none if it is chosen at the next start.
    host_port: Option<u16>,
    container_port: u16,
}

impl World {
    pub(super) fn publish(
        &mut self,
        reference: &str,
        requests: Vec<PublishRequest>,
        context: &mut Context<'_>,
    ) -> Result<Change, Refusal> {
        let mut sandbox = self.find_sandbox(reference)?.clone();
        self.check_may_publish(&sandbox)?;
        check_ports(&sandbox.options.publish, &requests)?;
        let mut change = Change::default();
        if sandbox.running() {
            change.warnings = self.no_way_out(&sandbox).into_iter().collect();
            let discarded = !change.warnings.is_empty() && sandbox.publications.is_empty();
            if !discarded {
                let before = sandbox.publications.len();
                let decided = std::mem::take(&mut sandbox.publications);
                let (avoided, rng) = (context.avoided_ports, &mut *context.rng);
                sandbox.publications = self.decide_further(&sandbox, decided, &requests, avoided, rng)?;
                change.published = sandbox.publications[before..].to_vec();
                change.warnings.extend(self.not_forwarded(&sandbox, &change.published));
            }
        } else {
            self.check_among_themselves(&sandbox, &requests)?;
        }
        let asked = asked_ports(&requests);
        if sandbox.options.publish_all && sandbox.options.exposed.iter().any(|port| asked.contains(port)) {
            // An explicit request replaces the port's request by `--publish-all`.
            spell_out(&mut sandbox);
        }
        sandbox.options.publish.extend(requests);
        self.touch_sandbox(sandbox, &mut change);
        Ok(change)
    }

    pub(super) fn unpublish(
        &mut self,
        reference: &str,
        requests: &[UnpublishRequest],
    ) -> Result<Change, Refusal> {
        let mut sandbox = self.find_sandbox(reference)?.clone();
        self.check_may_publish(&sandbox)?;
        let unpublishing = Unpublishing::of(requests)?;
        let mut published = self.published(&sandbox);
        let mut touched_implied = false;
        let mut found: HashSet<&UnpublishRequest> = HashSet::new();
        for entry in &mut published {
            let before = entry.bindings.len();
            let protocol = entry.request.protocol;
            entry.bindings.retain(|binding| {
                let meant: Vec<_> = unpublishing.meaning(protocol, binding).collect();
                found.extend(&meant);
                meant.is_empty()
            });
            touched_implied |= entry.bindings.len() < before && !entry.asked;
        }
        if let Some(request) = requests.iter().find(|request| !found.contains(request)) {
            return Err(Refusal::NotPublished {
                request: request.clone(),
                sandbox: sandbox.name.clone(),
                published: listed(&self.published(&sandbox)),
            });
        }
        let mut change = Change::default();
        let original = self.published(&sandbox);
        let SandboxOptions { publish, publish_all, .. } = &mut sandbox.options;
        *publish_all &= !touched_implied;
        let kept = original.iter().zip(&published).filter(|(before, _)| before.asked || touched_implied);
        *publish = kept.flat_map(|(before, after)| smaller(before, &after.bindings)).collect();
        sandbox.publications = sandbox
            .publications
            .iter()
            .flat_map(|publication| remaining(publication, &unpublishing))
            .collect();
        self.touch_sandbox(sandbox, &mut change);
        Ok(change)
    }

    fn check_may_publish(&self, sandbox: &Sandbox) -> Result<(), Refusal> {
        match &sandbox.mode {
            NetworkMode::Host => Err(Refusal::PublishOnHost(sandbox.name.clone())),
            NetworkMode::Shared(holder) => Err(Refusal::PublishShared {
                sandbox: sandbox.name.clone(),
                holder: match self.sandbox(*holder) {
                    Some(holder) => holder.name.clone(),
                    None => holder.to_string(),
                },
            }),
            NetworkMode::Private | NetworkMode::None => Ok(()),
        }
    }

    /// Refuses host ports that requests of the same stopped sandbox have already: it could never start.
    fn check_among_themselves(&self, sandbox: &Sandbox, requests: &[PublishRequest]) -> Result<(), Refusal> {
        let mut taken = PortClaims::default();
        for entry in self.published(sandbox) {
            let protocol = entry.request.protocol;
            for Binding { address, host_port, .. } in entry.bindings {
                host_port.into_iter().for_each(|port| taken.claim_port(protocol, port, address, ()));
            }
        }
        let gateways = self.gateways(sandbox);
        for request in requests {
            let protocol = request.protocol;
            for Binding { address, host_port, .. } in asked_bindings(&gateways, request) {
                let Some(port) = host_port else { continue };
                if taken.holder(protocol, port, address).is_some() {
                    return Err(Refusal::PortInUse { address, port, protocol, holder: sandbox.name.clone() });
                }
                taken.claim_port(protocol, port, address, ());
            }
        }
        Ok(())
    }

    /// The requests of a sandbox, each with the ports that are published now or at the next start.
    fn published(&self, sandbox: &Sandbox) -> Vec<Published> {
        let asked = sandbox.options.publish.len();
        let gateways = self.gateways(sandbox);
        let mut decided = Decided::of(&sandbox.publications);
        let entry = |(number, request)| Published { request, asked: number < asked, bindings: Vec::new() };
        let requests = Self::publish_requests(sandbox);
        let mut published: Vec<Published> = requests.into_iter().enumerate().map(entry).collect();
        // More specific requests claim first, since others match more ports.
        let mut order: Vec<&mut Published> = published.iter_mut().collect();
        let width = |it: &PublishRequest| it.host_ports.map_or(usize::MAX, PortRange::len);
        order.sort_by_key(|it| (it.request.host_address.is_none(), width(&it.request)));
        for entry in order {
            entry.bindings = match sandbox.publications.is_empty() {
                true => asked_bindings(&gateways, &entry.request),
                false => decided.claim(&entry.request),
            };
        }
        published
    }
}

/// The ports that a request publishes at the next start, as far as known.
fn asked_bindings(gateways: &Gateways, request: &PublishRequest) -> Vec<Binding> {
    let exact = request.host_ports.filter(|range| range.len() == request.container_ports.len());
    let bindings = |address| {
        request.container_ports.iter().enumerate().map(move |(offset, container_port)| Binding {
            address,
            host_port: exact.and_then(|range| range.first.checked_add(u16::try_from(offset).ok()?)),
            container_port,
        })
    };
    gateways.host_addresses(request.host_address).into_iter().flat_map(bindings).collect()
}

/// Replaces `--publish-all` by explicit requests.
fn spell_out(sandbox: &mut Sandbox) {
    sandbox.options.publish = World::publish_requests(sandbox);
    sandbox.options.publish_all = false;
}

/// The ranges of consecutive host and container ports at an address.
fn runs(bindings: &[Binding], address: IpAddr) -> Vec<(Option<PortRange>, PortRange)> {
    let mut runs: Vec<(Option<PortRange>, PortRange)> = Vec::new();
    for binding in bindings.iter().filter(|binding| binding.address == address) {
        let next = |last: u16, port: u16| last.checked_add(1) == Some(port);
        match (runs.last_mut(), binding.host_port) {
            (Some((Some(host), container)), Some(port))
                if next(host.last, port) && next(container.last, binding.container_port) =>
            {
                (host.last, container.last) = (port, binding.container_port);
            }
            (Some((None, container)), None) if next(container.last, binding.container_port) => {
                container.last = binding.container_port;
            }
            (_, port) => {
                runs.push((port.map(PortRange::single), PortRange::single(binding.container_port)));
            }
        }
    }
    runs
}

fn addresses(bindings: &[Binding]) -> BTreeSet<IpAddr> {
    bindings.iter().map(|binding| binding.address).collect()
}

/// The requests for the remaining ports of a request.
fn smaller(before: &Published, left: &[Binding]) -> Vec<PublishRequest> {
    let request = &before.request;
    if before.bindings.len() == left.len() {
        return vec![request.clone()];
    }
    let exact = request.host_ports.is_some_and(|range| range.len() == request.container_ports.len());
    let all = addresses(&before.bindings);
    let mut by_address: Vec<_> = all.iter().map(|address| (*address, runs(left, *address))).collect();
    let alike = by_address.windows(2).all(|pair| pair[0].1 == pair[1].1);
    if alike {
        by_address.truncate(1);
    }
    let mut requests = Vec::new();
    for (address, runs) in by_address {
        for (host, container_ports) in runs {
            requests.push(PublishRequest {
                host_address: if alike { request.host_address } else { Some(address) },
                host_ports: if exact { host } else { request.host_ports },
                container_ports,
                protocol: request.protocol,
            });
        }
    }
    requests
}

/// The remaining ranges of a publication.
fn remaining(publication: &Publication, unpublishing: &Unpublishing<'_>) -> Vec<Publication> {
    let bindings = publication.pairs().map(|(host_port, container_port)| Binding {
        address: publication.host_address,
        host_port: Some(host_port),
        container_port,
    });
    let gone = |binding: &Binding| unpublishing.meaning(publication.protocol, binding).next().is_some();
    let left: Vec<Binding> = bindings.filter(|binding| !gone(binding)).collect();
    let runs = runs(&left, publication.host_address).into_iter();
    runs.filter_map(|(host_ports, container)| {
        Some(Publication { host_ports: host_ports?, container_port: container.first, ..publication.clone() })
    })
    .collect()
}

/// The published ports as text.
fn listed(published: &[Published]) -> String {
    let mut texts = Vec::new();
    for entry in published {
        for address in addresses(&entry.bindings) {
            let shown = match address {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            };
            for (host, container) in runs(&entry.bindings, address) {
                let host = host.map_or("(any)".to_owned(), |range| range.to_string());
                texts.push(format!("{shown}:{host}->{container}/{}", entry.request.protocol));
            }
        }
    }
    let more = texts.len().saturating_sub(LISTED);
    texts.truncate(LISTED);
    match (texts.is_empty(), more) {
        (true, _) => "it publishes none".to_owned(),
        (false, 0) => format!("it publishes {}", texts.join(", ")),
        (false, more) => format!("it publishes {} and {more} more", texts.join(", ")),
    }
}
