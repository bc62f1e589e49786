//! Builds the planned topology of a World: the objects of its Plan, on the observed host.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::netns_link;
use crate::explain::shown_name;
use fairway_core::object::{
    BridgeLink, GatewayRoute, Key, NetnsRoute, Object, SandboxRoutes, SocketUse, VethLink,
};
use fairway_core::object::{SETS, SetName};
use fairway_core::plan::Plan;
use fairway_core::policy::{iptables, ruleset};
use fairway_core::world::World;
use fairway_model::{MacAddress, Namespace, NetworkMode, Protocol, RouteType, SandboxKind};
use fairway_ruleset::{Element, Table};
use fairway_walk::{
    Interface, Listener, MAIN_TABLE, NamespaceId, NetworkNamespace, Route, RouteKind, Topology,
    add_address_routes, add_default_route, add_interface, empty_namespace,
};

const IPV4_FORWARDING: &str = "net/ipv4/ip_forward";

/// The topology of a World, on a host with the foreign objects `host`. Namespace 0 is the host; every running sandbox
/// with a namespace of its own follows, in the order of their ids.
pub fn planned(world: &World, plan: &Plan, host: NetworkNamespace) -> Topology {
    topology(world, plan, host)
}

/// As [`planned`], without elements of sets with exact keys and without sockets, which a Plan has in large numbers.
/// They are looked up one by one: [`planned_element`], [`planned_listeners`].
pub fn planned_outline(world: &World, plan: &Plan, host: NetworkNamespace) -> Topology {
    topology(world, plan, NetworkNamespace { on_demand: true, ..host })
}

/// The element with a key in a set of a Plan.
pub fn planned_element(plan: &Plan, table: &Table, set: &str, key: &[u8]) -> Option<Element> {
    let name = SETS.into_iter().find(|it| it.text() == set && it.family() == table.family)?;
    let wanted = Key::Element(name, key.to_vec());
    match plan.object(&wanted)? {
        Object::Element(element) => Some(element.to_element(name, key)),
        _ => None,
    }
}

/// All elements of a set of a Plan.
pub fn planned_elements(plan: &Plan, table: &Table, set: &str) -> Vec<Element> {
    let named = SETS.into_iter().find(|it| it.text() == set && it.family() == table.family);
    let elements = named.into_iter().flat_map(|name| {
        plan.fragments().flat_map(move |(_, fragment)| {
            let from = fragment.range(Key::Element(name, Vec::new())..);
            from.map_while(move |(key, object)| match (key, object) {
                (Key::Element(own, key), Object::Element(element)) if *own == name => {
                    Some(element.to_element(name, key))
                }
                _ => None,
            })
        })
    });
    elements.collect()
}

/// The sockets at a port in a Plan.
pub fn planned_listeners(plan: &Plan, protocol: Protocol, port: u16) -> Vec<Listener> {
    let first = || Key::Socket(protocol, (Ipv4Addr::UNSPECIFIED, 0).into());
    let sockets = plan.fragments().flat_map(|(_, fragment)| {
        fragment
            .range(first()..)
            .take_while(|(key, _)| matches!(key, Key::Socket(own, _) if *own == protocol))
    });
    sockets.filter_map(|(key, object)| listener(key, object)).filter(|it| it.port == port).collect()
}

fn listener(key: &Key, object: &Object) -> Option<Listener> {
    let (Key::Socket(protocol, address), Object::Socket(socket)) = (key, object) else { return None };
    let proxy = match socket.purpose {
        SocketUse::Proxy(target) => Some(target),
        SocketUse::Reserve => None,
    };
    Some(Listener {
        protocol: protocol.number(),
        address: address.ip(),
        port: address.port(),
        both_families: false,
        interface: None,
        held: proxy.is_none(),
        owner: "fairway's relay".to_owned(),
        proxy,
    })
}

fn topology(world: &World, plan: &Plan, host: NetworkNamespace) -> Topology {
    let on_demand = host.on_demand;
    let mut builder = Builder::new(host);
    for sandbox in world.sandboxes().filter(|sandbox| sandbox.running()) {
        if let (NetworkMode::Private | NetworkMode::None, Some(namespace)) =
            (&sandbox.mode, sandbox.namespace())
        {
            builder.places.insert(namespace.identity(), builder.next_id());
            builder.add(NetworkNamespace {
                sandbox: Some(sandbox.id),
                ..empty_namespace(&shown_name(&sandbox.name))
            });
        }
    }
    let objects = || plan.objects();
    for (_, object) in objects() {
        if let Object::Bridge(bridge) = object {
            builder.bridge(bridge);
        }
    }
    for (_, object) in objects() {
        if let Object::Veth(link) = object {
            builder.veth(world, link);
        }
    }
    // What dockerd configures is in no Plan.
    for sandbox in world.sandboxes().filter(|sandbox| sandbox.kind == SandboxKind::Docker) {
        if let Some(namespace) = sandbox.namespace() {
            builder.routes(&world.routes_in(sandbox.id, namespace));
        }
    }
    let places = builder.places.clone();
    let places = |namespace: &Namespace| places.get(&namespace.identity()).copied();
    netns_link::add(&mut builder.topology, plan, &places);
    netns_link::tie(&mut builder.topology, plan, &places);
    for (key, object) in objects() {
        if let (Key::Uplink(parent), Object::Uplink(port)) = (key, object) {
            hand_over(builder.host(), parent, &port.bridge, true);
        }
    }
    let mut tables: Vec<Table> = Vec::new();
    let mut elements: BTreeMap<SetName, Vec<Element>> = BTreeMap::new();
    for (key, object) in objects() {
        match (key, object) {
            (_, Object::SandboxRoutes(routes)) => builder.routes(routes),
            (Key::Socket(..), _) if !on_demand => builder.host().listeners.extend(listener(key, object)),
            (Key::Sysctl(path), Object::Sysctl(value)) if value == "1" => {
                let ipv4 = path == IPV4_FORWARDING;
                for interface in &mut builder.host().interfaces {
                    let forwards = &mut interface.forwarding;
                    *(if ipv4 { &mut forwards.0 } else { &mut forwards.1 }) = true;
                }
            }
            (_, Object::Ruleset(switches)) => tables.extend(ruleset(switches)),
            (Key::Element(name, bytes), Object::Element(element)) if !on_demand || name.has_ranges() => {
                elements.entry(*name).or_default().push(element.to_element(*name, bytes));
            }
            _ => {}
        }
    }
    for (name, elements) in elements {
        let tables = tables.iter_mut().filter(|table| table.family == name.family());
        if let Some(set) = tables.flat_map(|table| &mut table.sets).find(|set| set.name == name.text()) {
            set.elements.extend(elements);
        }
    }
    let host = builder.host();
    iptables::add_to_tables(objects(), &mut host.tables, &mut host.iptables_legacy);
    for table in tables {
        match host.tables.iter_mut().find(|it| (it.family, &it.name) == (table.family, &table.name)) {
            Some(place) => *place = table,
            None => host.tables.push(table),
        }
    }
    builder.topology
}

/// Moves addresses and routes from an interface to a bridge as it becomes a port, or the other way round.
pub(super) fn hand_over(host: &mut NetworkNamespace, parent: &str, bridge: &str, taken: bool) {
    let index = |name: &str| host.interface_named(name).map(|interface| interface.index);
    let (Some(parent), Some(bridge)) = (index(parent), index(bridge)) else { return };
    let (from, to) = if taken { (parent, bridge) } else { (bridge, parent) };
    let mut had = Interface::default();
    for interface in &mut host.interfaces {
        if interface.index == from {
            had = interface.clone();
            interface.addresses.clear();
        }
    }
    for interface in &mut host.interfaces {
        if interface.index == parent {
            interface.bridge = taken.then_some(bridge);
        }
        if interface.index == to {
            interface.addresses.extend(had.addresses.iter().copied());
            interface.mac = had.mac;
            (interface.forwarding, interface.reverse_path) = (had.forwarding, had.reverse_path);
            interface.route_localnet |= had.route_localnet;
        }
    }
    for route in host.routes.iter_mut().filter(|route| route.interface == from) {
        route.interface = to;
    }
}

struct Builder {
    topology: Topology,
    /// The ids of namespaces, by device and inode.
    places: BTreeMap<(u64, u64), NamespaceId>,
    /// The next free index of an interface, for each namespace.
    free: Vec<u32>,
    /// The bridges of the host by name.
    bridges: BTreeMap<String, u32>,
}

impl Builder {
    fn new(host: NetworkNamespace) -> Self {
        let bridges = host.interfaces.iter().filter(|it| it.kind == "bridge");
        let mut builder = Self {
            bridges: bridges.map(|it| (it.name.clone(), it.index)).collect(),
            topology: Topology::default(),
            places: BTreeMap::new(),
            free: Vec::new(),
        };
        builder.add(host);
        builder
    }

    fn next_id(&self) -> NamespaceId {
        NamespaceId(self.topology.namespaces.len())
    }

    fn add(&mut self, namespace: NetworkNamespace) {
        let highest = namespace.interfaces.iter().map(|it| it.index).max();
        self.free.push(highest.unwrap_or_default() + 1);
        self.topology.namespaces.push(namespace);
    }

    fn host(&mut self) -> &mut NetworkNamespace {
        &mut self.topology[NamespaceId::HOST]
    }

    fn take_index(&mut self, namespace: NamespaceId) -> u32 {
        let free = self.free[namespace.0];
        self.free[namespace.0] += 1;
        free
    }

    /// Whether the host forwards already.
    fn forwarding(&self) -> (bool, bool) {
        self.topology
            .host()
            .interfaces
            .iter()
            .find(|it| !it.loopback)
            .map_or((false, false), |it| it.forwarding)
    }

    /// Adds what an adopted bridge lacks, and any other bridge.
    fn bridge(&mut self, bridge: &BridgeLink) {
        if let Some(index) = self.bridges.get(&bridge.name).copied().filter(|_| bridge.adopted) {
            let host = self.host();
            let mut missing = bridge.addresses.clone();
            for interface in host.interfaces.iter_mut().filter(|it| it.index == index) {
                missing.retain(|it| !interface.addresses.contains(it));
                interface.addresses.extend(&missing);
                interface.route_localnet |= bridge.route_localnet;
                interface.up = true;
            }
            return missing.into_iter().for_each(|it| add_address_routes(host, index, it));
        }
        let interface = Interface {
            index: self.take_index(NamespaceId::HOST),
            name: bridge.name.clone(),
            kind: "bridge".to_owned(),
            mac: bridge.mac,
            up: true,
            addresses: bridge.addresses.clone(),
            route_localnet: bridge.route_localnet,
            forwarding: self.forwarding(),
            ..Interface::default()
        };
        self.bridges.insert(interface.name.clone(), interface.index);
        add_interface(self.host(), interface);
    }

    fn veth(&mut self, world: &World, link: &VethLink) {
        let of_container = || world.sandbox(world.endpoint(link.endpoint)?.sandbox)?.namespace();
        let namespace = link.namespace.as_ref().or_else(of_container);
        let Some(place) = namespace.and_then(|it| self.places.get(&it.identity()).copied()) else {
            return;
        };
        let (outer, inner) = (self.take_index(NamespaceId::HOST), self.take_index(place));
        let bridge = self.bridges.get(&link.bridge).copied();
        let port = Interface {
            index: outer,
            name: link.host_interface.clone(),
            kind: "veth".to_owned(),
            mac: MacAddress([0xfe, 0, 0, 0, 0, 1]),
            up: true,
            bridge,
            hairpin: link.hairpin,
            peer: Some((place, inner)),
            ..Interface::default()
        };
        add_interface(self.host(), port);
        let end = Interface {
            index: inner,
            name: link.interface.clone(),
            kind: "veth".to_owned(),
            mac: link.mac,
            up: true,
            addresses: link.addresses.clone(),
            peer: Some((NamespaceId::HOST, outer)),
            ..Interface::default()
        };
        add_interface(&mut self.topology[place], end);
    }

    fn routes(&mut self, routes: &SandboxRoutes) {
        let Some(place) = self.places.get(&routes.namespace.identity()) else { return };
        let namespace = &mut self.topology[*place];
        for GatewayRoute { gateway, interface, .. } in &routes.gateways {
            if let Some(index) = namespace.interface_named(interface).map(|it| it.index) {
                add_default_route(namespace, *gateway, index);
            }
        }
        for NetnsRoute { route, interface } in &routes.others {
            let index =
                interface.as_ref().and_then(|name| namespace.interface_named(name)).map(|it| it.index);
            namespace.routes.push(Route {
                table: MAIN_TABLE,
                destination: route.destination,
                kind: match route.kind {
                    RouteType::Unicast => RouteKind::Unicast,
                    RouteType::Blackhole => RouteKind::Blackhole,
                    RouteType::Unreachable => RouteKind::Unreachable,
                    RouteType::Prohibit => RouteKind::Prohibit,
                },
                gateway: route.gateway,
                interface: index.unwrap_or_default(),
                metric: route.kernel_metric(),
                source: None,
            });
        }
    }
}
