//! Packets that a machine makes itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Between, Carried, Next, Walker, leaving_by};
use crate::conversation::Maker;
use crate::machine::{Interface, Route, RouteKind};
use crate::packet::{Packet, Place, Tuple};
use crate::route::{RouteQuestion, Routed, is_link_local};
use crate::step::{End, Step};
use fairway_ruleset::Hook;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Who asks for nobody's address asks itself: `ip_route_output_key_hash_rcu` in net/ipv4/route.c, and `tcp_v6_connect`
/// in net/ipv6/tcp_ipv6.c.
fn to_itself(tuple: Tuple) -> Tuple {
    let destination = match (tuple.destination, tuple.source) {
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => Ipv4Addr::LOCALHOST.into(),
        (IpAddr::V4(Ipv4Addr::UNSPECIFIED), source) => source,
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), _) => Ipv6Addr::LOCALHOST.into(),
        _ => return tuple,
    };
    Tuple { destination, ..tuple }
}

/// Whether a program of this machine may send by a route.
fn leads_on(route: &Route) -> bool {
    use RouteKind as Kind;
    matches!(route.kind, Kind::Unicast | Kind::Local | Kind::Broadcast | Kind::Multicast)
}

impl Walker<'_> {
    /// A packet of this machine's own: routed, through the output hooks, and out.
    pub(super) fn make(&mut self, maker: Maker, tuple: Tuple, place: Place) -> Next {
        let Maker { machine, user, interface } = maker;
        let mut tuple = to_itself(tuple);
        let output = interface.and_then(|index| self.machine(machine).interface(index));
        let output = output.map(|interface| interface.name.as_str());
        let found = match self.machine(machine).route(&RouteQuestion { output, ..RouteQuestion::of(tuple) }) {
            // With a source there may be another way: `ip_route_connect` in include/net/route.h.
            Routed::By(route) if tuple.source.is_unspecified() && leads_on(route) => {
                match self.machine(machine).source_for(route, tuple.destination) {
                    Some(source) => tuple.source = source,
                    None => return Next::End(self.discarded(machine, "it has no address to send from")),
                }
                let asks_again = tuple.source.is_ipv4() && matches!(tuple.protocol, TCP | UDP);
                (!asks_again).then_some(route)
            }
            _ => None,
        };
        let question = RouteQuestion { output, ..RouteQuestion::of(tuple) };
        let route = match found {
            Some(route) => self.by_route(machine, route),
            None => match self.route(machine, &question) {
                Ok(route) => route,
                Err(end) => return Next::End(end),
            },
        };
        if !leads_on(route) {
            return Next::End(End::NoRoute { machine: self.name(machine), destination: tuple.destination });
        }
        if matches!(place, Place::First | Place::Later) {
            self.asked.push((machine, tuple));
        }
        self.emit(machine, route, Carried { user, ..Carried::new(Packet::new(tuple, place)) })
    }

    /// Sends what is made, by a route that was found for it.
    pub(super) fn emit(&mut self, machine: usize, route: &Route, mut carried: Carried) -> Next {
        let tuple = carried.tuple();
        self.steps.push(Step::Made { machine: self.name(machine), tuple });
        let output = self.machine(machine).interface(leaving_by(self.machine(machine), route));
        if let Err(end) = self.hook(machine, Hook::Output, &mut carried, Between::out_by(output)) {
            return Next::End(end);
        }
        let Some(mark) = carried.rerouted else { return self.send(machine, route, carried) };
        let now = carried.tuple();
        // `ip6_route_me_harder` in net/ipv6/netfilter.c: what is for one link stays there.
        let by = self.machine(machine).interface(route.interface).filter(|_| is_link_local(now.destination));
        let output = by.map(|interface| interface.name.as_str());
        let question = RouteQuestion { output, mark, ..RouteQuestion::of(now) };
        match self.route(machine, &question) {
            Ok(route) => self.send(machine, route, carried),
            Err(end) => Next::End(end),
        }
    }

    /// What was translated as it was made looks for its way at once: `ip_route_me_harder` in net/ipv4/netfilter.c.
    pub(super) fn finds_way(&mut self, machine: usize, carried: &Carried) -> Result<(), End> {
        let tuple = carried.tuple();
        let question = RouteQuestion { mark: carried.packet.mark, ..RouteQuestion::of(tuple) };
        let place = self.machine(machine);
        match place.route(&question) {
            Routed::By(route) if leads_on(route) => {
                let output = place.interface(leaving_by(place, route));
                let found = output.map_or(Ok(()), |output| self.may_leave(machine, output, tuple.source));
                if found.is_err() {
                    self.route(machine, &question)?;
                }
                found
            }
            Routed::By(_) | Routed::Nowhere => {
                Err(End::NoRoute { machine: self.name(machine), destination: tuple.destination })
            }
            Routed::Unknown(reason) => Err(End::Unknown { machine: self.name(machine), reason }),
        }
    }

    /// RFC 1122, 3.2.1.3: 127/8 never appears outside a host; `__mkroute_output` in net/ipv4/route.c.
    fn may_leave(&self, machine: usize, output: &Interface, source: IpAddr) -> Result<(), End> {
        let is_loopback = matches!(source, IpAddr::V4(source) if source.is_loopback());
        if !is_loopback || output.loopback || output.route_localnet {
            return Ok(());
        }
        let name = &output.name;
        Err(self.discarded(
            machine,
            format!("its source {source} may not leave by {name}: net.ipv4.conf.{name}.route_localnet is 0"),
        ))
    }

    /// Out by a route: the last hooks, then the link.
    fn send(&mut self, machine: usize, route: &Route, mut carried: Carried) -> Next {
        let place = self.machine(machine);
        if !leads_on(route) {
            let destination = carried.tuple().destination;
            return Next::End(End::NoRoute { machine: self.name(machine), destination });
        }
        let Some(output) = place.interface(leaving_by(place, route)) else {
            return Next::End(self.discarded(machine, "the interface of the route is gone"));
        };
        if let Err(end) = self.may_leave(machine, output, carried.tuple().source) {
            return Next::End(end);
        }
        if let Err(end) = self.hook(machine, Hook::Postrouting, &mut carried, Between::out_by(Some(output))) {
            return Next::End(end);
        }
        let next = route.gateway.unwrap_or(carried.tuple().destination);
        self.transmit(machine, output, next, carried)
    }
}
