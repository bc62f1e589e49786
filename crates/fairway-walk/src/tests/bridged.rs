//! A host with a bridge.

use super::routed::{interface, listen};
use super::{TCP, UDP, address, tuple};
use crate::{
    ConnectionWalk, Interface, NamespaceId, NetworkNamespace, Origin, Proxy, Step, Topology,
    add_default_route, add_interface, empty_namespace, walk_connection,
};
use fairway_ruleset::{Chain, Expression, Family, NatFlags, NatKind, Register, Rule, Table, rule};

pub const HOST: NamespaceId = NamespaceId::HOST;
pub const ONE: NamespaceId = NamespaceId(1);
pub const TWO: NamespaceId = NamespaceId(2);
pub const SWITCH: NamespaceId = NamespaceId(3);
pub const FAR: NamespaceId = NamespaceId(4);
pub const BRIDGE: u32 = 10;

/// A bridge br0 (10.0.0.1) of the host with ports p1 and p2 to namespaces one (10.0.0.11) and two (10.0.0.12), which
/// listen at port 80, and a port out that leads out.
pub fn bridged() -> Topology {
    let mut host = empty_namespace("host");
    let bridge = Interface {
        kind: "bridge".to_owned(),
        ..interface(HOST, BRIDGE, "br0", &["10.0.0.1/24", "fd00::1/64"])
    };
    add_interface(&mut host, bridge);
    for (index, name) in [(11, "p1"), (12, "p2"), (13, "out")] {
        add_interface(&mut host, Interface { bridge: Some(BRIDGE), ..interface(HOST, index, name, &[]) });
    }
    let mut topology = Topology { namespaces: vec![host] };
    for (id, name) in [(ONE, "one"), (TWO, "two")] {
        let mut namespace = empty_namespace(name);
        let addresses = [format!("10.0.0.1{}/24", id.0), format!("fd00::1{}/64", id.0)];
        let eth0 = interface(id, 2, "eth0", &addresses.each_ref().map(String::as_str));
        add_interface(&mut namespace, Interface { forwarding: (false, false), ..eth0 });
        add_default_route(&mut namespace, address("10.0.0.1"), 2);
        listen(&mut namespace, TCP, "::", 80);
        listen(&mut namespace, UDP, "::", 80);
        topology.namespaces.push(namespace);
        topology.join((HOST, 10 + id.0 as u32), (id, 2));
    }
    topology
}

pub fn host(topology: &mut Topology) -> &mut NetworkNamespace {
    &mut topology[HOST]
}

pub fn port(topology: &mut Topology, index: u32) -> &mut Interface {
    topology[HOST].interfaces.iter_mut().find(|it| it.index == index).unwrap()
}

pub fn ask_from(topology: &Topology, origin: NamespaceId, protocol: u8, to: &str) -> ConnectionWalk {
    let any = if to.contains(':') { "::" } else { "0.0.0.0" };
    walk_connection(topology, Origin::Local(origin), tuple(protocol, any, to), Proxy::default())
}

pub fn ask(topology: &Topology, to: &str) -> ConnectionWalk {
    ask_from(topology, ONE, TCP, to)
}

/// The ports that bridges chose, in order; "up" where the frame went up to the host.
pub fn ports(connection: &ConnectionWalk) -> Vec<&str> {
    let chosen = connection.first.steps.iter().filter_map(|step| match step {
        Step::Bridged { to, .. } => Some(to.as_deref().unwrap_or("up")),
        _ => None,
    });
    chosen.collect()
}

pub fn table(family: Family, name: &str, chain: Chain) -> Table {
    Table { chains: vec![chain], ..Table::new(family, name) }
}

pub fn dnat(to: [u8; 4]) -> Rule {
    let register = Register::FIRST;
    rule()
        .expression(Expression::Immediate { to: register, value: to.to_vec() })
        .expression(Expression::Nat {
            kind: NatKind::Destination,
            family: Family::Ip,
            address: Some(register.into()),
            port: None,
            flags: NatFlags::default(),
        })
        .into()
}

/// The same, where `out` leads to a namespace `switch` whose bridge connects it to a namespace `far` (10.0.0.99).
pub fn with_switch() -> Topology {
    let mut topology = bridged();
    let mut switch = empty_namespace("switch");
    let bridge = Interface { kind: "bridge".to_owned(), ..interface(SWITCH, BRIDGE, "wire", &[]) };
    add_interface(&mut switch, bridge);
    for (index, name) in [(11, "to-host"), (12, "to-far")] {
        add_interface(&mut switch, Interface { bridge: Some(BRIDGE), ..interface(SWITCH, index, name, &[]) });
    }
    let mut far = empty_namespace("far");
    add_interface(&mut far, interface(FAR, 2, "eth0", &["10.0.0.99/24", "fd00::99/64"]));
    listen(&mut far, TCP, "::", 80);
    listen(&mut far, UDP, "::", 80);
    topology.namespaces.extend([switch, far]);
    topology.join((HOST, 13), (SWITCH, 11));
    topology.join((SWITCH, 12), (FAR, 2));
    topology
}
