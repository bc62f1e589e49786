//! The scene as it is: what was read of namespaces, tied together by what the World knows of them.

use std::collections::{BTreeMap, BTreeSet};

use super::enclosed;
use super::machine::{Interface, Listener, Machine, Scene, Survey};
use super::planned::{hand_over, planned};
use crate::model::SandboxId;
use crate::plan::{Key, Object, Plan};
use crate::policy::{BRIDGE_TABLE, TABLE, iptables};
use crate::ruleset::Table;
use crate::world::World;

/// The scene of a host that was read, with the sandboxes of `inside` that were read too. The others are as their
/// Plan has them. Machines are in the order of [`planned`].
pub fn observed(world: &World, plan: &Plan, host: &Survey, inside: &BTreeMap<SandboxId, Survey>) -> Scene {
    let mut scene = planned(world, plan, without_ours(&host.machine, plan));
    scene.read_host(host.machine.clone());
    let read =
        world.sandboxes().filter_map(|sandbox| Some((sandbox.name.as_str(), inside.get(&sandbox.id)?)));
    let read: BTreeMap<&str, &Survey> = read.collect();
    for place in 1..scene.machines.len() {
        if let Some(survey) = read.get(scene.machines[place].name.as_str()) {
            scene.read_inside(place, survey);
        }
    }
    scene
}

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
        let is_enclosed =
            |it: &&Interface| it.stands_on.is_some() || it.peer.is_some_and(|(peer, _)| peer > 0);
        for planned in asked.interfaces.iter().filter(is_enclosed) {
            enclosed::follow(self, place, planned);
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
}

/// A host without what a Plan makes on it: its links with their routes, its tables and its sockets.
pub fn without_ours(host: &Machine, plan: &Plan) -> Machine {
    let ours: BTreeSet<&str> = plan
        .values()
        .flat_map(|fragment| fragment.keys())
        .filter_map(|key| match key {
            Key::Bridge(name) | Key::Veth(name) | Key::StandIn(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let mut host = host.clone();
    for (key, object) in plan.values().flatten() {
        if let (Key::Uplink(parent), Object::Uplink(port)) = (key, object) {
            hand_over(&mut host, parent, &port.bridge, false);
        }
    }
    let (gone, kept): (Vec<_>, Vec<_>) =
        std::mem::take(&mut host.interfaces).into_iter().partition(|it| ours.contains(it.name.as_str()));
    let gone: BTreeSet<u32> = gone.iter().map(|interface| interface.index).collect();
    host.routes.retain(|route| !gone.contains(&route.interface));
    host.interfaces = kept;
    // Which table was there before which decides what a packet meets first: their places stay.
    for table in host.tables.iter_mut().filter(|it| [TABLE, BRIDGE_TABLE].contains(&it.name.as_str())) {
        *table = Table::new(table.family, std::mem::take(&mut table.name));
    }
    iptables::remove(&mut host.tables);
    iptables::remove(&mut host.older);
    let sockets: BTreeSet<_> = plan
        .values()
        .flat_map(|fragment| fragment.keys())
        .filter_map(|key| match key {
            Key::Socket(protocol, address) => Some((protocol.number(), address.ip(), address.port())),
            _ => None,
        })
        .collect();
    host.listeners.retain(|it| !sockets.contains(&(it.protocol, it.address, it.port)));
    host
}
