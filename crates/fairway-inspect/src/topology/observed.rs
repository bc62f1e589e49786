//! Builds the topology from observed namespaces, connected by the World and the Plan.

use std::collections::{BTreeMap, BTreeSet};

use super::planned::{hand_over, planned};
use fairway_core::object::{Key, Object, buffer_interface};
use fairway_core::plan::Plan;
use fairway_core::policy::{BRIDGE_TABLE, TABLE, iptables};
use fairway_core::world::World;
use fairway_model::SandboxId;
use fairway_ruleset::Table;
use fairway_walk::{NetworkNamespace, Survey, Topology};

/// The topology of an observed host, with the observed sandboxes of `inside`. Other sandboxes are as their
/// Plan has them. Namespaces are in the order of [`planned`].
pub fn observed(world: &World, plan: &Plan, host: &Survey, inside: &BTreeMap<SandboxId, Survey>) -> Topology {
    let mut topology = planned(world, plan, without_ours(&host.namespace, plan));
    topology.replace_host(host.namespace.clone());
    for (sandbox, survey) in inside {
        if let Some(id) = topology.of_sandbox(*sandbox) {
            topology.replace_sandbox(id, survey);
        }
    }
    topology
}

/// A host without the objects of a Plan: links with their routes, tables and sockets. A bridge that Fairway adopted is the
/// user's, with its ports, addresses and routes.
pub fn without_ours(host: &NetworkNamespace, plan: &Plan) -> NetworkNamespace {
    let ours: BTreeSet<String> = plan
        .objects()
        .filter_map(|(key, object)| match (key, object) {
            (_, Object::Bridge(bridge)) if bridge.adopted => None,
            (Key::Bridge(name) | Key::Veth(name) | Key::DummyParent(name), _) => Some(name.clone()),
            (Key::TrafficLimit(name), _) => Some(buffer_interface(name)),
            _ => None,
        })
        .collect();
    let mut host = host.clone();
    for (key, object) in plan.objects() {
        if let (Key::Uplink(parent), Object::Uplink(port)) = (key, object) {
            hand_over(&mut host, parent, &port.bridge, false);
        }
    }
    let (gone, kept): (Vec<_>, Vec<_>) =
        std::mem::take(&mut host.interfaces).into_iter().partition(|it| ours.contains(&it.name));
    let gone: BTreeSet<u32> = gone.iter().map(|interface| interface.index).collect();
    host.routes.retain(|route| !gone.contains(&route.interface));
    host.interfaces = kept;
    // The order of the tables decides which one a packet meets first: their positions stay.
    for table in host.tables.iter_mut().filter(|it| [TABLE, BRIDGE_TABLE].contains(&it.name.as_str())) {
        *table = Table::new(table.family, std::mem::take(&mut table.name));
    }
    iptables::remove_from_tables(&mut host.tables);
    iptables::remove_from_tables(&mut host.iptables_legacy);
    let sockets: BTreeSet<_> = plan
        .objects()
        .filter_map(|(key, _)| match key {
            Key::Socket(protocol, address) => Some((protocol.number(), address.ip(), address.port())),
            _ => None,
        })
        .collect();
    host.listeners.retain(|it| !sockets.contains(&(it.protocol, it.address, it.port)));
    host
}
