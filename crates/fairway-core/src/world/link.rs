//! Links (`--link`) of the default bridge: an alias for another sandbox, and permission to use its ports.
//!
//! On user-defined networks a link is an alias that only the linking sandbox resolves.

use std::collections::BTreeSet;

use super::{Change, Refusal, World};
use fairway_model::Owner;
use fairway_model::{Allocation, Endpoint, EndpointRequest, Network, Protocol, Sandbox, SandboxId};

/// A link to a running target.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    /// The target sandbox.
    pub target: &'a Sandbox,
    /// The target's addresses on the default bridge.
    pub given: &'a Allocation,
    /// The alias of the target.
    pub alias: &'a str,
}

impl Link<'_> {
    /// The exposed and published ports of the target, in order.
    pub fn ports(&self) -> BTreeSet<(u16, Protocol)> {
        let options = &self.target.options;
        let asked = options
            .publish
            .iter()
            .flat_map(|request| request.container_ports.iter().map(|port| (port, request.protocol)));
        let published = self
            .target
            .publications
            .iter()
            .flat_map(|publication| publication.pairs().map(|(_, port)| (port, publication.protocol)));
        options.exposed.iter().copied().chain(asked).chain(published).collect()
    }

    /// Docker's environment variables of the link for the command of `source`, each `NAME=VALUE`.
    pub fn environment(&self, source: &Sandbox) -> Vec<String> {
        let alias = self.alias.to_uppercase().replace('-', "_");
        let mut variables = Vec::new();
        if let Some(address) = self.given.addresses().next() {
            for (port, protocol) in self.ports() {
                let url = format!("{protocol}://{}", std::net::SocketAddr::new(address, port));
                if variables.is_empty() {
                    variables.push(format!("{alias}_PORT={url}"));
                }
                let name = format!("{alias}_PORT_{port}_{}", protocol.to_string().to_uppercase());
                variables.extend([
                    format!("{name}={url}"),
                    format!("{name}_ADDR={address}"),
                    format!("{name}_PORT={port}"),
                    format!("{name}_PROTO={protocol}"),
                ]);
            }
        }
        variables.push(format!("{alias}_NAME=/{}/{}", source.name, self.alias));
        let own =
            self.target.options.environment.iter().filter(|entry| {
                entry.split_once('=').is_some_and(|(name, _)| name != "HOME" && name != "PATH")
            });
        variables.extend(own.map(|entry| format!("{alias}_ENV_{entry}")));
        variables
    }
}

/// The targets of an endpoint's links on the default bridge, with their aliases. Links store the id of the target, which
/// was looked up when the link was created.
fn targets(endpoint: &Endpoint) -> impl Iterator<Item = (SandboxId, &str)> {
    let links = endpoint.request.links.iter();
    links.filter_map(|(target, alias)| Some((target.parse().ok()?, alias.as_str())))
}

impl World {
    /// The endpoint of a sandbox on the default bridge.
    pub fn default_endpoint(&self, sandbox: SandboxId) -> Option<&Endpoint> {
        self.endpoint_on(sandbox, *self.index.network_names.get("bridge")?)
    }

    /// The links of a sandbox on the default bridge to running targets.
    pub fn links(&self, source: SandboxId) -> Vec<Link<'_>> {
        let Some(endpoint) = self.default_endpoint(source) else { return Vec::new() };
        let running = |(id, alias)| {
            let target = self.sandbox(id)?;
            let given = self.default_endpoint(id)?.allocation.as_ref()?;
            Some(Link { target, given, alias })
        };
        targets(endpoint).filter_map(running).collect()
    }

    /// The environment variables of a sandbox's links.
    pub fn link_environment(&self, source: &Sandbox) -> Vec<String> {
        self.links(source.id).iter().flat_map(|link| link.environment(source)).collect()
    }

    /// Replaces the targets of links on the default bridge by their ids: a later sandbox of the same name is not a
    /// target.
    pub(super) fn link_by_id(
        &self,
        network: &Network,
        mut request: EndpointRequest,
    ) -> Result<EndpointRequest, Refusal> {
        if network.user_defined() {
            return Ok(request);
        }
        for (target, _) in &mut request.links {
            let found =
                self.find_sandbox(target).map_err(|_| Refusal::LinkTarget { target: target.clone() })?;
            *target = found.id.to_string();
        }
        Ok(request)
    }

    /// Refuses the start of a sandbox with links to stopped targets. Links to removed targets are ignored.
    pub(super) fn check_links(&self, source: &Sandbox, endpoint: &Endpoint) -> Result<(), Refusal> {
        let network = self.network(endpoint.network).filter(|network| network.predefined);
        for ((id, alias), network) in targets(endpoint).zip(network.into_iter().cycle()) {
            let Some(target) = self.sandbox(id) else { continue };
            let name = target.name.clone();
            if !target.running() {
                return Err(Refusal::LinkStopped {
                    target: name,
                    source_name: source.name.clone(),
                    alias: alias.to_owned(),
                });
            }
            if self.default_endpoint(id).is_none() {
                return Err(Refusal::LinkOutside { target: name, network: network.name.clone() });
            }
        }
        Ok(())
    }

    /// Removes the link of a sandbox on the default bridge with this alias.
    pub(super) fn unlink(&mut self, sandbox: &str, alias: &str) -> Result<Change, Refusal> {
        let sandbox = self.find_sandbox(sandbox)?.clone();
        let mut endpoint = self.default_endpoint(sandbox.id).cloned();
        let links = endpoint.as_mut().map(|endpoint| &mut endpoint.request.links);
        let removed = links.is_some_and(|links| {
            let before = links.len();
            links.retain(|(_, name)| name != alias);
            links.len() < before
        });
        let Some(endpoint) = endpoint.filter(|_| removed) else {
            return Err(Refusal::NoSuchLink { sandbox: sandbox.name, alias: alias.to_owned() });
        };
        let mut change = Change::default();
        self.touch_endpoint(&endpoint, &mut change);
        self.put_endpoint(endpoint);
        self.touch_sandbox(sandbox, &mut change);
        Ok(change)
    }

    /// The owners that depend on a sandbox through links to and from it.
    pub(super) fn link_owners(&self, target: SandboxId) -> impl Iterator<Item = Owner> {
        let sources = self.index.linked_by.get(&target).into_iter().flatten();
        let sources = sources.flat_map(|(source, _)| [Owner::Links(*source), Owner::Sandbox(*source)]);
        std::iter::once(Owner::Links(target)).chain(sources)
    }
}

/// The targets of an endpoint's links by id, for the index. Links on other networks have names as targets, which are not
/// ids; a name in the form of an id only recomputes a fragment needlessly.
pub(super) fn linked(endpoint: &Endpoint) -> impl Iterator<Item = SandboxId> {
    targets(endpoint).map(|(target, _)| target)
}

#[cfg(test)]
mod tests;
