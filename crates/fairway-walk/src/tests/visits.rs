//! Namespaces that are read when the first packet comes to them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::routed::{CLIENT, ROUTER, SERVER, ask, interface, listen, routed, sentence};
use super::{TCP, address, tuple};
use crate::{
    ConnectionWalk, End, Listener, MacvlanParent, NamespaceId, ObservedNamespace, Origin, Proxy, StateSource,
    Survey, Topology, Walker, add_default_route, add_interface, empty_namespace, walk_connection_with,
};
use fairway_model::{MacAddress, MacvlanMode};
use fairway_ruleset::{Element, Set, Table};

/// The namespaces that can be read; those without a value cannot.
#[derive(Debug, Default)]
struct Source {
    namespaces: BTreeMap<NamespaceId, Option<ObservedNamespace>>,
    read: RefCell<Vec<NamespaceId>>,
}

impl StateSource for Source {
    fn element(&self, _: NamespaceId, _: &Table, _: &Set, _: &[u8]) -> Result<Option<Element>, String> {
        Err("no set is read".to_owned())
    }

    fn listeners(&self, _: NamespaceId, _: u8, _: u16) -> Result<Vec<Listener>, String> {
        Err("no socket is read".to_owned())
    }

    fn namespace(&self, id: NamespaceId) -> Result<Option<&ObservedNamespace>, String> {
        self.read.borrow_mut().push(id);
        match self.namespaces.get(&id) {
            None => Ok(None),
            Some(observed) => observed.as_ref().map(Some).ok_or("it cannot be read".to_owned()),
        }
    }
}

/// The client's connection to the server, with the namespaces that were read, in order. It has to be the same as in a
/// topology where all of them were replaced before.
fn visit(topology: &Topology, surveys: &[(NamespaceId, Survey)]) -> (ConnectionWalk, Vec<NamespaceId>) {
    let observe = |(id, survey): &(NamespaceId, Survey)| (*id, Some(topology.observe(*id, survey)));
    let source = Source { namespaces: surveys.iter().map(observe).collect(), ..Source::default() };
    let first = tuple(TCP, "0.0.0.0", "10.2.0.2");
    let mut walker = Walker::with_source(topology, &source);
    let walk = walk_connection_with(&mut walker, Origin::Local(CLIENT), first, Proxy::default());
    let mut whole = topology.clone();
    whole.replace_sandboxes(source.namespaces.into_iter().filter_map(|(id, it)| Some((id, it?))).collect());
    assert_eq!(walk, ask(&whole, TCP, "10.2.0.2"));
    (walk, source.read.into_inner())
}

/// A survey of the server whose interface has another index and name than planned.
fn server(own: &str) -> Survey {
    let mut namespace = empty_namespace("");
    add_interface(&mut namespace, interface(SERVER, 2, "other", &["10.9.0.1/24"]));
    add_interface(&mut namespace, interface(SERVER, 7, "eth9", &[own]));
    add_default_route(&mut namespace, address("10.2.0.1"), 7);
    listen(&mut namespace, TCP, "::", 80);
    Survey { namespace, veth_pairs: vec![(7, 3)] }
}

#[test]
fn a_namespace_is_read_once_when_the_first_packet_comes_to_it() {
    let mut topology = routed();
    // It is on no packet's way.
    topology.namespaces.push(empty_namespace("aside"));
    let (walk, read) = visit(&topology, &[(SERVER, server("10.2.0.2/24"))]);
    assert_eq!(read, [CLIENT, ROUTER, SERVER]);
    assert!(matches!(walk.first.end, End::Delivered { namespace: SERVER, .. }), "{walk:?}");
    assert!(walk.reply.is_some_and(|reply| matches!(reply.end, End::Delivered { namespace: CLIENT, .. })));
}

#[test]
fn a_neighbor_that_lost_its_address_is_missing() {
    let (walk, read) = visit(&routed(), &[(SERVER, server("10.2.0.3/24"))]);
    assert_eq!(read, [CLIENT, ROUTER, SERVER]);
    let next = address("10.2.0.2");
    let expected = End::NoNeighbor { namespace: ROUTER, interface: "eth1".to_owned(), next, silence: None };
    assert_eq!(walk.first.end, expected);
}

#[test]
fn two_sandboxes_with_other_indexes_find_each_other() {
    let mut topology = routed();
    // A link between them, without the router.
    for (id, index, own) in [(CLIENT, 3, "10.3.0.2/24"), (SERVER, 3, "10.3.0.3/24")] {
        add_interface(&mut topology[id], interface(id, index, "link", &[own]));
    }
    topology.join((CLIENT, 3), (SERVER, 3));
    // The planned index is that of another interface now; the link is known by its MAC address.
    let observed = |id: NamespaceId, index, own: &str| {
        let mut namespace = empty_namespace("");
        let decoy = crate::Interface { mac: MacAddress::default(), ..interface(id, 3, "decoy", &[]) };
        add_interface(&mut namespace, decoy);
        let link = interface(id, 3, "renamed", &[own]);
        add_interface(&mut namespace, crate::Interface { index, ..link });
        listen(&mut namespace, TCP, "::", 80);
        (id, Survey { namespace, veth_pairs: Vec::new() })
    };
    let surveys = [observed(CLIENT, 8, "10.2.0.9/24"), observed(SERVER, 9, "10.2.0.2/24")];
    let (walk, read) = visit(&topology, &surveys);
    assert_eq!(read, [CLIENT, SERVER]);
    assert!(matches!(walk.first.end, End::Delivered { namespace: SERVER, .. }), "{walk:?}");
}

#[test]
fn a_macvlan_is_found_by_its_planned_index_and_met_by_its_observed_one() {
    let mut topology = routed();
    let parent = MacvlanParent { namespace: ROUTER, parent: 3, mode: MacvlanMode::Bridge };
    let macvlan = |id, index, own: &str| crate::Interface {
        macvlan_parent: Some(parent),
        ..interface(id, index, "eth0", &[own])
    };
    for (id, own) in [(CLIENT, "10.2.0.8/24"), (SERVER, "10.2.0.2/24")] {
        topology[id] = empty_namespace("");
        add_interface(&mut topology[id], macvlan(id, 5, own));
    }
    let mut namespace = empty_namespace("");
    let seen = crate::Interface {
        macvlan_parent: None,
        mac: macvlan(SERVER, 5, "10.2.0.2/24").mac,
        ..macvlan(SERVER, 6, "10.2.0.2/24")
    };
    add_interface(&mut namespace, seen);
    listen(&mut namespace, TCP, "::", 80);
    let (walk, read) = visit(&topology, &[(SERVER, Survey { namespace, veth_pairs: Vec::new() })]);
    assert_eq!(read, [CLIENT, SERVER]);
    assert!(matches!(walk.first.end, End::Delivered { namespace: SERVER, .. }), "{walk:?}");
}

#[test]
fn a_namespace_that_cannot_be_read_ends_the_walk() {
    let topology = routed();
    for unreadable in [CLIENT, SERVER] {
        let source = Source { namespaces: [(unreadable, None)].into(), ..Source::default() };
        let mut walker = Walker::with_source(&topology, &source);
        let first = tuple(TCP, "0.0.0.0", "10.2.0.2");
        let walk = walk_connection_with(&mut walker, Origin::Local(CLIENT), first, Proxy::default());
        let name = topology.name(unreadable);
        assert_eq!(
            sentence(&walk.first, &topology),
            format!("unknown from here on {name}: it cannot be read")
        );
    }
}
