//! Links: veth pairs, bridges, macvlans, and the neighbors behind them.

use std::net::IpAddr;

use super::neighbor::{Neighbor, STRANGER, Search, in_mode_bridge};
use super::{HookInterfaces, InFlight, Next, Walker};
use crate::discard::DiscardReason;
use crate::route::{RouteQuery, RouteResult};
use crate::step::{End, Step};
use crate::topology::{Interface, MacvlanParent, NamespaceId, PortState, RouteKind};
use fairway_model::{MacAddress, MacvlanMode};
use fairway_ruleset::Hook;

impl<'a> Walker<'a> {
    /// Sends a packet out of an interface to the next hop.
    pub(super) fn transmit(
        &mut self,
        namespace: NamespaceId,
        output: &'a Interface,
        next: IpAddr,
        mut in_flight: InFlight,
    ) -> Next {
        if !output.up {
            return Next::End(self.discarded(namespace, DiscardReason::OutputDown(output.name.clone())));
        }
        let tuple = in_flight.tuple();
        if output.loopback {
            self.leaves(namespace, output, tuple);
            return self.input_from_loopback(namespace, output, in_flight);
        }
        let origin = self.arp_source(namespace, output, tuple.source, next);
        let known = self.learned_neighbors.iter().find(|(address, _)| *address == next).map(|(_, mac)| *mac);
        let look = |walker: &Self| walker.neighbor(namespace, output, next, origin, &mut Search::default());
        let neighbor = match self.find_neighbor(look) {
            Ok(neighbor) => neighbor,
            Err(end) => return Next::End(end),
        };
        let mac = match (neighbor, known) {
            (Neighbor::Known(_, mac), _) => {
                // A host that answers an ARP request learns the address of the sender (`arp_process`).
                self.learned_neighbors.extend(origin.map(|origin| (origin, output.mac)));
                mac
            }
            (Neighbor::Outside, _) => STRANGER,
            (Neighbor::Missing, Some(mac)) => mac,
            (Neighbor::Missing, None) => {
                let silence = self.silence(namespace, output, next, origin);
                let interface = output.name.clone();
                return Next::End(End::NoNeighbor { namespace, interface, next, silence });
            }
        };
        in_flight.packet.frame(output.mac, mac);
        in_flight.next = Some(next);
        self.leaves(namespace, output, tuple);
        self.deliver_to_link(namespace, output, in_flight)
    }

    /// Sends a frame out of an interface.
    fn deliver_to_link(
        &mut self,
        namespace: NamespaceId,
        output: &'a Interface,
        in_flight: InFlight,
    ) -> Next {
        if output.kind == "bridge" {
            return self.send_to_port(namespace, output, None, in_flight);
        }
        if let Some((peer, index)) = output.peer {
            return Next::Arrives(peer, index, Self::into_other_namespace(in_flight));
        }
        let tuple = in_flight.tuple();
        let Some(MacvlanParent { namespace: below, parent, mode }) = output.macvlan_parent else {
            let next = in_flight.next.unwrap_or(tuple.destination);
            let interface = output.name.clone();
            return Next::End(End::Leaves { namespace, interface, next, tuple });
        };
        // macvlan_queue_xmit in drivers/net/macvlan.c: within the host to another one, else out of the parent, past the
        // host's own addresses and hooks.
        let wanted = in_flight.packet.frame_destination();
        let near =
            self.macvlans_of(below, parent).find(|(_, it)| Some(it.mac) == wanted && in_mode_bridge(it));
        if let Some(((peer, index), _)) = near.filter(|_| mode == MacvlanMode::Bridge) {
            return Next::Arrives(peer, index, Self::into_other_namespace(in_flight));
        }
        let Some(parent) = self.namespace(below).interface(parent) else {
            return Next::End(self.discarded(below, DiscardReason::MacvlanParentGone));
        };
        self.leaves(below, parent, tuple);
        self.deliver_to_link(below, parent, in_flight)
    }

    /// The macvlans of a parent interface that are up, with their namespaces and indexes in the topology.
    pub(super) fn macvlans_of(
        &self,
        namespace: NamespaceId,
        parent: u32,
    ) -> impl Iterator<Item = ((NamespaceId, u32), &'a Interface)> + '_ {
        let upon = move |(_, on): &&(_, MacvlanParent)| (on.namespace, on.parent) == (namespace, parent);
        let ends = self.macvlans.iter().filter(upon).filter_map(|(at, _)| Some((*at, self.end(*at)?)));
        ends.filter(|(_, interface)| interface.up && interface.macvlan_parent.is_some())
    }

    /// The packet without the state that the kernel drops when a packet changes namespaces.
    fn into_other_namespace(in_flight: InFlight) -> InFlight {
        let mut packet = in_flight.packet;
        packet.mark = 0;
        InFlight { next: in_flight.next, ..InFlight::new(packet) }
    }

    /// Delivers a packet by loopback, with its flow.
    fn input_from_loopback(
        &mut self,
        namespace: NamespaceId,
        loopback: &'a Interface,
        mut in_flight: InFlight,
    ) -> Next {
        in_flight.user = None;
        self.route_input(namespace, loopback, in_flight, false)
    }

    /// The sender address of an ARP request: the packet's source, if the namespace has that address, else one of the
    /// interface (`arp_solicit`).
    fn arp_source(
        &self,
        namespace: NamespaceId,
        output: &Interface,
        source: IpAddr,
        next: IpAddr,
    ) -> Option<IpAddr> {
        if self.namespace(namespace).holder(source).is_some() {
            return Some(source);
        }
        let own = || output.addresses.iter().filter(|own| own.addr().is_ipv4());
        own().find(|own| own.contains(&next)).or_else(|| own().next()).map(|own| own.addr())
    }

    /// The interface where a frame from outside arrives: for a bridge, the port that leads out. With the destination
    /// MAC address of the frame: that of the owner of `address`, else that of the namespace as a router.
    pub(super) fn entry_port(
        &self,
        namespace: NamespaceId,
        interface: u32,
        address: IpAddr,
    ) -> (u32, MacAddress) {
        let place = self.namespace(namespace);
        let Some(found) = place.interface(interface) else { return (interface, MacAddress::default()) };
        let leads_out =
            |port: &&Interface| self.is_behind(port, STRANGER, &mut Search::from_bridge(namespace, found));
        let closed = |port: &&Interface| !port.forwards_frames();
        let port = match found.kind.as_str() {
            "bridge" => self.ports(namespace, found).filter(leads_out).min_by_key(closed).unwrap_or(found),
            _ => found,
        };
        let bridge = port.bridge.and_then(|bridge| place.interface(bridge));
        let own = bridge.unwrap_or(port);
        if self.answers(namespace, own, address, None) {
            return (port.index, own.mac);
        }
        let behind = self.find_neighbor(|walker| match bridge {
            Some(bridge) => walker.behind_bridge(
                (namespace, bridge),
                address,
                None,
                Some(port.index),
                &mut Search::default(),
            ),
            None => walker.above(namespace, port.index, address, &mut Search::default()),
        });
        match behind {
            Ok(Neighbor::Known(_, mac)) => (port.index, mac),
            // A namespace that cannot be read ends the walk when the packet comes there.
            _ => (port.index, own.mac),
        }
    }

    /// Receives a frame at an interface.
    pub(super) fn receive_frame(&mut self, namespace: NamespaceId, index: u32, in_flight: InFlight) -> Next {
        let place = self.namespace(namespace);
        let Some(interface) = self.end((namespace, index)).filter(|interface| interface.up) else {
            return Next::End(self.discarded(namespace, DiscardReason::InputDown));
        };
        self.arrives_by(namespace, interface, in_flight.tuple());
        let wanted = in_flight.packet.frame_destination();
        let above = |(_, it): &((NamespaceId, u32), &Interface)| {
            let all = it.macvlan_parent.is_some_and(|on| on.mode == MacvlanMode::Passthru);
            all || Some(it.mac) == wanted
        };
        if let Some(((above, index), _)) = self.macvlans_of(namespace, index).find(above) {
            return Next::Arrives(above, index, Self::into_other_namespace(in_flight));
        }
        match interface.bridge.and_then(|bridge| place.interface(bridge)) {
            // Its ports carry nothing then (`br_stp_disable_bridge`).
            Some(bridge) if !bridge.up => {
                Next::End(self.discarded(namespace, DiscardReason::OutputDown(bridge.name.clone())))
            }
            // `br_handle_frame` in net/bridge/br_input.c.
            Some(_) if !matches!(interface.port_state, PortState::Forwarding | PortState::Learning) => {
                Next::End(self.discarded(namespace, closed_port(interface)))
            }
            Some(bridge) => self.bridge(namespace, bridge, interface, in_flight),
            None => self.route_input(namespace, interface, in_flight, false),
        }
    }

    /// Receives a frame at a port of a bridge.
    fn bridge(
        &mut self,
        namespace: NamespaceId,
        bridge: &'a Interface,
        port: &'a Interface,
        mut in_flight: InFlight,
    ) -> Next {
        let seen = self.namespace(namespace).sees_bridged(in_flight.packet.family());
        let (interfaces, ip_interfaces) = (HookInterfaces::in_by(port), HookInterfaces::in_by(bridge));
        in_flight.bridge_port = seen.then_some(port.index);
        in_flight.packet_destination = Some(in_flight.tuple().destination);
        if let Err(end) =
            self.bridge_hook(namespace, Hook::Prerouting, &mut in_flight, interfaces, ip_interfaces)
        {
            return Next::End(end);
        }
        // `br_handle_frame_finish`: a port that learns takes addresses alone.
        if !port.forwards_frames() {
            return Next::End(self.discarded(namespace, closed_port(port)));
        }
        if in_flight.packet.frame_destination() == Some(bridge.mac) {
            self.steps.push(Step::Bridged { namespace, bridge: bridge.name.clone(), to: None });
            if let Err(end) =
                self.bridge_hook(namespace, Hook::Input, &mut in_flight, interfaces, ip_interfaces)
            {
                return Next::End(end);
            }
            // From here on the bridge has the packet: a capture at the bridge sees it, too.
            let tuple = in_flight.tuple();
            self.steps.push(Step::Arrives { namespace, interface: bridge.name.clone(), tuple });
            // A packet that has met the IP hook does not meet it again: `ip_sabotage_in`.
            return self.route_input(namespace, bridge, in_flight, seen);
        }
        self.send_to_port(namespace, bridge, Some(port), in_flight)
    }

    /// Redirects a frame whose packet was translated on the bridge: to another port if the new destination is
    /// behind the same bridge, else up to the host. `br_nf_pre_routing_finish` in net/bridge/br_netfilter_hooks.c.
    pub(super) fn redirect_bridged(
        &mut self,
        namespace: NamespaceId,
        ip_interfaces: HookInterfaces<'_>,
        in_flight: &mut InFlight,
    ) -> Result<(), End> {
        let tuple = in_flight.tuple();
        let Some(bridge) =
            ip_interfaces.input.and_then(|bridge| self.namespace(namespace).interface(bridge.index))
        else {
            return Ok(());
        };
        if in_flight.packet_destination == Some(tuple.destination) {
            return Ok(());
        }
        let query =
            RouteQuery { input: Some(&bridge.name), mark: in_flight.packet.mark, ..RouteQuery::of(tuple) };
        // A packet that goes up to the host is routed there.
        let to = match self.namespace(namespace).route(&query) {
            RouteResult::Found(route)
                if route.kind == RouteKind::Unicast && route.interface == bridge.index =>
            {
                self.route(namespace, &query)?;
                let next = route.gateway.unwrap_or(tuple.destination);
                let look = |walker: &Self| {
                    walker.behind_bridge((namespace, bridge), next, None, None, &mut Search::default())
                };
                match self.find_neighbor(look)? {
                    Neighbor::Known(_, mac) => mac,
                    _ => {
                        let interface = bridge.name.clone();
                        let silence = self.silence(namespace, bridge, next, None);
                        return Err(End::NoNeighbor { namespace, interface, next, silence });
                    }
                }
            }
            RouteResult::NoRoute => {
                return Err(self.discarded(namespace, DiscardReason::NoRoute(tuple.destination)));
            }
            _ => bridge.mac,
        };
        in_flight.packet.readdress(to);
        Ok(())
    }

    /// Sends a frame out of the port behind which its destination is. `from` is the port where the frame arrived; none
    /// when the namespace itself sends.
    fn send_to_port(
        &mut self,
        namespace: NamespaceId,
        bridge: &'a Interface,
        from: Option<&'a Interface>,
        mut in_flight: InFlight,
    ) -> Next {
        let wanted = in_flight.packet.frame_destination();
        let behind = |port: &&Interface| {
            wanted.is_some_and(|mac| self.is_behind(port, mac, &mut Search::from_bridge(namespace, bridge)))
        };
        let closed = |port: &&Interface| !port.forwards_frames();
        let Some(to) = self.ports(namespace, bridge).filter(behind).min_by_key(closed) else {
            let reason = DiscardReason::NoPort { bridge: bridge.name.clone() };
            return Next::End(self.discarded(namespace, reason));
        };
        if !to.forwards_frames() {
            return Next::End(self.discarded(namespace, closed_port(to)));
        }
        if from.is_some_and(|from| from.index == to.index) && !to.hairpin {
            let reason = DiscardReason::HairpinOff { bridge: bridge.name.clone(), port: to.name.clone() };
            return Next::End(self.discarded(namespace, reason));
        }
        // br_skb_isolated in net/bridge/br_private.h.
        if from.is_some_and(|from| from.isolated) && to.isolated {
            let reason = DiscardReason::IsolatedPorts { bridge: bridge.name.clone(), port: to.name.clone() };
            return Next::End(self.discarded(namespace, reason));
        }
        self.steps.push(Step::Bridged { namespace, bridge: bridge.name.clone(), to: Some(to.name.clone()) });
        // The hooks after the bridge do not have the input port.
        let out = HookInterfaces::out_by(Some(to));
        let hooks = match from {
            Some(_) => [
                (Hook::Forward, HookInterfaces { input: from, output: Some(to), ports: None }),
                (Hook::Postrouting, out),
            ],
            None => [(Hook::Output, out), (Hook::Postrouting, out)],
        };
        for (hook, interfaces) in hooks {
            let input = Some(bridge).filter(|_| hook == Hook::Forward);
            let ports = from.map(|from| (from, to));
            let ip_interfaces = HookInterfaces { input, output: Some(bridge), ports };
            let done = match (from, hook) {
                (None, _) => self.bridge_hook_without_ip(namespace, hook, &mut in_flight, interfaces),
                _ => self.bridge_hook(namespace, hook, &mut in_flight, interfaces, ip_interfaces),
            };
            if let Err(end) = done {
                return Next::End(end);
            }
        }
        self.leaves(namespace, to, in_flight.tuple());
        match to.peer {
            Some((peer, index)) => Next::Arrives(peer, index, Self::into_other_namespace(in_flight)),
            None => self.deliver_to_link(namespace, to, in_flight),
        }
    }
}

/// The reason why a bridge port that does not forward discards a frame.
fn closed_port(port: &Interface) -> DiscardReason {
    DiscardReason::PortState { port: port.name.clone(), state: port.port_state }
}
