//! Namespaces as they were read, in the place of planned ones.

use std::collections::BTreeMap;

use crate::machine::{Interface, Listener, Machine, Scene, Survey};

/// The places of a machine's interfaces by their indexes.
fn places(machine: &Machine) -> BTreeMap<u32, usize> {
    machine.interfaces.iter().enumerate().map(|(place, interface)| (interface.index, place)).collect()
}

impl Scene {
    /// Puts the host as it was read in the place of the one that is planned. Where its pairs lead, and what our sockets
    /// are for, only the plan tells.
    pub fn read_host(&mut self, host: Machine) {
        let Some(place) = self.machines.first_mut() else { return };
        let asked = std::mem::replace(place, host);
        let host = &self.machines[0];
        let named: BTreeMap<&str, usize> =
            host.interfaces.iter().enumerate().map(|(place, it)| (it.name.as_str(), place)).collect();
        let ports = asked.interfaces.iter().filter_map(|port| {
            let (machine, inner) = port.peer?;
            Some((*named.get(port.name.as_str())?, machine, inner))
        });
        let ports: Vec<(usize, usize, u32)> = ports.collect();
        for (port, machine, inner) in ports {
            let outer = &mut self.machines[0].interfaces[port];
            outer.peer = Some((machine, inner));
            let outer = outer.index;
            let ends = self.machines[machine].interfaces.iter_mut();
            if let Some(end) = ends.into_iter().find(|end| end.index == inner) {
                end.peer = Some((0, outer));
            }
        }
        let parents: BTreeMap<u32, u32> = asked
            .interfaces
            .iter()
            .filter_map(|it| Some((it.index, self.machines[0].interface_named(&it.name)?.index)))
            .collect();
        for interface in self.machines.iter_mut().skip(1).flat_map(|machine| &mut machine.interfaces) {
            if let Some(standing) = interface.stands_on.as_mut().filter(|standing| standing.machine == 0) {
                standing.parent = parents.get(&standing.parent).copied().unwrap_or_default();
            }
        }
        let key = |it: &Listener| (it.protocol, it.address, it.port);
        let mut ours: BTreeMap<_, Listener> =
            asked.listeners.into_iter().map(|listener| (key(&listener), listener)).collect();
        for listener in &mut self.machines[0].listeners {
            if let Some(own) = ours.remove(&key(listener)) {
                *listener = own;
            }
        }
    }

    /// Puts a sandbox as it was read in the place of the one that is planned.
    pub fn read_inside(&mut self, place: usize, inside: &Survey) {
        let mut asked = std::mem::take(&mut self.machines[place]);
        let name = std::mem::take(&mut asked.name);
        self.machines[place] = Machine { name, ..inside.machine.clone() };
        let is_netns_link =
            |it: &&Interface| it.stands_on.is_some() || it.peer.is_some_and(|(peer, _)| peer > 0);
        for planned in asked.interfaces.iter().filter(is_netns_link) {
            self.follow(place, planned);
        }
        let ends = places(&self.machines[place]);
        let inner: BTreeMap<u32, u32> = inside.pairs.iter().map(|(index, other)| (*other, *index)).collect();
        let (host, sandboxes) = self.machines.split_at_mut(1);
        let Some(machine) = sandboxes.get_mut(place - 1) else { return };
        for port in &mut host[0].interfaces {
            let Some((_, planned)) = port.peer.filter(|(machine, _)| *machine == place) else { continue };
            let index = inner.get(&port.index).copied().unwrap_or(planned);
            port.peer = Some((place, index));
            if let Some(end) = ends.get(&index) {
                machine.interfaces[*end].peer = Some((0, port.index));
            }
        }
    }

    /// Has an interface of a sandbox that was read lead where the planned one leads.
    fn follow(&mut self, place: usize, planned: &Interface) {
        let interfaces = &self.machines[place].interfaces;
        let same = interfaces.iter().find(|it| it.mac == planned.mac && !it.loopback);
        let Some(index) =
            same.or_else(|| interfaces.iter().find(|it| it.name == planned.name)).map(|it| it.index)
        else {
            return;
        };
        self.change_interface((place, index), |interface| interface.stands_on = planned.stands_on);
        if let Some(peer) = planned.peer {
            self.join((place, index), peer);
        }
    }

    /// Makes two interfaces, each given by its namespace and index, the ends of a veth pair.
    pub fn join(&mut self, one: (usize, u32), other: (usize, u32)) {
        self.change_interface(one, |interface| interface.peer = Some(other));
        self.change_interface(other, |interface| interface.peer = Some(one));
    }

    /// Changes the interface with this index in a namespace, if there is one.
    pub fn change_interface(&mut self, (machine, index): (usize, u32), change: impl FnOnce(&mut Interface)) {
        let interfaces = self.machines[machine].interfaces.iter_mut();
        if let Some(interface) = interfaces.into_iter().find(|interface| interface.index == index) {
            change(interface);
        }
    }
}
