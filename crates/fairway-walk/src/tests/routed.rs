//! A router between a client and a server.

use super::{address, tuple};
use crate::{
    ConnectionWalk, Interface, Listener, NamespaceId, NetworkNamespace, Origin, PacketWalk, Proxy, Route,
    RouteKind, StepKind, Topology, Tuple, add_default_route, add_interface, empty_namespace, walk_connection,
};
use fairway_model::MacAddress;
use fairway_ruleset::{Chain, ChainKind, Family, Hook, Load, PayloadBase, Rule, Table, rule};

pub const ROUTER: NamespaceId = NamespaceId::HOST;
pub const CLIENT: NamespaceId = NamespaceId(1);
pub const SERVER: NamespaceId = NamespaceId(2);

/// An interface that is up, with a MAC address of its own.
pub fn interface(namespace: NamespaceId, index: u32, name: &str, addresses: &[&str]) -> Interface {
    Interface {
        index,
        name: name.to_owned(),
        mac: MacAddress([2, 0, 0, 1, namespace.0 as u8, index as u8]),
        up: true,
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        forwarding: (true, true),
        ..Interface::default()
    }
}

pub fn listen(namespace: &mut NetworkNamespace, protocol: u8, at: &str, port: u16) {
    namespace.listeners.push(Listener {
        protocol,
        address: address(at),
        port,
        both_families: true,
        interface: None,
        held: false,
        owner: "a server".to_owned(),
        proxy: None,
    });
}

/// A host with one interface eth0 (index 2), whose default routes lead to the first addresses of its subnets.
fn end(id: NamespaceId, name: &str, addresses: &[&str], gateways: &[&str]) -> NetworkNamespace {
    let mut namespace = empty_namespace(name);
    add_interface(&mut namespace, interface(id, 2, "eth0", addresses));
    for gateway in gateways {
        add_default_route(&mut namespace, address(gateway), 2);
    }
    namespace
}

/// The client (10.1.0.2, fd01::2) is behind eth0 of the router (10.1.0.1, fd01::1), the server (10.2.0.2, fd02::2)
/// behind its eth1 (10.2.0.1, fd02::1). The server listens at port 80 of TCP and UDP.
pub fn routed() -> Topology {
    let mut router = empty_namespace("router");
    add_interface(&mut router, interface(ROUTER, 2, "eth0", &["10.1.0.1/24", "fd01::1/64"]));
    add_interface(&mut router, interface(ROUTER, 3, "eth1", &["10.2.0.1/24", "fd02::1/64"]));
    let client = end(CLIENT, "client", &["10.1.0.2/24", "fd01::2/64"], &["10.1.0.1", "fd01::1"]);
    let mut server = end(SERVER, "server", &["10.2.0.2/24", "fd02::2/64"], &["10.2.0.1", "fd02::1"]);
    listen(&mut server, super::TCP, "::", 80);
    listen(&mut server, super::UDP, "::", 80);
    let mut topology = Topology { namespaces: vec![router, client, server] };
    topology.join((ROUTER, 2), (CLIENT, 2));
    topology.join((ROUTER, 3), (SERVER, 2));
    topology
}

/// Adds a table with one base chain of `inet` to a namespace.
pub fn add_chain(topology: &mut Topology, to: NamespaceId, chain: Chain) {
    let mut table = Table::new(Family::Inet, format!("mine{}", topology[to].tables.len()));
    table.chains.push(chain);
    topology[to].tables.push(table);
}

/// Adds a filter chain with these rules to a namespace.
pub fn filter(
    topology: &mut Topology,
    to: NamespaceId,
    hook: Hook,
    rules: impl IntoIterator<Item = impl Into<Rule>>,
) {
    add_chain(topology, to, Chain::base("filter", ChainKind::Filter, hook, 0).with(rules));
}

pub fn add_route(
    topology: &mut Topology,
    to: NamespaceId,
    kind: RouteKind,
    destination: &str,
    interface: u32,
) {
    topology[to].routes.push(Route {
        table: 254,
        destination: destination.parse().unwrap(),
        kind,
        gateway: None,
        interface,
        metric: 0,
        source: None,
    });
}

/// The client's connection to an address, from an address that the kernel chooses.
pub fn ask(topology: &Topology, protocol: u8, to: &str) -> ConnectionWalk {
    let any = if to.contains(':') { "::" } else { "0.0.0.0" };
    ask_with(topology, tuple(protocol, any, to))
}

pub fn ask_with(topology: &Topology, tuple: Tuple) -> ConnectionWalk {
    walk_connection(topology, Origin::Local(CLIENT), tuple, Proxy::default())
}

/// Rules that accept ICMP errors, each with the type and code that it matches as its comment.
pub fn icmp_errors() -> Vec<Rule> {
    let codes = [1, 3].into_iter().flat_map(|kind| (0..16).map(move |code| (kind, code)));
    codes
        .map(|(kind, code): (u8, u8)| {
            let protocol = if kind == 3 { super::ICMP } else { super::ICMPV6 };
            let matched =
                rule().is(Load::TRANSPORT, [protocol]).is(header(PayloadBase::Transport, 0, 2), [kind, code]);
            matched.comment(format!("{kind}/{code}")).accept().into()
        })
        .collect()
}

pub fn header(base: PayloadBase, offset: u32, length: u32) -> Load {
    Load::Payload(base, offset, length)
}

/// The comments of the rules that a packet matched in a namespace, in order.
pub fn comments(walk: &PacketWalk, topology: &Topology, namespace: NamespaceId) -> Vec<String> {
    let record = walk.record(String::new(), topology);
    let steps = record.steps.into_iter().filter(|step| step.namespace == topology.name(namespace));
    steps.filter_map(|step| step.rule.comment).collect()
}

/// The texts of the steps of one kind in a namespace.
pub fn texts(walk: &PacketWalk, topology: &Topology, namespace: NamespaceId, kind: StepKind) -> Vec<String> {
    let record = walk.record(String::new(), topology);
    let steps =
        record.steps.iter().filter(|step| step.namespace == topology.name(namespace) && step.kind == kind);
    steps.map(|step| step.text()).collect()
}

/// The end of a walk in a sentence.
pub fn sentence(walk: &PacketWalk, topology: &Topology) -> String {
    walk.end.sentence(topology)
}
