//! Publications that change while a sandbox exists, and also while it runs.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::sandbox::check_ports;
use super::{Change, Refusal, World};
use crate::Draw;
use crate::model::{
    NetworkMode, PortRange, Protocol, Publication, PublishRequest, Sandbox, SandboxOptions, UnpublishRequest,
};

/// How many runs of ports a refusal lists before it says that there are more.
const LISTED: usize = 8;

/// A request with what was decided for it.
struct Published {
    request: PublishRequest,
    /// Whether it was asked for, and does not follow from `--publish-all`.
    asked: bool,
    bindings: Vec<Binding>,
}

/// One published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Binding {
    address: IpAddr,
    /// None while it is to be chosen at the next start.
    host_port: Option<u16>,
    container_port: u16,
}

impl World {
    pub(super) fn publish(
        &mut self,
        reference: &str,
        requests: Vec<PublishRequest>,
        avoid: &[u16],
        draw: &mut Draw,
    ) -> Result<Change, Refusal> {
        let mut sandbox = self.find_sandbox(reference)?.clone();
        self.check_may_publish(&sandbox)?;
        check_ports(&requests)?;
        let mut change = Change::default();
        if sandbox.running() {
            change.warnings = self.no_way_out(&sandbox).into_iter().collect();
            let discarded = !change.warnings.is_empty() && sandbox.publications.is_empty();
            if !discarded {
                let before = sandbox.publications.len();
                let decided = std::mem::take(&mut sandbox.publications);
                sandbox.publications = self.decide_further(&sandbox, decided, &requests, avoid, draw)?;
                change.published = sandbox.publications[before..].to_vec();
                change.warnings.extend(self.not_forwarded(&sandbox, &change.published));
            }
        } else {
            self.check_among_themselves(&sandbox, &requests)?;
        }
        let meets_exposed = |(port, protocol): &(u16, Protocol)| {
            requests.iter().any(|it| it.protocol == *protocol && it.container_ports.contains(*port))
        };
        if sandbox.options.publish_all && sandbox.options.exposed.iter().any(meets_exposed) {
            // What is asked for would take the place of what `--publish-all` stands for.
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
        let mut published = self.published(&sandbox);
        let mut touched_implied = false;
        for request in requests {
            let mut found = false;
            for entry in &mut published {
                let before = entry.bindings.len();
                let protocol = entry.request.protocol;
                entry.bindings.retain(|binding| !means(request, protocol, binding));
                let removed = entry.bindings.len() < before;
                found |= removed;
                touched_implied |= removed && !entry.asked;
            }
            if !found {
                return Err(Refusal::NotPublished {
                    request: request.clone(),
                    sandbox: sandbox.name.clone(),
                    published: listed(&self.published(&sandbox)),
                });
            }
        }
        let mut change = Change::default();
        let original = self.published(&sandbox);
        let SandboxOptions { publish, publish_all, .. } = &mut sandbox.options;
        *publish_all &= !touched_implied;
        let kept = original.iter().zip(&published).filter(|(before, _)| before.asked || touched_implied);
        *publish = kept.flat_map(|(before, after)| smaller(before, &after.bindings)).collect();
        sandbox.publications =
            sandbox.publications.iter().flat_map(|publication| remaining(publication, requests)).collect();
        self.touch_sandbox(sandbox, &mut change);
        Ok(change)
    }

    fn check_may_publish(&self, sandbox: &Sandbox) -> Result<(), Refusal> {
        match &sandbox.mode {
            NetworkMode::Host => Err(Refusal::PublishOnHost(sandbox.name.clone())),
            NetworkMode::Shared(holder) => Err(Refusal::PublishShared {
                sandbox: sandbox.name.clone(),
                holder: match self.sandboxes.get(holder) {
                    Some(holder) => holder.name.clone(),
                    None => holder.to_string(),
                },
            }),
            NetworkMode::Private | NetworkMode::None => Ok(()),
        }
    }

    /// Refuses a port that a sandbox which does not run publishes already: it could never start.
    fn check_among_themselves(&self, sandbox: &Sandbox, requests: &[PublishRequest]) -> Result<(), Refusal> {
        let mut taken: Vec<(Protocol, Binding)> = Vec::new();
        for entry in self.published(sandbox) {
            taken.extend(entry.bindings.into_iter().map(|binding| (entry.request.protocol, binding)));
        }
        let mut ports: BTreeSet<(Protocol, u16)> =
            taken.iter().filter_map(|(protocol, binding)| Some((*protocol, binding.host_port?))).collect();
        for request in requests {
            for binding in self.asked_bindings(sandbox, request) {
                let Some(port) = binding.host_port else { continue };
                if !ports.insert((request.protocol, port))
                    && taken.iter().any(|(protocol, other)| {
                        *protocol == request.protocol
                            && other.host_port == Some(port)
                            && meet(other.address, binding.address)
                    })
                {
                    return Err(Refusal::PortInUse {
                        address: binding.address,
                        port,
                        protocol: request.protocol,
                        holder: sandbox.name.clone(),
                    });
                }
                taken.push((request.protocol, binding));
            }
        }
        Ok(())
    }

    /// What a request will come to at the next start, as far as that is known.
    fn asked_bindings(&self, sandbox: &Sandbox, request: &PublishRequest) -> Vec<Binding> {
        let exact = request.host_ports.filter(|range| range.len() == request.container_ports.len());
        let bindings = |address| {
            request.container_ports.iter().enumerate().map(move |(offset, container_port)| Binding {
                address,
                host_port: exact.and_then(|range| range.first.checked_add(u16::try_from(offset).ok()?)),
                container_port,
            })
        };
        self.host_addresses(sandbox, request).into_iter().flat_map(bindings).collect()
    }

    /// The requests of a sandbox with what is published for each: now, or at its next start.
    fn published(&self, sandbox: &Sandbox) -> Vec<Published> {
        let asked = sandbox.options.publish.len();
        let mut decided: Vec<&Publication> = sandbox.publications.iter().collect();
        let entry = |(number, request)| Published { request, asked: number < asked, bindings: Vec::new() };
        let requests = Self::publish_requests(sandbox);
        let mut published: Vec<Published> = requests.into_iter().enumerate().map(entry).collect();
        // Who asks for more claims first: others would be content with it, too.
        let mut order: Vec<&mut Published> = published.iter_mut().collect();
        order.sort_by_key(|it| (it.request.host_address.is_none(), it.request.host_ports.is_none()));
        for entry in order {
            entry.bindings = match sandbox.publications.is_empty() {
                true => self.asked_bindings(sandbox, &entry.request),
                false => claim(&entry.request, &mut decided),
            };
        }
        published
    }
}

/// Takes what was decided for a request out of all that was decided, which is in the order of the
/// requests.
fn claim(request: &PublishRequest, decided: &mut Vec<&Publication>) -> Vec<Binding> {
    let fits = |publication: &Publication| {
        publication.protocol == request.protocol
            && publication.container_port == request.container_ports.first
            && publication.host_ports.len() == request.container_ports.len()
            && request.host_address.is_none_or(|address| address == publication.host_address)
            && request.host_ports.is_none_or(|range| {
                range.contains(publication.host_ports.first) && range.contains(publication.host_ports.last)
            })
    };
    let Some(first) = decided.iter().find(|publication| fits(publication)).copied() else {
        return Vec::new();
    };
    let mut bindings = Vec::new();
    decided.retain(|publication| {
        let mine = fits(publication) && publication.host_ports == first.host_ports;
        if mine {
            bindings.extend(publication.pairs().map(|(host_port, container_port)| Binding {
                address: publication.host_address,
                host_port: Some(host_port),
                container_port,
            }));
        }
        !mine
    });
    bindings
}

fn means(request: &UnpublishRequest, protocol: Protocol, binding: &Binding) -> bool {
    request.means(protocol, binding.address, binding.host_port, binding.container_port)
}

fn meet(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4() && (one == other || one.is_unspecified() || other.is_unspecified())
}

/// Says by itself what `--publish-all` stands for.
fn spell_out(sandbox: &mut Sandbox) {
    sandbox.options.publish = World::publish_requests(sandbox);
    sandbox.options.publish_all = false;
}

/// Ports that follow one another on both sides, with the first one in the sandbox and their count.
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

/// The requests that ask for what is left of one.
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

/// What is left of a publication.
fn remaining(publication: &Publication, requests: &[UnpublishRequest]) -> Vec<Publication> {
    let bindings = publication.pairs().map(|(host_port, container_port)| Binding {
        address: publication.host_address,
        host_port: Some(host_port),
        container_port,
    });
    let gone = |binding: &Binding| requests.iter().any(|it| means(it, publication.protocol, binding));
    let left: Vec<Binding> = bindings.filter(|binding| !gone(binding)).collect();
    let runs = runs(&left, publication.host_address).into_iter();
    runs.filter_map(|(host_ports, container)| {
        Some(Publication { host_ports: host_ports?, container_port: container.first, ..publication.clone() })
    })
    .collect()
}

/// What is published, for people.
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

#[cfg(test)]
mod tests;
