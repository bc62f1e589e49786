//! Interfaces that exist only inside sandboxes: macvlans and ptp veth pairs.

use fairway_core::object::{NetnsLink, Object};
use fairway_core::plan::Plan;
use fairway_model::Namespace;
use fairway_walk::{Interface, MacvlanParent, NamespaceId, Topology, add_interface};

/// Finds the id of a namespace in a topology.
pub(super) type Places<'a> = &'a dyn Fn(&Namespace) -> Option<NamespaceId>;

fn free_index(topology: &Topology, namespace: NamespaceId) -> u32 {
    topology[namespace].interfaces.iter().map(|it| it.index).max().unwrap_or_default() + 1
}

/// Adds the interfaces that a Plan makes only inside sandboxes, and the links of the host that they need.
pub(super) fn add(topology: &mut Topology, plan: &Plan, places: Places<'_>) {
    for object in plan.objects().map(|(_, object)| object) {
        let (kind, of_host) = match object {
            Object::DummyParent(link) => ("dummy", Some((link.name.clone(), true))),
            Object::Pair(pair) if pair.ends.len() == 1 => ("veth", Some((pair.waiting.clone(), false))),
            Object::Pair(_) => ("veth", None),
            Object::Macvlan(_) => ("macvlan", None),
            _ => continue,
        };
        if let Some((name, up)) = of_host {
            let index = free_index(topology, NamespaceId::HOST);
            let interface = Interface { index, name, kind: kind.to_owned(), up, ..Interface::default() };
            add_interface(&mut topology[NamespaceId::HOST], interface);
        }
        for link in object.netns_links() {
            let Some(place) = places(&link.namespace) else { continue };
            let interface = Interface {
                index: free_index(topology, place),
                name: link.interface.clone(),
                kind: kind.to_owned(),
                mac: link.mac.unwrap_or_default(),
                up: true,
                addresses: link.addresses.clone(),
                ..Interface::default()
            };
            add_interface(&mut topology[place], interface);
        }
    }
}

/// The interface of a sandbox of a netns link: by its hardware address, else by its name.
fn find(topology: &Topology, link: &NetnsLink, places: Places<'_>) -> Option<(NamespaceId, u32)> {
    let place = places(&link.namespace)?;
    let interfaces = &topology[place].interfaces;
    let own = interfaces.iter().find(|it| link.mac.is_some_and(|mac| it.mac == mac));
    let named = || interfaces.iter().find(|it| it.name == link.interface);
    Some((place, own.or_else(named)?.index))
}

/// Connects veth peers, and macvlans to their parents.
pub(super) fn tie(topology: &mut Topology, plan: &Plan, places: Places<'_>) {
    for object in plan.objects().map(|(_, object)| object) {
        match object {
            Object::Macvlan(macvlan) => {
                let parent =
                    topology[NamespaceId::HOST].interface_named(&macvlan.parent).map(|parent| parent.index);
                if let (Some(parent), Some(own)) = (parent, find(topology, &macvlan.link, places)) {
                    let standing = MacvlanParent { namespace: NamespaceId::HOST, parent, mode: macvlan.mode };
                    topology.change_interface(own, |interface| interface.macvlan_parent = Some(standing));
                }
            }
            Object::Pair(pair) => {
                let mut ends = pair.ends.iter().filter_map(|link| find(topology, link, places));
                let (one, other) = (ends.next(), ends.next());
                let waiting = topology[NamespaceId::HOST]
                    .interface_named(&pair.waiting)
                    .map(|it| (NamespaceId::HOST, it.index));
                if let (Some(one), Some(other)) = (one, other.or(waiting)) {
                    topology.join(one, other);
                }
            }
            _ => {}
        }
    }
}
