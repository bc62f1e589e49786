//! Output: sends the packets of local programs and of the kernel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{HookInterfaces, InFlight, Next, Walker, leaving_by, several_hops};
use crate::discard::DiscardReason;
use crate::packet::{FlowPosition, Tuple};
use crate::route::{RouteQuery, RouteResult, is_link_local};
use crate::sender::{ROOT, Sender};
use crate::step::{End, Step};
use crate::topology::{Interface, NamespaceId, Route, RouteKind};
use fairway_ruleset::Hook;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Replaces an unspecified destination with loopback: `ip_route_output_key_hash_rcu` in net/ipv4/route.c, and
/// `tcp_v6_connect` in net/ipv6/tcp_ipv6.c.
fn to_itself(tuple: Tuple) -> Tuple {
    let destination = match (tuple.destination, tuple.source) {
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => Ipv4Addr::LOCALHOST.into(),
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), source) => source,
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), _) => Ipv6Addr::LOCALHOST.into(),
        _ => return tuple,
    };
    Tuple { destination, ..tuple }
}

/// Whether a program of this namespace may send by a route.
fn can_send_by(route: &Route) -> bool {
    use RouteKind as Kind;
    matches!(route.kind, Kind::Unicast | Kind::Local | Kind::Broadcast | Kind::Multicast)
}

impl Walker<'_> {
    /// Sends a packet of a local program: route lookup, output hooks, link.
    pub(super) fn send_new(&mut self, sender: Sender, tuple: Tuple, place: FlowPosition) -> Next {
        let Sender { namespace, user, interface } = sender;
        let mut tuple = to_itself(tuple);
        let output = interface.and_then(|index| self.namespace(namespace).interface(index));
        let output = output.map(|interface| interface.name.as_str());
        let found = match self.namespace(namespace).route(&RouteQuery { output, ..RouteQuery::of(tuple) }) {
            // With a source the route may be another one: `ip_route_connect` in include/net/route.h.
            RouteResult::Found(route) if tuple.source.is_unspecified() && can_send_by(route) => {
                match self.namespace(namespace).source_for(route, tuple.destination) {
                    Some(source) => tuple.source = source,
                    None => return Next::End(self.discarded(namespace, DiscardReason::NoSourceAddress)),
                }
                let asks_again = tuple.source.is_ipv4() && matches!(tuple.protocol, TCP | UDP);
                (!asks_again).then_some(route)
            }
            _ => None,
        };
        let query = RouteQuery { output, ..RouteQuery::of(tuple) };
        let route = match found {
            Some(route) => self.by_route(namespace, route),
            None => match self.route(namespace, &query) {
                Ok(route) => route,
                Err(end) => return Next::End(end),
            },
        };
        // `tcp_v4_connect` in net/ipv4/tcp_ipv4.c.
        let to_all =
            tuple.protocol == TCP && matches!(route.kind, RouteKind::Broadcast | RouteKind::Multicast);
        if to_all || !can_send_by(route) {
            let by = Some(route.kind);
            return Next::End(End::NoRoute { namespace, destination: tuple.destination, by });
        }
        if matches!(place, FlowPosition::First | FlowPosition::Established) {
            self.sent_tuples.push((namespace, tuple));
        }
        let packet = self.packet(Some(self.namespace(namespace)), tuple, place);
        // Resets and echo replies are the kernel's own.
        let is_of_kernel = packet.is_reset() || packet.echoes() == Some(true);
        let user = (!is_of_kernel).then_some(user.unwrap_or(ROOT));
        self.output(namespace, route, InFlight { user, ..InFlight::new(packet) })
    }

    /// Sends a local packet by a route.
    pub(super) fn output(&mut self, namespace: NamespaceId, route: &Route, mut in_flight: InFlight) -> Next {
        let tuple = in_flight.tuple();
        self.steps.push(Step::Made { namespace, tuple });
        let output = self.namespace(namespace).interface(leaving_by(self.namespace(namespace), route));
        if let Err(end) = self.hook(namespace, Hook::Output, &mut in_flight, HookInterfaces::out_by(output)) {
            return Next::End(end);
        }
        let Some(mark) = in_flight.rerouted else {
            return self.transmit_by_route(namespace, route, in_flight);
        };
        let now = in_flight.tuple();
        // `ip6_route_me_harder` in net/ipv6/netfilter.c: a link-local packet keeps its interface.
        let by =
            self.namespace(namespace).interface(route.interface).filter(|_| is_link_local(now.destination));
        let output = by.map(|interface| interface.name.as_str());
        let query = RouteQuery { output, mark, ..RouteQuery::of(now) };
        match self.route(namespace, &query) {
            Ok(route) => self.transmit_by_route(namespace, route, in_flight),
            Err(end) => Next::End(end),
        }
    }

    /// Routes a local packet again after the output hooks translated it: `ip_route_me_harder` in net/ipv4/netfilter.c.
    pub(super) fn reroute_after_dnat(
        &mut self,
        namespace: NamespaceId,
        in_flight: &InFlight,
    ) -> Result<(), End> {
        let tuple = in_flight.tuple();
        let query = RouteQuery { mark: in_flight.packet.mark, ..RouteQuery::of(tuple) };
        let place = self.namespace(namespace);
        match place.route(&query) {
            RouteResult::Found(route) if can_send_by(route) => {
                let output = place.interface(leaving_by(place, route));
                let found = output
                    .map_or(Ok(()), |output| self.check_loopback_source(namespace, output, tuple.source));
                if found.is_err() {
                    self.route(namespace, &query)?;
                }
                found
            }
            RouteResult::Found(route) if route.kind == RouteKind::Multipath => {
                Err(End::Unknown { namespace, reason: several_hops(route) })
            }
            RouteResult::Found(route) => {
                Err(End::NoRoute { namespace, destination: tuple.destination, by: Some(route.kind) })
            }
            RouteResult::NoRoute => Err(End::NoRoute { namespace, destination: tuple.destination, by: None }),
            RouteResult::Unknown(reason) => Err(End::Unknown { namespace, reason }),
        }
    }

    /// RFC 1122, 3.2.1.3: 127/8 never appears outside a host; `__mkroute_output` in net/ipv4/route.c.
    fn check_loopback_source(
        &self,
        namespace: NamespaceId,
        output: &Interface,
        source: IpAddr,
    ) -> Result<(), End> {
        let is_loopback = matches!(source, IpAddr::V4(source) if source.is_loopback());
        if !is_loopback || output.loopback || output.route_localnet {
            return Ok(());
        }
        let interface = output.name.clone();
        Err(self.discarded(namespace, DiscardReason::LoopbackSourceLeaves { source, interface }))
    }

    /// Sends a packet by a route: the last hooks, then the link.
    fn transmit_by_route(&mut self, namespace: NamespaceId, route: &Route, mut in_flight: InFlight) -> Next {
        let place = self.namespace(namespace);
        if !can_send_by(route) {
            let destination = in_flight.tuple().destination;
            return Next::End(End::NoRoute { namespace, destination, by: Some(route.kind) });
        }
        let Some(output) = place.interface(leaving_by(place, route)) else {
            return Next::End(self.discarded(namespace, DiscardReason::RouteInterfaceGone));
        };
        if let Err(end) = self.check_loopback_source(namespace, output, in_flight.tuple().source) {
            return Next::End(end);
        }
        if let Err(end) =
            self.hook(namespace, Hook::Postrouting, &mut in_flight, HookInterfaces::out_by(Some(output)))
        {
            return Next::End(end);
        }
        let next = route.gateway.unwrap_or(in_flight.tuple().destination);
        let reaches_many =
            output.kind == "bridge" || output.peer.is_some() || output.macvlan_parent.is_some();
        if route.kind == RouteKind::Broadcast && reaches_many {
            let reason =
                format!("all neighbors on {} get what is sent to the broadcast address {next}", output.name);
            return Next::End(End::Unknown { namespace, reason });
        }
        self.transmit(namespace, output, next, in_flight)
    }
}
