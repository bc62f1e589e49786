//! Chooses the address for masquerade and redirect.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{HookInterfaces, InFlight, Walker};
use crate::route::{RouteQuery, RouteResult};
use crate::topology::{Interface, NamespaceId};
use fairway_ruleset::{Family, Hook};

impl Walker<'_> {
    /// The new source of a masqueraded packet: an address of the output interface, in the subnet of the next hop. If it
    /// is of host scope (127.0.0.1), then the first address of another interface (`inet_select_addr` in
    /// net/ipv4/devinet.c). For IPv6, the destination itself if it is a local address (`ipv6_get_saddr_eval` in
    /// net/ipv6/addrconf.c, RFC 6724 section 5, rule 1).
    pub(super) fn masqueraded_as(
        &self,
        namespace: NamespaceId,
        in_flight: &InFlight,
        interfaces: HookInterfaces<'_>,
    ) -> Option<IpAddr> {
        let tuple = in_flight.tuple();
        let place = self.namespace(namespace);
        let query = RouteQuery { mark: in_flight.packet.mark, ..RouteQuery::to(tuple.destination) };
        let next = match place.route(&query) {
            RouteResult::Found(route) => route.gateway.unwrap_or(tuple.destination),
            _ => tuple.destination,
        };
        if tuple.destination.is_ipv6() && place.holder(tuple.destination).is_some() {
            return Some(tuple.destination);
        }
        let family = in_flight.packet.family();
        let output = interfaces.output?;
        let near = usable(output, family).find(|net| net.contains(&next));
        let others = place.interfaces.iter().flat_map(|it| usable(it, family));
        near.or_else(|| usable(output, family).chain(others).next()).map(|net| net.addr())
    }
}

/// The new destination of a redirect: loopback for local packets, else an address of the input interface
/// (`nf_nat_redirect_ipv4` in net/netfilter/nf_nat_redirect.c).
pub(super) fn redirected_to(hook: Hook, interfaces: HookInterfaces<'_>, family: Family) -> Option<IpAddr> {
    match (hook, family) {
        (Hook::Output, Family::Ip6) => Some(Ipv6Addr::LOCALHOST.into()),
        (Hook::Output, _) => Some(Ipv4Addr::LOCALHOST.into()),
        _ => interfaces.input.and_then(|input| addresses(input, family).next()).map(|net| net.addr()),
    }
}

fn addresses(interface: &Interface, family: Family) -> impl Iterator<Item = &IpNet> {
    interface.addresses.iter().filter(move |net| net.addr().is_ipv6() == (family == Family::Ip6))
}

/// Addresses that are valid outside this namespace.
fn usable(interface: &Interface, family: Family) -> impl Iterator<Item = &IpNet> {
    addresses(interface, family).filter(|net| !net.addr().is_loopback())
}
