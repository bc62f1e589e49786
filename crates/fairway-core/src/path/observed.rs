//! The scene as it is: what was read of namespaces, tied together by what the World knows of them.

use std::collections::{BTreeMap, BTreeSet};

use super::machine::{Machine, Scene, Survey};
use super::planned::planned;
use crate::model::SandboxId;
use crate::plan::{Key, Plan};
use crate::policy::{BRIDGE_TABLE, TABLE};
use crate::world::World;

/// The scene of a host that was read, with the sandboxes of `inside` that were read too. The others are as their
/// Plan has them. Machines are in the order of [`planned`].
pub fn observed(world: &World, plan: &Plan, host: &Survey, inside: &BTreeMap<SandboxId, Survey>) -> Scene {
    let mut scene = planned(world, plan, without_ours(&host.machine, plan));
    let asked = std::mem::replace(&mut scene.machines[0], host.machine.clone());
    let running = world.sandboxes().filter(|sandbox| sandbox.running());
    let places: BTreeMap<&str, SandboxId> =
        running.map(|sandbox| (sandbox.name.as_str(), sandbox.id)).collect();
    for place in 1..scene.machines.len() {
        let read = places.get(scene.machines[place].name.as_str()).and_then(|id| inside.get(id));
        if let Some(survey) = read {
            let name = std::mem::take(&mut scene.machines[place].name);
            scene.machines[place] = Machine { name, ..survey.machine.clone() };
        }
    }
    for port in &asked.interfaces {
        let Some((place, planned_index)) = port.peer else { continue };
        let Some(outer) = scene.machines[0].interface_named(&port.name).map(|found| found.index) else {
            continue;
        };
        let read = places.get(scene.machines[place].name.as_str()).and_then(|id| inside.get(id));
        let pair = read.and_then(|survey| survey.pairs.iter().find(|(_, other)| *other == outer));
        let inner = pair.map_or(planned_index, |(index, _)| *index);
        join(&mut scene, (0, outer), (place, inner));
    }
    for listener in &mut scene.machines[0].listeners {
        let same = |other: &&super::machine::Listener| {
            (other.protocol, other.address, other.port)
                == (listener.protocol, listener.address, listener.port)
        };
        if let Some(own) = asked.listeners.iter().find(same) {
            *listener = own.clone();
        }
    }
    scene
}

fn join(scene: &mut Scene, one: (usize, u32), other: (usize, u32)) {
    for (end, peer) in [(one, other), (other, one)] {
        let interfaces = scene.machines[end.0].interfaces.iter_mut();
        if let Some(interface) = interfaces.into_iter().find(|interface| interface.index == end.1) {
            interface.peer = Some(peer);
        }
    }
}

/// A host without what a Plan makes on it: its links with their routes, its tables and its sockets.
pub fn without_ours(host: &Machine, plan: &Plan) -> Machine {
    let ours: BTreeSet<&str> = plan
        .values()
        .flat_map(|fragment| fragment.keys())
        .filter_map(|key| match key {
            Key::Bridge(name) | Key::Veth(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let mut host = host.clone();
    let (gone, kept): (Vec<_>, Vec<_>) =
        std::mem::take(&mut host.interfaces).into_iter().partition(|it| ours.contains(it.name.as_str()));
    host.routes.retain(|route| gone.iter().all(|interface| interface.index != route.interface));
    host.interfaces = kept;
    host.tables.retain(|table| ![TABLE, BRIDGE_TABLE].contains(&table.name.as_str()));
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
