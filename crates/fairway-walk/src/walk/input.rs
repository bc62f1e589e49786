//! Input routing: delivers a packet to a socket of the namespace, or forwards it.

use std::net::IpAddr;

use super::refusal::{How, unreachable};
use super::{HookInterfaces, InFlight, Next, Walker};
use crate::discard::DiscardReason;
use crate::packet::Tuple;
use crate::route::{RouteQuery, RouteResult, is_link_local};
use crate::step::End;
use crate::topology::{Interface, NamespaceId, NetworkNamespace, RouteKind};
use fairway_ruleset::Hook;

const TCP: u8 = 6;
const UDP: u8 = 17;

impl<'a> Walker<'a> {
    /// Routes an arriving packet to a socket of this namespace or onward.
    pub(super) fn route_input(
        &mut self,
        namespace: NamespaceId,
        input: &'a Interface,
        mut in_flight: InFlight,
        hooked: bool,
    ) -> Next {
        let place = self.namespace(namespace);
        if !hooked
            && let Err(end) =
                self.hook(namespace, Hook::Prerouting, &mut in_flight, HookInterfaces::in_by(input))
        {
            return Next::End(end);
        }
        let tuple = in_flight.tuple();
        if let Some(reason) = martian(input, &tuple) {
            return Next::End(self.discarded(namespace, reason));
        }
        let mark = in_flight.packet.mark;
        let query = RouteQuery { input: Some(&input.name), mark, ..RouteQuery::of(tuple) };
        let ipv4 = tuple.source.is_ipv4();
        let forwards = input.loopback || if ipv4 { input.forwarding.0 } else { input.forwarding.1 };
        let route = match place.route(&query) {
            RouteResult::Unknown(_) | RouteResult::Found(_) => match self.route(namespace, &query) {
                Ok(route) => Some(route),
                Err(end) => return Next::End(end),
            },
            RouteResult::NoRoute => None,
        };
        let kind = route.map_or(RouteKind::Unreachable, |route| route.kind);
        let here = matches!(kind, RouteKind::Local | RouteKind::Broadcast | RouteKind::Multicast);
        // A namespace that does not forward sends no "no route" error.
        if !here && !forwards && (ipv4 || kind == RouteKind::Unicast) {
            // Of IPv6 the kernel asks one sysctl alone (`ip6_forward`).
            let others = place.interfaces.iter().any(|other| !other.loopback && other.forwarding.0);
            let interface = (ipv4 && others).then(|| input.name.clone());
            let reason = DiscardReason::NotForwarding { destination: tuple.destination, interface };
            return Next::End(self.discarded(namespace, reason));
        }
        let code = match (kind, ipv4, route.is_some()) {
            (RouteKind::Blackhole, ..) => {
                return Next::End(self.discarded(namespace, DiscardReason::Blackhole));
            }
            (RouteKind::Unreachable, true, true) => Some(unreachable::HOST),
            (RouteKind::Unreachable | RouteKind::Throw, ..) => Some(unreachable::NETWORK),
            (RouteKind::Prohibit, true, _) => Some(unreachable::FILTERED),
            (RouteKind::Prohibit, false, _) => Some(unreachable::PROHIBITED_IPV6),
            _ => None,
        };
        if let Some(code) = code {
            self.refuse(namespace, &in_flight, Some(input.index), How::Unreachable(code));
            let by = route.map(|route| route.kind);
            return Next::End(End::NoRoute { namespace, destination: tuple.destination, by });
        }
        let onward = route.filter(|_| !here).and_then(|route| place.interface(route.interface));
        if let Some(reason) = unexpected_source(place, input, onward, &tuple, mark) {
            return Next::End(self.discarded(namespace, reason));
        }
        if here {
            return Next::End(self.deliver(namespace, input, kind, in_flight));
        }
        let Some(route) = route else {
            return Next::End(End::NoRoute { namespace, destination: tuple.destination, by: None });
        };
        // `ip6_forward` in net/ipv6/ip6_output.c; RFC 4291, 2.5.6.
        if is_link_local(tuple.source) {
            self.refuse(namespace, &in_flight, Some(input.index), How::Unreachable(unreachable::SCOPE_IPV6));
            return Next::End(self.discarded(namespace, DiscardReason::LinkLocalSource(tuple.source)));
        }
        if !in_flight.packet.pass_on() {
            self.refuse(namespace, &in_flight, Some(input.index), How::Expired);
            return Next::End(self.discarded(namespace, DiscardReason::HopLimit));
        }
        let output = place.interface(route.interface);
        let interfaces = HookInterfaces { input: Some(input), output, ports: None };
        if let Err(end) = self.hook(namespace, Hook::Forward, &mut in_flight, interfaces) {
            return Next::End(end);
        }
        let Some(output) = output else {
            return Next::End(self.discarded(namespace, DiscardReason::RouteInterfaceGone));
        };
        if let Err(end) = self.hook(namespace, Hook::Postrouting, &mut in_flight, interfaces) {
            return Next::End(end);
        }
        let next = route.gateway.unwrap_or(in_flight.tuple().destination);
        self.transmit(namespace, output, next, in_flight)
    }

    fn deliver(
        &mut self,
        namespace: NamespaceId,
        input: &'a Interface,
        kind: RouteKind,
        mut in_flight: InFlight,
    ) -> End {
        if let Err(end) = self.hook(namespace, Hook::Input, &mut in_flight, HookInterfaces::in_by(input)) {
            return end;
        }
        let tuple = in_flight.tuple();
        let place = self.namespace(namespace);
        if let Some(end) = self.meet_virtual_server(namespace, input.index, &in_flight) {
            return end;
        }
        // A packet to itself by loopback arrives at the interface that has the address (`ip6_rcv_core`).
        let own = place.holder(tuple.destination).filter(|_| input.loopback);
        self.arrived = Some(own.unwrap_or(input).index);
        let theirs = match in_flight.packet.about() {
            Some(about) => self.sent_tuples.contains(&(namespace, about)),
            None => {
                in_flight.packet.echoes() != Some(false)
                    && self.sent_tuples.contains(&(namespace, tuple.reversed()))
            }
        };
        if theirs {
            return End::Delivered {
                namespace,
                owner: "the program that asked".to_owned(),
                tuple,
                proxy: None,
            };
        }
        if in_flight.packet.about().is_some() {
            return self.discarded(namespace, DiscardReason::Unsolicited);
        }
        // `tcp_v4_conn_request` in net/ipv4/tcp_ipv4.c, and `icmp_echo_ignore_broadcasts`.
        let broadcast = kind == RouteKind::Broadcast;
        if broadcast && tuple.protocol != UDP {
            return self.discarded(namespace, DiscardReason::Broadcast(tuple.destination));
        }
        if matches!(tuple.protocol, 1 | 58) {
            let ipv4 = tuple.source.is_ipv4();
            let ignores = if ipv4 { place.ignores_echo.0 } else { place.ignores_echo.1 };
            if ignores && in_flight.packet.echoes() == Some(false) {
                return self.discarded(namespace, DiscardReason::EchoIgnored { ipv4 });
            }
            return End::Delivered {
                namespace,
                owner: "the kernel, which answers".to_owned(),
                tuple,
                proxy: None,
            };
        }
        let (address, port) = (tuple.destination, tuple.destination_port);
        match self.lookup.listener((namespace, place), tuple.protocol, (address, port), Some(input.index)) {
            Ok(Some(listener)) if !listener.held => {
                let (owner, proxy) = (listener.owner.clone(), listener.proxy);
                End::Delivered { namespace, owner, tuple, proxy }
            }
            Ok(Some(listener)) if tuple.protocol == UDP => {
                self.discarded(namespace, DiscardReason::HeldPort(listener.owner.clone()))
            }
            // No error answers a broadcast (RFC 1122, 3.2.2).
            Ok(_) if broadcast => self.discarded(namespace, DiscardReason::Broadcast(tuple.destination)),
            Ok(_) => {
                let how = match (tuple.protocol, tuple.destination) {
                    (TCP, _) => How::Reset,
                    (_, IpAddr::V4(_)) => How::Unreachable(unreachable::PORT),
                    (_, IpAddr::V6(_)) => How::Unreachable(unreachable::PORT_IPV6),
                };
                self.refuse(namespace, &in_flight, Some(input.index), how);
                End::NoListener { namespace, tuple }
            }
            Err(reason) => End::Unknown { namespace, reason },
        }
    }
}

/// The reason why a packet's addresses are invalid where it arrived (RFC 1812, 5.3.7): `ip_route_input_slow` in
/// net/ipv4/route.c, `ip6_rcv_core` in net/ipv6/ip6_input.c.
fn martian(input: &Interface, tuple: &Tuple) -> Option<DiscardReason> {
    if input.loopback {
        return None;
    }
    let is_martian = |address: IpAddr| address.is_loopback() && !(address.is_ipv4() && input.route_localnet);
    let mut ends = [(tuple.destination, false), (tuple.source, true)].into_iter();
    let (address, is_source) = ends.find(|(address, _)| is_martian(*address))?;
    Some(DiscardReason::LoopbackArrives { address, is_source, interface: input.name.clone() })
}

/// The reason why a source cannot be behind an interface, or `rp_filter` drops it (RFC 3704; IPv4 only):
/// `__fib_validate_source` in net/ipv4/fib_frontend.c. With `output`, the lookup takes that interface as the input.
pub(super) fn unexpected_source(
    namespace: &NetworkNamespace,
    input: &Interface,
    output: Option<&Interface>,
    tuple: &Tuple,
    mark: u32,
) -> Option<DiscardReason> {
    if input.loopback || !tuple.source.is_ipv4() {
        return None;
    }
    if namespace.holder(tuple.source).is_some() {
        return Some(DiscardReason::OwnSource { source: tuple.source, interface: input.name.clone() });
    }
    if input.reverse_path == 0 {
        return None;
    }
    let from = output.map(|output| output.name.as_str());
    let query = RouteQuery { input: from, mark, ..RouteQuery::of(tuple.reversed()) };
    let back = match namespace.route(&query) {
        RouteResult::Found(route) if route.kind == RouteKind::Unicast => Some(route.interface),
        RouteResult::Found(route) if route.kind == RouteKind::Multipath => return None,
        RouteResult::Unknown(_) => return None,
        _ => None,
    };
    let fits = match (back, input.reverse_path) {
        (Some(index), 1) => index == input.index,
        (back, _) => back.is_some(),
    };
    (!fits).then(|| DiscardReason::ReversePath {
        source: tuple.source,
        interface: input.name.clone(),
        rp_filter: input.reverse_path,
    })
}
