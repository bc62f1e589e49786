//! The filter of a trace: which packets it shows.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::explain::{Peer, Port, QueryError, peer, resolve, split};
use fairway_core::object::{Key, Object, SocketUse};
use fairway_core::plan::Plan;
use fairway_core::world::World;
use fairway_model::{NetworkMode, Publication, Sandbox, SandboxId};
use fairway_walk::Tuple;

/// One side of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    /// Any address.
    Any,
    /// Addresses in these subnets.
    Nets(Vec<IpNet>),
    /// The host, by any of its addresses.
    Host,
    /// Neither the host nor an address on a network of Fairway.
    Outside,
}

/// Packets from one side to another, and their replies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// The side of the client.
    pub from: Side,
    /// The side of the server.
    pub to: Side,
    /// The server's ports, each with its protocol number; none for all packets.
    pub ports: Option<BTreeSet<Port>>,
}

/// An address and port that the proxy listens at, and the target of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Carried {
    protocol: u8,
    at: SocketAddr,
    target: SocketAddr,
}

/// Selects the packets that a trace shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Packets that any of these patterns match.
    pub patterns: Vec<Pattern>,
    /// The sandboxes whose namespaces are traced; those that the request names come first.
    pub sandboxes: Vec<SandboxId>,
    host: Vec<IpAddr>,
    inside: Vec<IpNet>,
    carried: Vec<Carried>,
    /// Whether bridged packets meet the IP hooks, for IPv4 and IPv6.
    bridges_seen: (bool, bool),
}

/// A side that the request names.
struct Named {
    side: Side,
    sandbox: Option<SandboxId>,
}

impl Filter {
    /// Parses the sides of a request: no side for all packets of Fairway's networks, one side, or two. `host` are the
    /// host's addresses.
    ///
    /// # Errors
    /// The name is not known, or the port is invalid.
    pub fn parse(
        world: &World,
        plan: &Plan,
        host: Vec<IpAddr>,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<Self, QueryError> {
        let subnets = world.networks().flat_map(|network| &network.subnets).map(|subnet| subnet.subnet);
        let inside: Vec<IpNet> = subnets.collect();
        let bridges_seen = (world.host().bridge_netfilter_ipv4, world.host().bridge_netfilter_ipv6);
        let carried = carried(plan);
        let mut filter = Self { host, inside, carried, bridges_seen, ..Self::default() };
        match (from, to) {
            (None, None) => filter.add_all(world),
            (Some(one), None) | (None, Some(one)) => {
                let (name, port) = split(one)?;
                let one = filter.named(world, plan, None, name)?;
                match port {
                    Some(port) => filter.ask(world, &ANY, &one, Some(port)),
                    None => {
                        filter.ask(world, &one, &ANY, None);
                        filter.ask(world, &ANY, &one, None);
                    }
                }
            }
            (Some(from), Some(to)) => {
                let (name, port) = split(to)?;
                let asked = filter.named(world, plan, Some(from), name)?;
                let asker = filter.named(world, plan, None, from)?;
                filter.ask(world, &asker, &asked, port);
            }
        }
        Ok(filter)
    }

    fn named(
        &self,
        world: &World,
        plan: &Plan,
        asker: Option<&str>,
        name: &str,
    ) -> Result<Named, QueryError> {
        if name == "any" {
            return Ok(ANY);
        }
        let by_name = || {
            let asker = peer(world, asker?)?;
            resolve(plan, &asker, name).map(Peer::Address)
        };
        let found = peer(world, name).or_else(by_name);
        let not_found = || QueryError::NotFound(name.to_owned(), asker.unwrap_or("FROM").to_owned());
        Ok(match found.ok_or_else(not_found)? {
            Peer::Sandbox(id) => Named { side: side_of(world, id), sandbox: Some(id) },
            Peer::Host => Named { side: Side::Host, sandbox: None },
            Peer::Lan(None) => Named { side: Side::Outside, sandbox: None },
            Peer::Lan(Some(address)) | Peer::Address(address) => {
                let holds = |sandbox: &&Sandbox| addresses(world, sandbox.id).contains(&address);
                let sandbox = world.sandboxes().find(holds).map(|sandbox| sandbox.id);
                Named { side: Side::Nets(vec![address.into()]), sandbox }
            }
            // A World has no namespaces of other engines.
            Peer::Namespace(_) => return Err(not_found()),
        })
    }

    fn ask(&mut self, world: &World, from: &Named, to: &Named, port: Option<Port>) {
        let ports = port.map(|port| BTreeSet::from([port]));
        self.add(from.side.clone(), to.side.clone(), ports);
        let ids = [from.sandbox, to.sandbox].into_iter().flatten();
        ids.for_each(|id| self.concern(world, id));
        let published = running(world).flat_map(|sandbox| {
            let pairs = sandbox.publications.iter().filter(|it| !it.routed).flat_map(pairs);
            pairs.map(|pair| (sandbox.id, pair))
        });
        let published: Vec<(SandboxId, Pair)> = published.collect();
        for (id, pair) in published {
            let names_sandbox = to.sandbox == Some(id) && port.is_none_or(|port| port == pair.inner);
            let names_port = port == Some(pair.outer) && self.is_at_host(&to.side, pair.address);
            if names_sandbox {
                let at = if pair.address.is_unspecified() { Side::Host } else { one(pair.address) };
                self.add(from.side.clone(), at, Some([pair.outer].into()));
            }
            if names_sandbox || names_port {
                // Connections of the proxy, and masqueraded packets, come from the host.
                self.add(Side::Host, side_of(world, id), Some([pair.inner].into()));
            }
            if names_port {
                self.concern(world, id);
            }
        }
        if from.side == Side::Any || to.side == Side::Any {
            match self.sandboxes.is_empty() {
                true => self.sandboxes = running(world).map(|sandbox| sandbox.id).collect(),
                false => self.concern_neighbours(world),
            }
        }
    }

    fn add_all(&mut self, world: &World) {
        let inside = Side::Nets(self.inside.clone());
        self.add(inside.clone(), Side::Any, None);
        self.add(Side::Any, inside, None);
        let published = running(world).flat_map(|sandbox| &sandbox.publications);
        let ports: BTreeSet<Port> = published.flat_map(pairs).map(|pair| pair.outer).collect();
        if !ports.is_empty() {
            self.add(Side::Any, Side::Host, Some(ports));
        }
        self.sandboxes = running(world).map(|sandbox| sandbox.id).collect();
    }

    fn add(&mut self, from: Side, to: Side, ports: Option<BTreeSet<Port>>) {
        let pattern = Pattern { from, to, ports };
        if !self.patterns.contains(&pattern) {
            self.patterns.push(pattern);
        }
    }

    fn concern(&mut self, world: &World, id: SandboxId) {
        let owner = world.sandbox(id).and_then(|sandbox| world.namespace_owner(sandbox));
        let id = owner.map_or(id, |owner| owner.id);
        if !self.sandboxes.contains(&id) {
            self.sandboxes.push(id);
        }
    }

    /// Adds the sandboxes that share a network with one that is named: they may be the other side.
    fn concern_neighbours(&mut self, world: &World) {
        let networks: BTreeSet<_> = self
            .sandboxes
            .iter()
            .flat_map(|id| world.endpoints_of_sandbox(*id))
            .map(|endpoint| endpoint.network)
            .collect();
        let near = world.endpoints().filter(|endpoint| networks.contains(&endpoint.network));
        let near: Vec<SandboxId> = near.map(|endpoint| endpoint.sandbox).collect();
        near.into_iter().for_each(|id| self.concern(world, id));
    }

    fn is_at_host(&self, side: &Side, address: IpAddr) -> bool {
        match side {
            Side::Host | Side::Any => true,
            Side::Nets(nets) => nets
                .iter()
                .any(|net| self.is_host(net.addr()) && (address.is_unspecified() || net.contains(&address))),
            Side::Outside => false,
        }
    }

    fn is_host(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.host.contains(&address)
    }

    fn has(&self, side: &Side, address: IpAddr) -> bool {
        match side {
            Side::Any => true,
            Side::Nets(nets) => nets.iter().any(|net| net.contains(&address)),
            Side::Host => self.is_host(address),
            Side::Outside => !self.is_host(address) && !self.inside.iter().any(|net| net.contains(&address)),
        }
    }

    /// Whether bridged packets of a family meet the IP hooks of the host.
    pub fn sees_bridged(&self, ipv4: bool) -> bool {
        if ipv4 { self.bridges_seen.0 } else { self.bridges_seen.1 }
    }

    /// Whether a packet with these addresses, or the one that it replies to, matches the filter.
    pub fn means(&self, tuple: Tuple) -> bool {
        self.begins(tuple) || self.begins(tuple.reversed())
    }

    /// Whether a flow is asked for whose first packet has these addresses at some place.
    pub fn begins(&self, tuple: Tuple) -> bool {
        let port = (tuple.destination_port, tuple.protocol);
        self.patterns.iter().any(|pattern| {
            pattern.ports.as_ref().is_none_or(|ports| ports.contains(&port))
                && self.has(&pattern.from, tuple.source)
                && self.has(&pattern.to, tuple.destination)
        })
    }

    /// Whether a connection from the host to `target` may be the proxy's for a client's connection to `asked`.
    pub fn is_carried(&self, asked: &Tuple, target: &Tuple) -> bool {
        self.is_host(target.source)
            && self.carried.iter().any(|it| {
                let at = SocketAddr::new(asked.destination, asked.destination_port);
                let to = SocketAddr::new(target.destination, target.destination_port);
                let here = it.at.ip().is_unspecified() || it.at.ip() == at.ip();
                [asked.protocol, target.protocol] == [it.protocol; 2]
                    && here
                    && it.at.port() == at.port()
                    && it.target == to
            })
    }
}

const ANY: Named = Named { side: Side::Any, sandbox: None };

/// A published port.
#[derive(Clone, Copy)]
struct Pair {
    address: IpAddr,
    outer: Port,
    inner: Port,
}

fn pairs(publication: &Publication) -> impl Iterator<Item = Pair> {
    let (address, protocol) = (publication.host_address, publication.protocol.number());
    publication.pairs().map(move |(outer, inner)| Pair {
        address,
        outer: (outer, protocol),
        inner: (inner, protocol),
    })
}

fn running(world: &World) -> impl Iterator<Item = &Sandbox> {
    world.sandboxes().filter(|sandbox| sandbox.running())
}

fn one(address: IpAddr) -> Side {
    Side::Nets(vec![address.into()])
}

fn addresses(world: &World, id: SandboxId) -> Vec<IpAddr> {
    let owner = world.sandbox(id).and_then(|sandbox| world.namespace_owner(sandbox));
    let endpoints = world.endpoints_of_sandbox(owner.map_or(id, |owner| owner.id));
    endpoints.iter().filter_map(|it| it.allocation.as_ref()).flat_map(|it| it.addresses()).collect()
}

fn side_of(world: &World, id: SandboxId) -> Side {
    let owner = world.sandbox(id).and_then(|sandbox| world.namespace_owner(sandbox));
    if owner.is_some_and(|owner| owner.mode == NetworkMode::Host) {
        return Side::Host;
    }
    Side::Nets(addresses(world, id).into_iter().map(IpNet::from).collect())
}

fn carried(plan: &Plan) -> Vec<Carried> {
    let objects = plan.objects();
    let sockets = objects.filter_map(|(key, object)| match (key, object) {
        (Key::Socket(protocol, at), Object::Socket(socket)) => match socket.purpose {
            SocketUse::Proxy(target) => Some(Carried { protocol: protocol.number(), at: *at, target }),
            SocketUse::Reserve => None,
        },
        _ => None,
    });
    sockets.collect()
}
