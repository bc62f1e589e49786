//! Which way a packet goes: the rules of the routing policy, and the longest prefix.

use std::net::IpAddr;

use ipnet::IpNet;

use super::machine::{Machine, Route, RouteKind, RouteRule};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteQuestion<'a> {
    /// Where it goes.
    pub destination: IpAddr,
    /// Where it comes from; none when that is still open.
    pub source: Option<IpAddr>,
    /// The name of the interface that it arrived at; none when it was made here.
    pub input: Option<&'a str>,
    /// Its mark.
    pub mark: u32,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routed<'a> {
    /// This route won.
    By(&'a Route),
    /// There is none.
    Nowhere,
    /// A rule that is not known here stands before the answer.
    Unknown(String),
}

/// A rule and a packet are of one family, and the packet is what the rule is for.
fn applies(rule: &RouteRule, question: &RouteQuestion<'_>) -> bool {
    let within = |prefix: Option<IpNet>, address: Option<IpAddr>| match (prefix, address) {
        (None, _) => true,
        (Some(prefix), Some(address)) => prefix.contains(&address),
        (Some(prefix), None) => prefix.prefix_len() == 0,
    };
    rule.ipv4 == question.destination.is_ipv4()
        && within(rule.from, question.source)
        && within(rule.to, Some(question.destination))
        && rule.input.as_deref().is_none_or(|name| question.input.unwrap_or("lo") == name)
        && rule.mark.is_none_or(|(mark, mask)| question.mark & mask == mark & mask)
}

impl Machine {
    /// The best route of a table: the longest prefix, then the lowest metric.
    fn best(&self, table: u32, destination: IpAddr) -> Option<&Route> {
        // Of thousands of routes few lead there: only their interfaces are looked for.
        let leads = |route: &&Route| {
            let up = || self.interface(route.interface).is_none_or(|interface| interface.up);
            route.table == table && route.destination.contains(&destination) && up()
        };
        let routes = self.routes.iter().filter(leads);
        routes.min_by_key(|route| (u8::MAX - route.destination.prefix_len(), route.metric))
    }

    /// Which way a packet goes.
    pub fn route(&self, question: &RouteQuestion<'_>) -> Routed<'_> {
        for rule in self.rules.iter().filter(|rule| applies(rule, question)) {
            if let Some(reason) = &rule.unknown {
                return Routed::Unknown(format!("the routing rule {}: {reason}", rule.priority));
            }
            match self.best(rule.table, question.destination) {
                Some(route) if route.kind != RouteKind::Throw => return Routed::By(route),
                _ => {}
            }
        }
        Routed::Nowhere
    }

    /// The kind of an address, as `fib addrtype` tells it (`RTN_*`): from the local table alone, as
    /// `inet_addr_type` looks there.
    pub fn address_type(&self, address: IpAddr, only: Option<u32>) -> u32 {
        const UNICAST: u32 = 1;
        let multicast = address.is_multicast();
        let all = matches!(address, IpAddr::V4(address) if address.is_broadcast());
        let local = self.best(255, address).filter(|route| only.is_none_or(|it| route.interface == it));
        match local.map(|route| route.kind) {
            _ if multicast => 5,
            _ if all => 3,
            Some(RouteKind::Local) => 2,
            Some(RouteKind::Broadcast) => 3,
            _ => UNICAST,
        }
    }

    /// The source that a packet gets which is made here and has none: as the route says, or the first address of
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
        let near = interface.addresses.iter().filter(same).find(|net| net.contains(&next));
        let near = near.or_else(|| interface.addresses.iter().find(same)).map(|net| net.addr());
        near.or_else(|| {
            let others = self.interfaces.iter().filter(|other| !other.loopback);
            others.flat_map(|other| &other.addresses).find(same).map(|net| net.addr())
        })
    }
}
