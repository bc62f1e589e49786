//! The scene that a World asks for: what its Plan makes, around a host that is otherwise as it is.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::machine::{Interface, Listener, Machine, Route, RouteKind, RouteRule, Scene};
use crate::model::{MacAddress, NetworkMode};
use crate::plan::{BridgeLink, InsideRoutes, Key, Object, Plan, SetElement, SocketUse, VethLink};
use crate::policy::{SetName, ruleset};
use crate::ruleset::Table;
use crate::world::World;

const LOCAL_TABLE: u32 = 255;
const MAIN_TABLE: u32 = 254;
const IPV4_FORWARDING: &str = "net/ipv4/ip_forward";

/// A machine with nothing but loopback and the rules that the kernel begins with.
pub fn bare(name: &str) -> Machine {
    let rule = |priority, ipv4, table| RouteRule {
        priority,
        ipv4,
        from: None,
        to: None,
        input: None,
        mark: None,
        table,
        unknown: None,
    };
    let mut machine = Machine { name: name.to_owned(), ..Machine::default() };
    for ipv4 in [true, false] {
        machine.rules.extend([rule(0, ipv4, LOCAL_TABLE), rule(32_766, ipv4, MAIN_TABLE)]);
    }
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].map(IpNet::from);
    let interface = Interface {
        index: 1,
        name: "lo".to_owned(),
        loopback: true,
        up: true,
        addresses: loopback.to_vec(),
        forwarding: (true, true),
        ..Interface::default()
    };
    add_interface(&mut machine, interface);
    machine
        .routes
        .push(Route { destination: IpNet::V4(LOOPBACK), ..local(IpAddr::V4(Ipv4Addr::LOCALHOST), 1) });
    machine
}

const LOOPBACK: ipnet::Ipv4Net = ipnet::Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);

fn local(address: IpAddr, interface: u32) -> Route {
    Route {
        table: LOCAL_TABLE,
        destination: address.into(),
        kind: RouteKind::Local,
        gateway: None,
        interface,
        metric: 0,
        source: Some(address),
    }
}

/// Adds an interface with the routes that the kernel adds for its addresses.
pub fn add_interface(machine: &mut Machine, interface: Interface) {
    for address in &interface.addresses {
        machine.routes.push(local(address.addr(), interface.index));
        if address.prefix_len() < address.max_prefix_len() {
            machine.routes.push(Route {
                table: MAIN_TABLE,
                destination: address.trunc(),
                kind: RouteKind::Unicast,
                gateway: None,
                interface: interface.index,
                metric: 0,
                source: Some(address.addr()),
            });
        }
    }
    machine.interfaces.push(interface);
}

/// Adds a default route.
pub fn add_default(machine: &mut Machine, gateway: IpAddr, interface: u32) {
    let all = match gateway {
        IpAddr::V4(_) => IpNet::V4(ipnet::Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
    };
    machine.routes.push(Route {
        table: MAIN_TABLE,
        destination: all,
        kind: RouteKind::Unicast,
        gateway: Some(gateway),
        interface,
        metric: 0,
        source: None,
    });
}

/// The scene of a World, on a host that has `host` beside what is ours. Machine 0 is the host; every running sandbox
/// with a namespace of its own follows, in the order of their ids.
pub fn planned(world: &World, plan: &Plan, host: Machine) -> Scene {
    let mut builder = Builder { scene: Scene { machines: vec![host] }, places: BTreeMap::new() };
    for sandbox in world.sandboxes().filter(|sandbox| sandbox.running()) {
        if let (NetworkMode::Private | NetworkMode::None, Some(namespace)) =
            (&sandbox.mode, sandbox.namespace())
        {
            builder.places.insert((namespace.device, namespace.inode), builder.scene.machines.len());
            builder.scene.machines.push(bare(&sandbox.name));
        }
    }
    let objects = || plan.values().flatten();
    for (_, object) in objects() {
        if let Object::Bridge(bridge) = object {
            builder.bridge(bridge);
        }
    }
    for (_, object) in objects() {
        if let Object::Veth(link) = object {
            builder.veth(link);
        }
    }
    let mut tables: Vec<Table> = Vec::new();
    for (key, object) in objects() {
        match (key, object) {
            (_, Object::Routes(routes)) => builder.routes(routes),
            (Key::Socket(protocol, address), Object::Socket(socket)) => {
                let proxy = match socket.purpose {
                    SocketUse::Proxy(target) => Some(target),
                    SocketUse::Hold => None,
                };
                builder.host().listeners.push(Listener {
                    protocol: protocol.number(),
                    address: address.ip(),
                    port: address.port(),
                    both_families: false,
                    held: proxy.is_none(),
                    owner: "fairway's relay".to_owned(),
                    proxy,
                });
            }
            (Key::Sysctl(path), Object::Sysctl(value)) if value == "1" => {
                let ipv4 = path == IPV4_FORWARDING;
                for interface in &mut builder.host().interfaces {
                    let forwards = &mut interface.forwarding;
                    *(if ipv4 { &mut forwards.0 } else { &mut forwards.1 }) = true;
                }
            }
            (_, Object::Ruleset(switches)) => tables.extend(ruleset(switches)),
            _ => {}
        }
    }
    for (key, object) in objects() {
        if let (Key::Element(set, bytes), Object::Element(element)) = (key, object) {
            add_element(&mut tables, *set, bytes, element);
        }
    }
    builder.host().tables.extend(tables);
    builder.scene
}

fn add_element(tables: &mut [Table], name: SetName, bytes: &[u8], element: &SetElement) {
    let tables = tables.iter_mut().filter(|table| table.family == name.family());
    let set = tables.flat_map(|table| &mut table.sets).find(|set| set.name == name.text());
    if let Some(set) = set {
        set.elements.push(element.to_element(name, bytes));
    }
}

struct Builder {
    scene: Scene,
    /// Which machine a namespace is, by device and inode.
    places: BTreeMap<(u64, u64), usize>,
}

impl Builder {
    fn host(&mut self) -> &mut Machine {
        &mut self.scene.machines[0]
    }

    fn free_index(&self, machine: usize) -> u32 {
        self.scene.machines[machine].interfaces.iter().map(|it| it.index).max().unwrap_or_default() + 1
    }

    /// Whether the host forwards already.
    fn forwarding(&self) -> (bool, bool) {
        self.scene.machines[0]
            .interfaces
            .iter()
            .find(|it| !it.loopback)
            .map_or((false, false), |it| it.forwarding)
    }

    fn bridge(&mut self, bridge: &BridgeLink) {
        let interface = Interface {
            index: self.free_index(0),
            name: bridge.name.clone(),
            kind: "bridge".to_owned(),
            mac: bridge.mac,
            up: true,
            addresses: bridge.addresses.clone(),
            route_localnet: bridge.route_localnet,
            forwarding: self.forwarding(),
            ..Interface::default()
        };
        add_interface(self.host(), interface);
    }

    fn veth(&mut self, link: &VethLink) {
        let Some(place) = self.places.get(&(link.namespace.device, link.namespace.inode)).copied() else {
            return;
        };
        let (outer, inner) = (self.free_index(0), self.free_index(place));
        let bridge = self.scene.machines[0].interface_named(&link.bridge).map(|bridge| bridge.index);
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
            peer: Some((0, outer)),
            ..Interface::default()
        };
        add_interface(&mut self.scene.machines[place], end);
    }

    fn routes(&mut self, routes: &InsideRoutes) {
        let Some(place) = self.places.get(&(routes.namespace.device, routes.namespace.inode)) else { return };
        let machine = &mut self.scene.machines[*place];
        let ipv4 = routes.ipv4.as_ref().map(|(gateway, name)| (IpAddr::V4(*gateway), name));
        let ipv6 = routes.ipv6.as_ref().map(|(gateway, name)| (IpAddr::V6(*gateway), name));
        for (gateway, name) in ipv4.into_iter().chain(ipv6) {
            if let Some(index) = machine.interface_named(name).map(|interface| interface.index) {
                add_default(machine, gateway, index);
            }
        }
    }
}
