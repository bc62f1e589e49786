//! The filter of a trace: which packets it shows.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::event::{Event, TracedNamespace};
use super::timeline::observed;
use super::traced_host::{Proxied, PublishedPair, TraceEnd, TraceQuery, TracedContainer, TracedHost};
use crate::explain::Port;
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
    /// Neither the host nor an address on a network of containers.
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

/// Selects the packets that a trace shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Packets that any of these patterns match.
    pub patterns: Vec<Pattern>,
    /// The containers whose namespaces are traced, by their place; those that the request names come first.
    pub containers: Vec<usize>,
    /// The container of which all packets are shown, whatever their addresses.
    within: Option<TracedNamespace>,
    host: Vec<IpAddr>,
    subnets: Vec<IpNet>,
    proxied: Vec<Proxied>,
    bridges_seen: (bool, bool),
}

/// A side that the request names.
struct Named {
    side: Side,
    container: Option<usize>,
}

impl Filter {
    /// The filter for the packets that a query means on a host.
    pub fn new(host: &TracedHost, query: TraceQuery) -> Self {
        let mut filter = Self {
            host: host.addresses.clone(),
            subnets: host.subnets.clone(),
            proxied: host.proxied.clone(),
            bridges_seen: host.bridges_seen,
            ..Self::default()
        };
        match query {
            TraceQuery::All => filter.add_all(host),
            TraceQuery::One(end, Some(port)) => filter.ask(host, &ANY, &named(host, end), Some(port)),
            TraceQuery::One(end, None) => {
                let one = named(host, end);
                filter.ask(host, &one, &ANY, None);
                filter.ask(host, &ANY, &one, None);
                let container = one.container.and_then(|place| host.containers.get(place));
                filter.within =
                    container.filter(|it| !it.on_host).map(|it| TracedNamespace::Container(it.label.clone()));
            }
            TraceQuery::Between(from, to, port) => {
                filter.ask(host, &named(host, from), &named(host, to), port);
            }
        }
        filter
    }

    fn ask(&mut self, host: &TracedHost, from: &Named, to: &Named, port: Option<Port>) {
        let ports = port.map(|port| BTreeSet::from([port]));
        self.add(from.side.clone(), to.side.clone(), ports);
        let places = [from.container, to.container].into_iter().flatten();
        places.for_each(|place| self.concern(host, place));
        for (place, container) in running(host) {
            for PublishedPair { host_address, host_port, container_port } in
                container.published.iter().copied()
            {
                let names_container = to.container == Some(place)
                    && (port.is_none() || container_port.is_none() || port == container_port);
                let names_port = port == Some(host_port) && self.is_at_host(&to.side, host_address);
                if names_container {
                    let at = if host_address.is_unspecified() { Side::Host } else { one(host_address) };
                    self.add(from.side.clone(), at, Some([host_port].into()));
                }
                if names_container || names_port {
                    // Connections of the proxy, and masqueraded packets, come from the host.
                    let ports = container_port.map(|port| [port].into());
                    self.add(Side::Host, side_of(container), ports);
                }
                if names_port {
                    self.concern(host, place);
                }
            }
        }
        if from.side == Side::Any || to.side == Side::Any {
            match self.containers.is_empty() {
                true => self.concern_all(host),
                false => self.concern_neighbors(host),
            }
        }
    }

    fn add_all(&mut self, host: &TracedHost) {
        let inside = Side::Nets(self.subnets.clone());
        self.add(inside.clone(), Side::Any, None);
        self.add(Side::Any, inside, None);
        let published = running(host).flat_map(|(_, container)| &container.published);
        let ports: BTreeSet<Port> = published.map(|pair| pair.host_port).collect();
        if !ports.is_empty() {
            self.add(Side::Any, Side::Host, Some(ports));
        }
        self.concern_all(host);
    }

    fn add(&mut self, from: Side, to: Side, ports: Option<BTreeSet<Port>>) {
        let pattern = Pattern { from, to, ports };
        if !self.patterns.contains(&pattern) {
            self.patterns.push(pattern);
        }
    }

    /// Adds a container, and the namespaces between it and the host.
    fn concern(&mut self, host: &TracedHost, place: usize) {
        let Some(container) = host.containers.get(place).filter(|it| !it.on_host) else { return };
        for place in std::iter::once(place).chain(container.behind.iter().copied()) {
            if !self.containers.contains(&place) {
                self.containers.push(place);
            }
        }
    }

    fn concern_all(&mut self, host: &TracedHost) {
        running(host).for_each(|(place, _)| self.concern(host, place));
    }

    /// Adds the containers that share a network with one that is named: they may be the other side.
    fn concern_neighbors(&mut self, host: &TracedHost) {
        let known = self.containers.iter().filter_map(|place| host.containers.get(*place));
        let networks: BTreeSet<&String> = known.flat_map(|it| &it.networks).collect();
        let is_near = |it: &TracedContainer| it.networks.iter().any(|network| networks.contains(network));
        let near = host.containers.iter().enumerate().filter(|(_, it)| is_near(it));
        near.for_each(|(place, _)| self.concern(host, place));
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
            Side::Outside => !self.is_host(address) && !self.subnets.iter().any(|net| net.contains(&address)),
        }
    }

    /// Whether bridged packets of a family meet the IP hooks of the host.
    pub fn sees_bridged(&self, ipv4: bool) -> bool {
        if ipv4 { self.bridges_seen.0 } else { self.bridges_seen.1 }
    }

    /// Whether an event is one of a namespace of which all packets are shown but those to groups, which arrive
    /// unasked.
    pub fn takes(&self, event: &Event) -> bool {
        let to_one = |destination: IpAddr| match destination {
            IpAddr::V4(address) => !address.is_multicast() && !address.is_broadcast(),
            IpAddr::V6(address) => !address.is_multicast(),
        };
        self.within.as_ref() == Some(&event.namespace)
            && observed(event).is_some_and(|it| to_one(it.tuple.destination))
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
            && self.proxied.iter().any(|it| {
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

const ANY: Named = Named { side: Side::Any, container: None };

fn named(host: &TracedHost, end: TraceEnd) -> Named {
    match end {
        TraceEnd::Any => ANY,
        TraceEnd::Host => Named { side: Side::Host, container: None },
        TraceEnd::Outside => Named { side: Side::Outside, container: None },
        TraceEnd::Container(place) => {
            let side = host.containers.get(place).map_or(Side::Nets(Vec::new()), side_of);
            Named { side, container: Some(place) }
        }
        TraceEnd::Address(address) => {
            let container = host.containers.iter().position(|it| it.addresses.contains(&address));
            Named { side: one(address), container }
        }
    }
}

fn running(host: &TracedHost) -> impl Iterator<Item = (usize, &TracedContainer)> {
    host.containers.iter().enumerate().filter(|(_, container)| container.running)
}

fn one(address: IpAddr) -> Side {
    Side::Nets(vec![address.into()])
}

fn side_of(container: &TracedContainer) -> Side {
    if container.on_host {
        return Side::Host;
    }
    Side::Nets(container.addresses.iter().copied().map(IpNet::from).collect())
}
