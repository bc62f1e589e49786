//! Joins observed network namespaces by their links alone: the topology of a host without a World.

use std::collections::{BTreeMap, BTreeSet};

use fairway_model::MacvlanMode;

use crate::observed::ObservedNamespace;
use crate::topology::{MacvlanParent, NamespaceId, NetworkNamespace, Topology};

/// How an interface is tied to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tie {
    /// The interfaces are the ends of a pair (veth, netkit).
    Pair,
    /// The interface is a macvlan on the other one.
    Macvlan(MacvlanMode),
}

/// A tie between an interface and another one, as the kernel describes it (`IFLA_LINK`, `IFLA_LINK_NETNSID`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkTie {
    /// The index of the interface.
    pub index: u32,
    /// How it is tied.
    pub tie: Tie,
    /// The index of the other interface, in its namespace.
    pub other: u32,
    /// The id that the interface's namespace has for the namespace of the other one; none if it is the same.
    pub namespace: Option<i32>,
}

/// A network namespace as far as its links are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observation {
    /// The namespace: its interfaces at least.
    pub namespace: NetworkNamespace,
    /// The ties of its interfaces.
    pub ties: Vec<LinkTie>,
    /// The ids that it has for other namespaces, with their places among the observations (`RTM_GETNSID`).
    pub ids: BTreeMap<i32, NamespaceId>,
}

/// An interface of a topology: its namespace, and its index there.
type Place = (NamespaceId, u32);

impl Topology {
    /// The topology of observed namespaces; the first is the host. A pair whose other end is in a namespace without a
    /// known id is joined if exactly one interface claims to be each end of the other.
    pub fn of_observations(observations: Vec<Observation>) -> Self {
        let mut claims: BTreeMap<(u32, u32), Vec<NamespaceId>> = BTreeMap::new();
        let mut pairs: BTreeSet<(Place, Place)> = BTreeSet::new();
        let mut macvlans: Vec<(Place, MacvlanParent)> = Vec::new();
        for (place, it) in observations.iter().enumerate() {
            let own = NamespaceId(place);
            for tie in &it.ties {
                let there = match tie.namespace {
                    None => Some(own),
                    Some(id) => it.ids.get(&id).copied().filter(|there| there.0 < observations.len()),
                };
                match (tie.tie, there) {
                    (Tie::Pair, Some(there)) => {
                        pairs.insert(ordered((own, tie.index), (there, tie.other)));
                    }
                    (Tie::Pair, None) => claims.entry((tie.index, tie.other)).or_default().push(own),
                    (Tie::Macvlan(mode), Some(there)) => {
                        let parent = MacvlanParent { namespace: there, parent: tie.other, mode };
                        macvlans.push(((own, tie.index), parent));
                    }
                    (Tie::Macvlan(_), None) => {}
                }
            }
        }
        // An end whose other end is known by its id is none of these.
        for ((index, other), owners) in &claims {
            let others = claims.get(&(*other, *index)).map(Vec::as_slice).unwrap_or_default();
            if let ([one], [two]) = (owners.as_slice(), others)
                && one != two
            {
                pairs.insert(ordered((*one, *index), (*two, *other)));
            }
        }
        let namespaces = observations.into_iter().map(|it| it.namespace).collect();
        let mut topology = Self { namespaces };
        for (one, other) in pairs {
            topology.join(one, other);
        }
        for (place, parent) in macvlans {
            topology.change_interface(place, |interface| interface.macvlan_parent = Some(parent));
        }
        topology
    }

    /// A namespace that was read as a whole, with the ties that the topology has for its interfaces.
    pub fn with_ties(&self, id: NamespaceId, mut namespace: NetworkNamespace) -> ObservedNamespace {
        let Some(known) = self.namespaces.get(id.0) else { return ObservedNamespace::of(namespace) };
        namespace.name.clone_from(&known.name);
        namespace.sandbox = known.sandbox;
        for interface in &mut namespace.interfaces {
            if let Some(known) = known.interface(interface.index) {
                (interface.peer, interface.macvlan_parent) = (known.peer, known.macvlan_parent);
            }
        }
        ObservedNamespace::of(namespace)
    }
}

fn ordered(one: Place, other: Place) -> (Place, Place) {
    if one < other { (one, other) } else { (other, one) }
}

#[cfg(test)]
mod tests;
