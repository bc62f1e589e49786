//! The filter of a trace of sandboxes: what its names mean in a World.

use std::net::IpAddr;

use super::filter::Filter;
use super::traced_host::{Proxied, PublishedPair, TraceEnd, TraceQuery, TracedContainer, TracedHost};
use crate::explain::{Peer, QueryError, peer, resolve, shown_name, split};
use fairway_core::object::{Key, Object, SocketUse};
use fairway_core::plan::Plan;
use fairway_core::world::World;
use fairway_model::{NetworkMode, Sandbox, SandboxId};

/// Parses the sides of a request: no side for all packets of Fairway's networks, one side, or two. `host` are the
/// host's addresses. Returns the filter, and the sandboxes that its places of containers mean.
///
/// # Errors
/// The name is not known, or the port is invalid.
pub fn filter_of_world(
    world: &World,
    plan: &Plan,
    host: Vec<IpAddr>,
    from: Option<&str>,
    to: Option<&str>,
) -> Result<(Filter, Vec<SandboxId>), QueryError> {
    let owners: Vec<&Sandbox> =
        world.sandboxes().filter(|it| !matches!(it.mode, NetworkMode::Shared(_))).collect();
    let names = Names { world, plan, owners: &owners };
    let query = match (from, to) {
        (None, None) => TraceQuery::All,
        (Some(one), None) | (None, Some(one)) => {
            let (name, port) = split(one)?;
            TraceQuery::One(names.end(None, name)?, port)
        }
        (Some(from), Some(to)) => {
            let (name, port) = split(to)?;
            TraceQuery::Between(names.end(None, from)?, names.end(Some(from), name)?, port)
        }
    };
    let subnets = world.networks().flat_map(|network| &network.subnets).map(|subnet| subnet.subnet);
    let traced = TracedHost {
        addresses: host,
        subnets: subnets.collect(),
        containers: owners.iter().map(|owner| container(world, owner)).collect(),
        proxied: proxied(plan),
        bridges_seen: (world.host().bridge_netfilter_ipv4, world.host().bridge_netfilter_ipv6),
    };
    Ok((Filter::new(&traced, query), owners.iter().map(|owner| owner.id).collect()))
}

/// What names mean.
struct Names<'w> {
    world: &'w World,
    plan: &'w Plan,
    owners: &'w [&'w Sandbox],
}

impl Names<'_> {
    fn end(&self, asker: Option<&str>, name: &str) -> Result<TraceEnd, QueryError> {
        if name == "any" {
            return Ok(TraceEnd::Any);
        }
        let by_name = || {
            let asker = peer(self.world, asker?)?;
            resolve(self.plan, &asker, name).map(Peer::Address)
        };
        let found = peer(self.world, name).or_else(by_name);
        let not_found = || QueryError::NotFound(name.to_owned(), asker.unwrap_or("FROM").to_owned());
        Ok(match found.ok_or_else(not_found)? {
            Peer::Sandbox(id) => TraceEnd::Container(self.place(id).ok_or_else(not_found)?),
            Peer::Host => TraceEnd::Host,
            Peer::Lan(None) => TraceEnd::Outside,
            Peer::Lan(Some(address)) | Peer::Address(address) => TraceEnd::Address(address),
            // A World has no namespaces of other engines.
            Peer::Namespace(_) => return Err(not_found()),
        })
    }

    /// The place of the sandbox whose namespace a sandbox uses.
    fn place(&self, id: SandboxId) -> Option<usize> {
        let owner = self.world.namespace_owner(self.world.sandbox(id)?)?.id;
        self.owners.iter().position(|it| it.id == owner)
    }
}

fn container(world: &World, owner: &Sandbox) -> TracedContainer {
    let endpoints = world.endpoints_of_sandbox(owner.id);
    let guests = world.sandboxes().filter(|it| it.mode == NetworkMode::Shared(owner.id));
    let publications = std::iter::once(owner).chain(guests).flat_map(|it| &it.publications);
    let published = publications.filter(|it| !it.routed).flat_map(|publication| {
        let (host_address, protocol) = (publication.host_address, publication.protocol.number());
        publication.pairs().map(move |(outer, inner)| PublishedPair {
            host_address,
            host_port: (outer, protocol),
            container_port: Some((inner, protocol)),
        })
    });
    TracedContainer {
        label: shown_name(&owner.name),
        running: owner.running(),
        on_host: owner.mode == NetworkMode::Host,
        addresses: endpoints
            .iter()
            .filter_map(|it| it.allocation.as_ref())
            .flat_map(|it| it.addresses())
            .collect(),
        networks: endpoints.iter().map(|it| it.network.to_string()).collect(),
        published: published.collect(),
        behind: Vec::new(),
    }
}

fn proxied(plan: &Plan) -> Vec<Proxied> {
    let objects = plan.objects();
    let sockets = objects.filter_map(|(key, object)| match (key, object) {
        (Key::Socket(protocol, at), Object::Socket(socket)) => match socket.purpose {
            SocketUse::Proxy(target) => Some(Proxied { protocol: protocol.number(), at: *at, target }),
            SocketUse::Reserve => None,
        },
        _ => None,
    });
    sockets.collect()
}
