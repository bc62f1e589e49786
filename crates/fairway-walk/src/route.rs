//! Route lookup: policy routing rules, then the longest prefix of a table.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::packet::Tuple;
use super::topology::{Interface, NetworkNamespace, Route, RouteKind, RouteRule};

/// The key of a route lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteQuery<'a> {
    /// The destination address.
    pub destination: IpAddr,
    /// The source address; none before it is chosen.
    pub source: Option<IpAddr>,
    /// The name of the interface where the packet arrived; none for packets of local programs.
    pub input: Option<&'a str>,
    /// The interface that the packet has to leave by; none when the route decides. A packet to a link-local address
    /// leaves by the interface where it arrived.
    pub output: Option<&'a str>,
    /// The packet's mark.
    pub mark: u32,
    /// The number of the transport protocol; 0 when the query is about an address alone.
    pub protocol: u8,
    /// The source and destination port.
    pub ports: (u16, u16),
}

impl<'a> RouteQuery<'a> {
    /// Creates the query for an address, without protocol and ports.
    pub fn to(destination: IpAddr) -> Self {
        Self { destination, source: None, input: None, output: None, mark: 0, protocol: 0, ports: (0, 0) }
    }

    /// Creates the query for a packet with these addresses and ports. An unspecified source is not chosen yet.
    pub fn of(tuple: Tuple) -> Self {
        Self {
            source: (!tuple.source.is_unspecified()).then_some(tuple.source),
            protocol: tuple.protocol,
            ports: (tuple.source_port, tuple.destination_port),
            ..Self::to(tuple.destination)
        }
    }

    /// The interface that the route has to have: `rt6_need_strict` in net/ipv6/route.c.
    fn strict(&self) -> Option<&'a str> {
        // A packet from loopback was routed when it was sent.
        let arrived = self.input.filter(|input| is_link_local(self.destination) && *input != "lo");
        self.output.or(arrived)
    }
}

/// Whether an address is an IPv6 address of one link alone.
pub fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// The result of a route lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteResult<'a> {
    /// The lookup found this route.
    Found(&'a Route),
    /// No route leads there.
    NoRoute,
    /// A routing rule that the walker does not know comes before the result.
    Unknown(String),
}

/// Whether a routing rule is for the packet's family and its selectors match.
fn applies(rule: &RouteRule, query: &RouteQuery<'_>) -> bool {
    let within = |prefix: Option<IpNet>, address: Option<IpAddr>| match (prefix, address) {
        (None, _) => true,
        (Some(prefix), Some(address)) => prefix.contains(&address),
        (Some(prefix), None) => prefix.prefix_len() == 0,
    };
    let port = |range: Option<(u16, u16)>, port: u16| {
        range.is_none_or(|(first, last)| query.protocol != 0 && (first..=last).contains(&port))
    };
    let matches = within(rule.from, query.source)
        && within(rule.to, Some(query.destination))
        && rule.input.as_deref().is_none_or(|name| query.input.unwrap_or("lo") == name)
        && rule.output.as_deref().is_none_or(|name| query.output == Some(name))
        && rule.mark.is_none_or(|(mark, mask)| query.mark & mask == mark & mask)
        && rule.protocol.is_none_or(|protocol| query.protocol == protocol)
        && port(rule.source_ports, query.ports.0)
        && port(rule.destination_ports, query.ports.1);
    rule.ipv4 == query.destination.is_ipv4() && matches != rule.inverted
}

impl NetworkNamespace {
    /// The best route of a table: the longest prefix, then the lowest metric.
    fn best(&self, table: u32, destination: IpAddr, by: Option<&str>) -> Option<&Route> {
        // Few of thousands of routes match: only their interfaces are looked up.
        let leads = |route: &&Route| {
            // A namespace keeps its own addresses while their interface is down.
            let is_own = route.kind == RouteKind::Local;
            let fits = |interface: &Interface| match by {
                Some(name) => interface.up && interface.name == name,
                None => interface.up || is_own,
            };
            let usable = || self.interface(route.interface).is_none_or(fits);
            route.table == table && route.destination.contains(&destination) && usable()
        };
        let routes = self.routes.iter().filter(leads);
        routes.min_by_key(|route| (u8::MAX - route.destination.prefix_len(), route.metric))
    }

    /// Looks up the route of a packet.
    pub fn route(&self, query: &RouteQuery<'_>) -> RouteResult<'_> {
        for rule in self.rules.iter().filter(|rule| applies(rule, query)) {
            if let Some(reason) = &rule.unknown {
                return RouteResult::Unknown(format!("the routing rule {}: {reason}", rule.priority));
            }
            let found = self.best(rule.table, query.destination, query.strict());
            let counts = |route: &&Route| {
                let length = route.destination.prefix_len();
                route.kind != RouteKind::Throw && rule.suppressed.is_none_or(|most| length > most)
            };
            if let Some(route) = found.filter(counts) {
                return RouteResult::Found(route);
            }
        }
        RouteResult::NoRoute
    }

    /// The kind of an address, as `fib addrtype` reports it (`RTN_*`): from the local table alone, as
    /// `inet_addr_type` looks there.
    pub fn address_type(&self, address: IpAddr, only: Option<u32>) -> u32 {
        const UNICAST: u32 = 1;
        let multicast = address.is_multicast();
        let all = matches!(address, IpAddr::V4(address) if address.is_broadcast());
        let local = self.best(255, address, None).filter(|route| only.is_none_or(|it| route.interface == it));
        match local.map(|route| route.kind) {
            _ if multicast => 5,
            _ if all => 3,
            Some(RouteKind::Local) => 2,
            Some(RouteKind::Broadcast) => 3,
            _ => UNICAST,
        }
    }

    /// The source address that a local packet without one gets: the route's, or the first address of
    /// its interface in the subnet of the next hop, or the first that fits.
    pub fn source_for(&self, route: &Route, destination: IpAddr) -> Option<IpAddr> {
        if route.kind == RouteKind::Local {
            return route.source.or(Some(destination));
        }
        if route.source.is_some() {
            return route.source;
        }
        let next = route.gateway.unwrap_or(destination);
        let interface = self.interface(route.interface)?;
        let same = |net: &&IpNet| net.addr().is_ipv4() == destination.is_ipv4();
        if let IpAddr::V6(destination) = destination {
            return self.source_for_ipv6(interface, destination);
        }
        let near = interface.addresses.iter().filter(same).find(|net| net.contains(&next));
        let near = near.or_else(|| interface.addresses.iter().find(same)).map(|net| net.addr());
        near.or_else(|| {
            let others = self.interfaces.iter().filter(|other| !other.loopback);
            others.flat_map(|other| &other.addresses).find(same).map(|net| net.addr())
        })
    }

    /// RFC 6724, section 5, as `ipv6_get_saddr_eval` in net/ipv6/addrconf.c has it: an address of the destination's scope,
    /// that is not deprecated, of the interface rather than of another one, with the longest prefix in common.
    fn source_for_ipv6(&self, interface: &Interface, destination: Ipv6Addr) -> Option<IpAddr> {
        let scoped = destination.is_unicast_link_local();
        let own = |it: &&Interface| it.index == interface.index;
        let all = self.interfaces.iter().filter(|it| own(it) || !scoped);
        let addresses = all.flat_map(|it| {
            let usable = it.addresses.iter().filter_map(|net| match net {
                IpNet::V6(net) if !it.tentative.contains(&net.addr().into()) => Some(net),
                _ => None,
            });
            usable.filter(|net| !net.addr().is_loopback()).map(move |net| (it, net))
        });
        let rank = |(it, net): &(&Interface, &ipnet::Ipv6Net)| {
            let differs = u128::from(net.addr()) ^ u128::from(destination);
            let common = (differs.leading_zeros() as u8).min(net.prefix_len());
            let fits = net.addr().is_unicast_link_local() == scoped;
            (fits, !it.deprecated.contains(&net.addr().into()), own(it), common)
        };
        // The first of equally good addresses.
        let best = addresses.min_by_key(|candidate| std::cmp::Reverse(rank(candidate)));
        best.map(|(_, net)| IpAddr::V6(net.addr()))
    }
}
