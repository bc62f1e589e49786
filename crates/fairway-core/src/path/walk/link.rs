//! Links: pairs, bridges, and what is behind them.

use std::net::IpAddr;

use super::{Between, Carried, Next, Walker};
use crate::model::MacAddress;
use crate::path::machine::Interface;
use crate::path::step::{End, Step};
use crate::ruleset::Hook;

/// Who has an address behind an interface.
enum Neighbour<'a> {
    /// An interface of a machine that is known.
    Known(MacAddress),
    /// It is asked on a wire that leads out.
    Outside(&'a Interface),
    /// Nobody.
    Nobody,
}

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
        if output.loopback {
            let tuple = carried.tuple();
            self.steps.push(Step::Leaves { machine: name, interface: output.name.clone(), tuple });
            return self.take_from_loopback(machine, output, carried);
        }
        let outside = match self.neighbour(machine, output, next) {
            Neighbour::Known(mac) => {
                carried.packet.frame(output.mac, mac);
                None
            }
            Neighbour::Outside(interface) => Some(interface),
            Neighbour::Nobody => {
                let interface = output.name.clone();
                return Next::End(End::NoNeighbour { machine: name, interface, next });
            }
        };
        let tuple = carried.tuple();
        self.steps.push(Step::Leaves { machine: name.clone(), interface: output.name.clone(), tuple });
        if let Some(interface) = outside {
            return Next::End(End::Leaves { machine: name, interface: interface.name.clone(), next, tuple });
        }
        match output.peer {
            Some((peer, index)) => Next::Arrives(peer, index, Self::anew(carried)),
            None => self.send_to_port(machine, output, None, carried),
        }
    }

    /// What another machine makes of a packet, it makes from the beginning.
    fn anew(carried: Carried) -> Carried {
        Carried {
            packet: {
                let mut packet = carried.packet;
                packet.mark = 0;
                packet
            },
            flow: None,
            untracked: false,
            user: None,
        }
    }

    /// Loopback: the same packet, with the flow that it has, arrives.
    fn take_from_loopback(&mut self, machine: usize, loopback: &'a Interface, mut carried: Carried) -> Next {
        carried.user = None;
        self.take(machine, loopback, carried, false)
    }

    /// Who has `address` behind an interface.
    fn neighbour(&self, machine: usize, interface: &'a Interface, address: IpAddr) -> Neighbour<'a> {
        if let Some((peer, index)) = interface.peer {
            let place = self.machine(peer);
            let Some(end) = place.interface(index) else { return Neighbour::Nobody };
            return match end.bridge.and_then(|bridge| place.interface(bridge)) {
                Some(bridge) if place.holder(address).is_some_and(|holder| holder.index == bridge.index) => {
                    Neighbour::Known(bridge.mac)
                }
                Some(bridge) => self.behind_bridge(peer, bridge, address, Some(index)),
                None if place.holder(address).is_some() => Neighbour::Known(end.mac),
                None => Neighbour::Nobody,
            };
        }
        if interface.kind == "bridge" {
            return self.behind_bridge(machine, interface, address, None);
        }
        Neighbour::Outside(interface)
    }

    fn behind_bridge(
        &self,
        machine: usize,
        bridge: &Interface,
        address: IpAddr,
        asking: Option<u32>,
    ) -> Neighbour<'a> {
        let mut outside = None;
        for port in self.ports(machine, bridge) {
            match port.peer {
                Some((peer, index)) => {
                    let end = self.machine(peer).interface(index);
                    let own = end.filter(|end| end.addresses.iter().any(|net| net.addr() == address));
                    if let Some(end) = own.filter(|_| asking != Some(port.index) || port.hairpin) {
                        return Neighbour::Known(end.mac);
                    }
                }
                None => outside = Some(port),
            }
        }
        outside.map_or(Neighbour::Nobody, Neighbour::Outside)
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
        if let Err(end) = self.hook(machine, Hook::Prerouting, true, &mut carried, Between::in_by(port)) {
            return Next::End(end);
        }
        let name = self.name(machine);
        if carried.packet.frame_destination() == Some(bridge.mac) {
            self.steps.push(Step::Bridged { machine: name.clone(), bridge: bridge.name.clone(), to: None });
            if let Err(end) = self.hook(machine, Hook::Input, true, &mut carried, Between::in_by(port)) {
                return Next::End(end);
            }
            // From here on it is the bridge's own: a capture there sees it, too.
            let tuple = carried.tuple();
            self.steps.push(Step::Arrives { machine: name, interface: bridge.name.clone(), tuple });
            return self.take(machine, bridge, carried, false);
        }
        if seen
            && let Err(end) =
                self.hook(machine, Hook::Prerouting, false, &mut carried, Between::in_by(bridge))
        {
            return Next::End(end);
        }
        self.send_to_port(machine, bridge, Some(port), carried)
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
        let behind = |port: &&Interface| {
            let end = port.peer.and_then(|(peer, index)| self.machine(peer).interface(index));
            end.is_some_and(|end| Some(end.mac) == wanted)
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
        let hooks: &[Hook] = if from.is_some() {
            &[Hook::Forward, Hook::Postrouting]
        } else {
            &[Hook::Output, Hook::Postrouting]
        };
        let seen = from.is_some() && self.machine(machine).sees_bridged(carried.packet.family());
        for hook in hooks {
            if let Err(end) =
                self.hook(machine, *hook, true, &mut carried, Between { input: from, output: Some(to) })
            {
                return Next::End(end);
            }
            if seen
                && let Err(end) = self.hook(
                    machine,
                    *hook,
                    false,
                    &mut carried,
                    Between { input: Some(bridge), output: Some(bridge) },
                )
            {
                return Next::End(end);
            }
        }
        self.steps.push(Step::Leaves { machine: name, interface: to.name.clone(), tuple: carried.tuple() });
        match to.peer {
            Some((peer, index)) => Next::Arrives(peer, index, Self::anew(carried)),
            None => Next::End(self.discarded(machine, "the port leads nowhere")),
        }
    }
}
