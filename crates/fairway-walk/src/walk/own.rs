//! The machine's own addresses that translation takes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Between, Carried, Walker};
use crate::machine::Interface;
use crate::route::{RouteQuestion, Routed};
use fairway_ruleset::{Family, Hook};

impl Walker<'_> {
    /// The source of what is masqueraded: of the interface that it leaves by, one that is near the next hop. What is
    /// for this machine alone (127.0.0.1) is for nobody else: then it is the first one of another interface
    /// (`inet_select_addr` in net/ipv4/devinet.c); by IPv6 who is asked for is answered as himself
    /// (`ipv6_get_saddr_eval` in net/ipv6/addrconf.c, RFC 6724 section 5, rule 1).
    pub(super) fn masqueraded_as(
        &self,
        machine: usize,
        carried: &Carried,
        between: Between<'_>,
    ) -> Option<IpAddr> {
        let tuple = carried.tuple();
        let place = self.machine(machine);
        let question = RouteQuestion { mark: carried.packet.mark, ..RouteQuestion::to(tuple.destination) };
        let next = match place.route(&question) {
            Routed::By(route) => route.gateway.unwrap_or(tuple.destination),
            _ => tuple.destination,
        };
        if tuple.destination.is_ipv6() && place.holder(tuple.destination).is_some() {
            return Some(tuple.destination);
        }
        let family = carried.packet.family();
        let output = between.output?;
        let near = usable(output, family).find(|net| net.contains(&next));
        let others = place.interfaces.iter().flat_map(|it| usable(it, family));
        near.or_else(|| usable(output, family).chain(others).next()).map(|net| net.addr())
    }
}

/// Where a redirection leads: for what is made here to loopback, else to the interface that it arrived at
/// (`nf_nat_redirect_ipv4` in net/netfilter/nf_nat_redirect.c).
pub(super) fn redirected_to(hook: Hook, between: Between<'_>, family: Family) -> Option<IpAddr> {
    match (hook, family) {
        (Hook::Output, Family::Ip6) => Some(Ipv6Addr::LOCALHOST.into()),
        (Hook::Output, _) => Some(Ipv4Addr::LOCALHOST.into()),
        _ => between.input.and_then(|input| addresses(input, family).next()).map(|net| net.addr()),
    }
}

fn addresses(interface: &Interface, family: Family) -> impl Iterator<Item = &IpNet> {
    interface.addresses.iter().filter(move |net| net.addr().is_ipv6() == (family == Family::Ip6))
}

/// Those that are for others, too.
fn usable(interface: &Interface, family: Family) -> impl Iterator<Item = &IpNet> {
    addresses(interface, family).filter(|net| !net.addr().is_loopback())
}
