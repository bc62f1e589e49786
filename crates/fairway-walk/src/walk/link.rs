//! Links: pairs, bridges, and what is behind them.

use std::net::IpAddr;

use super::take::unexpected_source;
use super::{Between, Carried, Next, Walker};
use crate::machine::{Interface, RouteKind, Standing};
use crate::packet::Tuple;
use crate::route::{RouteQuestion, Routed};
use crate::step::{End, Step};
use fairway_model::{MacAddress, MacvlanMode};
use fairway_ruleset::Hook;

/// Who has an address behind an interface.
enum Neighbour {
    /// An interface of a machine that is known.
    Known(MacAddress),
    /// It is asked on a wire that leads out.
    Outside,
    /// Nobody.
    Nobody,
}

/// The address of whoever is on a wire that leads out.
const STRANGER: MacAddress = MacAddress([2, 0, 0, 0, 0, 0]);

impl<'a> Walker<'a> {
    /// Out of an interface to the next hop.
    pub(super) fn transmit(
        &mut self,
        machine: usize,
        output: &'a Interface,
        next: IpAddr,
        mut carried: Carried,
    ) -> Next {
        let name = self.name(machine);
        if !output.up {
            return Next::End(self.discarded(machine, format!("{} is down", output.name)));
        }
        let tuple = carried.tuple();
        let leaves = Step::Leaves { machine: name.clone(), interface: output.name.clone(), tuple };
        if output.loopback {
            self.steps.push(leaves);
            return self.take_from_loopback(machine, output, carried);
        }
        let asker = self.speaks_as(machine, output, tuple.source, next);
        let known = self.asked_by.iter().find(|(address, _)| *address == next).map(|(_, mac)| *mac);
        let mac = match (self.neighbour(machine, output, next, asker), known) {
            (Neighbour::Known(mac), _) => {
                // Who is asked for its address knows the one who asks from then on (`arp_process`).
                self.asked_by.extend(asker.map(|asker| (asker, output.mac)));
                mac
            }
            (Neighbour::Outside, _) => STRANGER,
            (Neighbour::Nobody, Some(mac)) => mac,
            (Neighbour::Nobody, None) => {
                let interface = output.name.clone();
                return Next::End(End::NoNeighbour { machine: name, interface, next });
            }
        };
        carried.packet.frame(output.mac, mac);
        carried.next = Some(next);
        self.steps.push(leaves);
        self.onto(machine, output, carried)
    }

    /// Out of an interface, as a frame.
    fn onto(&mut self, machine: usize, output: &'a Interface, carried: Carried) -> Next {
        if output.kind == "bridge" {
            return self.send_to_port(machine, output, None, carried);
        }
        if let Some((peer, index)) = output.peer {
            return Next::Arrives(peer, index, Self::anew(carried));
        }
        let tuple = carried.tuple();
        let Some(Standing { machine: below, parent, mode }) = output.stands_on else {
            let next = carried.next.unwrap_or(tuple.destination);
            let interface = output.name.clone();
            return Next::End(End::Leaves { machine: self.name(machine), interface, next, tuple });
        };
        // macvlan_queue_xmit in drivers/net/macvlan.c: within the host to another one, else out of the parent, past the
        // host's own addresses and hooks.
        let wanted = carried.packet.frame_destination();
        let near =
            self.standing_on(below, parent).find(|(_, it)| Some(it.mac) == wanted && in_mode_bridge(it));
        if let Some((peer, interface)) = near.filter(|_| mode == MacvlanMode::Bridge) {
            return Next::Arrives(peer, interface.index, Self::anew(carried));
        }
        let Some(parent) = self.machine(below).interface(parent) else {
            return Next::End(self.discarded(below, "what it stands upon is gone"));
        };
        let interface = parent.name.clone();
        self.steps.push(Step::Leaves { machine: self.name(below), interface, tuple });
        self.onto(below, parent, carried)
    }

    /// The macvlans upon an interface, with their machines.
    fn standing_on(&self, machine: usize, parent: u32) -> impl Iterator<Item = (usize, &'a Interface)> + '_ {
        let upon = move |interface: &Interface| {
            interface.stands_on.is_some_and(|on| (on.machine, on.parent) == (machine, parent))
        };
        self.macvlans.iter().copied().filter(move |(_, interface)| upon(interface))
    }

    /// What another machine makes of a packet, it makes from the beginning.
    fn anew(carried: Carried) -> Carried {
        let mut packet = carried.packet;
        packet.mark = 0;
        Carried { next: carried.next, ..Carried::new(packet) }
    }

    /// Loopback: the same packet, with the flow that it has, arrives.
    fn take_from_loopback(&mut self, machine: usize, loopback: &'a Interface, mut carried: Carried) -> Next {
        carried.user = None;
        self.take(machine, loopback, carried, false)
    }

    /// In whose name a machine asks for a neighbour by ARP: the packet's own, if it is one of its addresses, else one that
    /// it has there (`arp_solicit`).
    fn speaks_as(&self, machine: usize, output: &Interface, source: IpAddr, next: IpAddr) -> Option<IpAddr> {
        if self.machine(machine).holder(source).is_some() {
            return Some(source);
        }
        let own = || output.addresses.iter().filter(|own| own.addr().is_ipv4());
        own().find(|own| own.contains(&next)).or_else(|| own().next()).map(|own| own.addr())
    }

    /// Who has `address` behind an interface.
    fn neighbour(
        &self,
        machine: usize,
        interface: &Interface,
        address: IpAddr,
        asker: Option<IpAddr>,
    ) -> Neighbour {
        if interface.kind == "bridge" {
            return self.behind_bridge(machine, interface, address, asker, None);
        }
        let Some(Standing { machine: below, parent, mode }) = interface.stands_on else {
            // What stands upon an interface hears nothing of what goes out there.
            let above = self.standing_on(machine, interface.index);
            let kept_apart = above.into_iter().any(|(place, it)| self.answers(place, it, address, asker));
            return if kept_apart { Neighbour::Nobody } else { self.across(interface, address, asker) };
        };
        let near = self.standing_on(below, parent).find(|(place, it)| {
            in_mode_bridge(it)
                && (*place, it.index) != (machine, interface.index)
                && self.answers(*place, it, address, None)
        });
        match (near, self.machine(below).interface(parent)) {
            (Some((_, near)), _) if mode == MacvlanMode::Bridge => Neighbour::Known(near.mac),
            (_, Some(parent)) => self.across(parent, address, asker),
            _ => Neighbour::Nobody,
        }
    }

    /// Who has `address` at the other end of an interface.
    fn across(&self, interface: &Interface, address: IpAddr, asker: Option<IpAddr>) -> Neighbour {
        let Some((peer, index)) = interface.peer else {
            // What macvlans without a parent stand upon leads nowhere.
            let leads_out = !matches!(interface.kind.as_str(), "dummy" | "ifb");
            return if leads_out { Neighbour::Outside } else { Neighbour::Nobody };
        };
        let place = self.machine(peer);
        let Some(end) = place.interface(index).filter(|end| end.up) else { return Neighbour::Nobody };
        if let Some(bridge) = end.bridge.and_then(|bridge| place.interface(bridge)) {
            return match self.answers(peer, bridge, address, asker) {
                true => Neighbour::Known(bridge.mac),
                false => self.behind_bridge(peer, bridge, address, asker, Some(index)),
            };
        }
        if self.answers(peer, end, address, asker) {
            return Neighbour::Known(end.mac);
        }
        let above = self.standing_on(peer, index).find(|(place, it)| self.answers(*place, it, address, None));
        above.map_or(Neighbour::Nobody, |(_, above)| Neighbour::Known(above.mac))
    }

    /// Where a frame comes in that somebody behind an interface sends, who looked for `address` there: at the port that
    /// leads out, if the interface is a bridge. And whom it is for: who has the address, else the machine, as a router.
    pub(super) fn asked_from_outside(
        &self,
        machine: usize,
        interface: u32,
        address: IpAddr,
    ) -> (u32, MacAddress) {
        let place = self.machine(machine);
        let Some(found) = place.interface(interface) else { return (interface, MacAddress::default()) };
        let leads_out = |port: &&Interface| port.peer.is_none();
        let port = match found.kind.as_str() {
            "bridge" => self.ports(machine, found).find(leads_out).unwrap_or(found),
            _ => found,
        };
        let bridge = port.bridge.and_then(|bridge| place.interface(bridge));
        let own = bridge.unwrap_or(port);
        if self.answers(machine, own, address, None) {
            return (port.index, own.mac);
        }
        let behind = match bridge {
            Some(bridge) => self.behind_bridge(machine, bridge, address, None, Some(port.index)),
            None => {
                let above = self.standing_on(machine, port.index);
                let mut holders = above.filter(|(place, it)| self.answers(*place, it, address, None));
                holders.next().map_or(Neighbour::Nobody, |(_, above)| Neighbour::Known(above.mac))
            }
        };
        match behind {
            Neighbour::Known(mac) => (port.index, mac),
            _ => (port.index, own.mac),
        }
    }

    /// Whether who is asked for an address at an interface says that it has it: by ARP a machine speaks for all its
    /// addresses (`arp_ignore`), by neighbour discovery only for those of the interface.
    /// Who asks in the name of somebody that `rp_filter` does not let in is not answered (`arp_process`).
    fn answers(&self, machine: usize, interface: &Interface, address: IpAddr, asker: Option<IpAddr>) -> bool {
        let place = self.machine(machine);
        let is_let_in = |source: IpAddr| {
            let tuple =
                Tuple { protocol: 0, source, destination: address, source_port: 0, destination_port: 0 };
            unexpected_source(place, interface, None, &tuple, 0).is_none()
        };
        match address {
            IpAddr::V4(_) => place.holder(address).is_some() && asker.is_none_or(is_let_in),
            IpAddr::V6(_) => interface.addresses.iter().any(|own| own.addr() == address),
        }
    }

    fn behind_bridge(
        &self,
        machine: usize,
        bridge: &Interface,
        address: IpAddr,
        asker: Option<IpAddr>,
        asking: Option<u32>,
    ) -> Neighbour {
        let mut outside = Neighbour::Nobody;
        for port in self.ports(machine, bridge) {
            if asking == Some(port.index) && !port.hairpin {
                continue;
            }
            match self.across(port, address, asker) {
                Neighbour::Known(mac) => return Neighbour::Known(mac),
                Neighbour::Outside => outside = Neighbour::Outside,
                Neighbour::Nobody => {}
            }
        }
        outside
    }

    fn ports(&self, machine: usize, bridge: &Interface) -> impl Iterator<Item = &'a Interface> + use<'a> {
        let index = bridge.index;
        self.machine(machine).interfaces.iter().filter(move |port| port.bridge == Some(index) && port.up)
    }

    /// A frame that arrives at an interface.
    pub(super) fn receive(&mut self, machine: usize, index: u32, carried: Carried) -> Next {
        let place = self.machine(machine);
        let Some(interface) = place.interface(index).filter(|interface| interface.up) else {
            return Next::End(self.discarded(machine, "the interface is down"));
        };
        let arrives = Step::Arrives {
            machine: self.name(machine),
            interface: interface.name.clone(),
            tuple: carried.tuple(),
        };
        self.steps.push(arrives);
        let wanted = carried.packet.frame_destination();
        let above = |(_, it): &(usize, &Interface)| {
            let all = it.stands_on.is_some_and(|on| on.mode == MacvlanMode::Passthru);
            all || Some(it.mac) == wanted
        };
        if let Some((above, interface)) = self.standing_on(machine, index).find(above) {
            return Next::Arrives(above, interface.index, Self::anew(carried));
        }
        match interface.bridge.and_then(|bridge| place.interface(bridge)) {
            Some(bridge) => self.bridge(machine, bridge, interface, carried),
            None => self.take(machine, interface, carried, false),
        }
    }

    /// A frame at a port of a bridge.
    fn bridge(
        &mut self,
        machine: usize,
        bridge: &'a Interface,
        port: &'a Interface,
        mut carried: Carried,
    ) -> Next {
        let seen = self.machine(machine).sees_bridged(carried.packet.family());
        let (between, shown) = (Between::in_by(port), Between::in_by(bridge));
        carried.shown_from = seen.then_some(port.index);
        carried.packet_destination = Some(carried.tuple().destination);
        if let Err(end) = self.bridge_hook(machine, Hook::Prerouting, &mut carried, between, shown) {
            return Next::End(end);
        }
        let name = self.name(machine);
        if carried.packet.frame_destination() == Some(bridge.mac) {
            self.steps.push(Step::Bridged { machine: name.clone(), bridge: bridge.name.clone(), to: None });
            if let Err(end) = self.bridge_hook(machine, Hook::Input, &mut carried, between, shown) {
                return Next::End(end);
            }
            // From here on it is the bridge's own: a capture there sees it, too.
            let tuple = carried.tuple();
            self.steps.push(Step::Arrives { machine: name, interface: bridge.name.clone(), tuple });
            // What has met the hook of IP already does not meet it again: `ip_sabotage_in`.
            return self.take(machine, bridge, carried, seen);
        }
        self.send_to_port(machine, bridge, Some(port), carried)
    }

    /// A frame whose packet was translated on the bridge goes where the packet goes now: to another port if that is
    /// behind the same bridge, else up to the host. `br_nf_pre_routing_finish` in net/bridge/br_netfilter_hooks.c.
    pub(super) fn turn_to(
        &mut self,
        machine: usize,
        shown: Between<'_>,
        carried: &mut Carried,
    ) -> Result<(), End> {
        let tuple = carried.tuple();
        let Some(bridge) = shown.input.and_then(|bridge| self.machine(machine).interface(bridge.index))
        else {
            return Ok(());
        };
        if carried.packet_destination == Some(tuple.destination) {
            return Ok(());
        }
        let question = RouteQuestion {
            input: Some(&bridge.name),
            mark: carried.packet.mark,
            ..RouteQuestion::of(tuple)
        };
        // What goes up to the host finds its way there.
        let to = match self.machine(machine).route(&question) {
            Routed::By(route) if route.kind == RouteKind::Unicast && route.interface == bridge.index => {
                self.route(machine, &question)?;
                let next = route.gateway.unwrap_or(tuple.destination);
                match self.behind_bridge(machine, bridge, next, None, None) {
                    Neighbour::Known(mac) => mac,
                    _ => {
                        let (machine, interface) = (self.name(machine), bridge.name.clone());
                        return Err(End::NoNeighbour { machine, interface, next });
                    }
                }
            }
            Routed::Nowhere => {
                return Err(self.discarded(machine, format!("there is no route to {}", tuple.destination)));
            }
            _ => bridge.mac,
        };
        carried.packet.readdress(to);
        Ok(())
    }

    /// Out of the port behind which the frame's destination is. `from` is the port that it arrived at; none when
    /// the machine itself sends.
    fn send_to_port(
        &mut self,
        machine: usize,
        bridge: &'a Interface,
        from: Option<&'a Interface>,
        mut carried: Carried,
    ) -> Next {
        let name = self.name(machine);
        let wanted = carried.packet.frame_destination();
        let behind = |port: &&Interface| match port.peer {
            Some((peer, index)) => {
                let end = self.machine(peer).interface(index).filter(|end| Some(end.mac) == wanted);
                end.is_some() || self.standing_on(peer, index).any(|(_, above)| Some(above.mac) == wanted)
            }
            None => wanted == Some(STRANGER),
        };
        let Some(to) = self.ports(machine, bridge).find(behind) else {
            return Next::End(self.discarded(machine, format!("nobody behind {} has its MAC", bridge.name)));
        };
        if from.is_some_and(|from| from.index == to.index) && !to.hairpin {
            let reason = format!("{} may not send it back by {}: hairpin is off", bridge.name, to.name);
            return Next::End(self.discarded(machine, reason));
        }
        self.steps.push(Step::Bridged {
            machine: name.clone(),
            bridge: bridge.name.clone(),
            to: Some(to.name.clone()),
        });
        // Behind the bridge nobody knows any more where a frame came in.
        let out = Between::out_by(Some(to));
        let hooks = match from {
            Some(_) => [
                (Hook::Forward, Between { input: from, output: Some(to), ports: None }),
                (Hook::Postrouting, out),
            ],
            None => [(Hook::Output, out), (Hook::Postrouting, out)],
        };
        for (hook, between) in hooks {
            let input = Some(bridge).filter(|_| hook == Hook::Forward);
            let ports = from.map(|from| (from, to));
            let shown = Between { input, output: Some(bridge), ports };
            let done = match (from, hook) {
                (None, _) => self.unshown(machine, hook, &mut carried, between),
                _ => self.bridge_hook(machine, hook, &mut carried, between, shown),
            };
            if let Err(end) = done {
                return Next::End(end);
            }
        }
        self.steps.push(Step::Leaves { machine: name, interface: to.name.clone(), tuple: carried.tuple() });
        match to.peer {
            Some((peer, index)) => Next::Arrives(peer, index, Self::anew(carried)),
            None => self.onto(machine, to, carried),
        }
    }
}

fn in_mode_bridge(interface: &Interface) -> bool {
    interface.stands_on.is_some_and(|on| on.mode == MacvlanMode::Bridge)
}
