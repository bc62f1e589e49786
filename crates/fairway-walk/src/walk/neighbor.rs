//! Neighbors: who has an address behind an interface, and where a MAC address is.

use std::net::IpAddr;

use super::Walker;
use super::input::unexpected_source;
use crate::packet::Tuple;
use crate::step::{End, Silence};
use crate::topology::{Interface, MacvlanParent, NamespaceId};
use fairway_model::{MacAddress, MacvlanMode};

/// The owner of an address behind an interface.
pub(super) enum Neighbor {
    /// An interface in this namespace, with this MAC address.
    Known(NamespaceId, MacAddress),
    /// A host outside, on a link that leads out of the topology.
    Outside,
    /// No neighbor has the address.
    Missing,
}

/// The MAC address of hosts on a link that leads out of the topology.
pub(super) const STRANGER: MacAddress = MacAddress([2, 0, 0, 0, 0, 0]);

/// A search over links.
#[derive(Default)]
pub(super) struct Search {
    /// The bridges that it has passed: with spanning tree, bridges may form loops.
    passed: Vec<(NamespaceId, u32)>,
    /// Whether it also passes bridge ports that do not forward, and finds addresses that are tentative.
    finds_silent: bool,
    /// The bridge port that does not forward, between the start and what was found.
    closed_port: Option<Silence>,
    /// The interface that was found, if the address is tentative there.
    tentative: Option<Silence>,
}

impl Search {
    /// A search that begins behind a bridge.
    pub fn from_bridge(namespace: NamespaceId, bridge: &Interface) -> Self {
        Self { passed: vec![(namespace, bridge.index)], ..Self::default() }
    }

    /// Records that the search passes a bridge; false if it did before.
    fn passes(&mut self, namespace: NamespaceId, bridge: &Interface) -> bool {
        let place = (namespace, bridge.index);
        let first = !self.passed.contains(&place);
        if first {
            self.passed.push(place);
        }
        first
    }

    fn enters(&self, port: &Interface) -> bool {
        self.finds_silent || port.forwards_frames()
    }

    /// Records that something was found behind a port.
    fn found_behind(&mut self, namespace: NamespaceId, port: &Interface) {
        if !port.forwards_frames() {
            let (port, state) = (port.name.clone(), port.port_state);
            self.closed_port = Some(Silence::Port { namespace, port, state });
        }
    }
}

impl<'a> Walker<'a> {
    /// Looks for a neighbor, and again as long as it is found in a namespace that was not read yet.
    pub(super) fn find_neighbor(&self, look: impl Fn(&Self) -> Neighbor) -> Result<Neighbor, End> {
        loop {
            match look(self) {
                Neighbor::Known(holder, _) if self.visit(holder)? => {}
                found => return Ok(found),
            }
        }
    }

    /// Why no neighbor answers for `address` behind an interface: a port that does not forward, or an address that is
    /// tentative. None if no neighbor has the address.
    pub(super) fn silence(
        &self,
        namespace: NamespaceId,
        interface: &Interface,
        address: IpAddr,
        origin: Option<IpAddr>,
    ) -> Option<Silence> {
        let mut search = Search { finds_silent: true, ..Search::default() };
        self.neighbor(namespace, interface, address, origin, &mut search);
        search.closed_port.or(search.tentative)
    }

    /// Whether a search ends at an interface: the interface answers for `address`, or would do so if the address were not
    /// tentative and the search finds such ones.
    fn is_found(
        &self,
        (namespace, interface): (NamespaceId, &Interface),
        address: IpAddr,
        origin: Option<IpAddr>,
        search: &mut Search,
    ) -> bool {
        if self.answers(namespace, interface, address, origin) {
            return true;
        }
        let is_silent = search.finds_silent && interface.tentative.contains(&address);
        if is_silent {
            search.tentative = Some(Silence::Tentative { namespace, interface: interface.name.clone() });
        }
        is_silent
    }

    /// Finds the owner of `address` behind an interface.
    pub(super) fn neighbor(
        &self,
        namespace: NamespaceId,
        interface: &Interface,
        address: IpAddr,
        origin: Option<IpAddr>,
        search: &mut Search,
    ) -> Neighbor {
        if interface.kind == "bridge" {
            return self.behind_bridge((namespace, interface), address, origin, None, search);
        }
        let Some(MacvlanParent { namespace: below, parent, mode }) = interface.macvlan_parent else {
            // A macvlan does not receive requests that its parent sends.
            let above = self.macvlans_of(namespace, interface.index);
            let kept_apart =
                above.into_iter().any(|((place, _), it)| self.answers(place, it, address, origin));
            return if kept_apart {
                Neighbor::Missing
            } else {
                self.resolve_over_link(interface, address, origin, search)
            };
        };
        let near = self.macvlans_of(below, parent).find(|((place, _), it)| {
            in_mode_bridge(it)
                && (*place, it.index) != (namespace, interface.index)
                && self.is_found((*place, it), address, None, search)
        });
        match (near, self.namespace(below).interface(parent)) {
            (Some(((place, _), near)), _) if mode == MacvlanMode::Bridge => Neighbor::Known(place, near.mac),
            (_, Some(parent)) => self.resolve_over_link(parent, address, origin, search),
            _ => Neighbor::Missing,
        }
    }

    /// Finds the owner of `address` at the other end of an interface.
    fn resolve_over_link(
        &self,
        interface: &Interface,
        address: IpAddr,
        origin: Option<IpAddr>,
        search: &mut Search,
    ) -> Neighbor {
        let Some((peer, index)) = interface.peer else {
            // A dummy parent of macvlans leads nowhere.
            let leads_out = !matches!(interface.kind.as_str(), "dummy" | "ifb");
            return if leads_out { Neighbor::Outside } else { Neighbor::Missing };
        };
        let place = self.namespace(peer);
        let Some(end) = self.end((peer, index)).filter(|end| end.up) else { return Neighbor::Missing };
        if let Some(bridge) = end.bridge.and_then(|bridge| place.interface(bridge)) {
            if !search.enters(end) {
                return Neighbor::Missing;
            }
            let found = match self.is_found((peer, bridge), address, origin, search) {
                true => Neighbor::Known(peer, bridge.mac),
                false => self.behind_bridge((peer, bridge), address, origin, Some(end.index), search),
            };
            if !matches!(found, Neighbor::Missing) {
                search.found_behind(peer, end);
            }
            return found;
        }
        if self.is_found((peer, end), address, origin, search) {
            return Neighbor::Known(peer, end.mac);
        }
        self.above(peer, index, address, search)
    }

    /// Finds the macvlan of a parent interface whose namespace has `address`.
    pub(super) fn above(
        &self,
        namespace: NamespaceId,
        parent: u32,
        address: IpAddr,
        search: &mut Search,
    ) -> Neighbor {
        let mut all = self.macvlans_of(namespace, parent);
        let found = all.find(|((place, _), it)| self.is_found((*place, it), address, None, search));
        found.map_or(Neighbor::Missing, |((place, _), it)| Neighbor::Known(place, it.mac))
    }

    /// Whether an interface answers a neighbor request for `address`: by ARP a namespace answers for all its
    /// addresses (`arp_ignore`), by neighbor discovery only for those of the interface.
    /// A request from a source that `rp_filter` drops gets no answer (`arp_process`).
    pub(super) fn answers(
        &self,
        namespace: NamespaceId,
        interface: &Interface,
        address: IpAddr,
        origin: Option<IpAddr>,
    ) -> bool {
        let place = self.namespace(namespace);
        let is_let_in = |source: IpAddr| {
            let tuple =
                Tuple { protocol: 0, source, destination: address, source_port: 0, destination_port: 0 };
            unexpected_source(place, interface, None, &tuple, 0).is_none()
        };
        match address {
            IpAddr::V4(_) => place.holder(address).is_some() && origin.is_none_or(is_let_in),
            IpAddr::V6(_) => {
                let has = interface.addresses.iter().any(|own| own.addr() == address);
                has && !interface.tentative.contains(&address)
            }
        }
    }

    /// Finds the owner of `address` behind a bridge that was not passed yet.
    /// `asking` is the port where the request arrived.
    pub(super) fn behind_bridge(
        &self,
        (namespace, bridge): (NamespaceId, &Interface),
        address: IpAddr,
        origin: Option<IpAddr>,
        asking: Option<u32>,
        search: &mut Search,
    ) -> Neighbor {
        let mut outside = Neighbor::Missing;
        if !search.passes(namespace, bridge) {
            return outside;
        }
        for port in self.ports(namespace, bridge) {
            if asking == Some(port.index) && !port.hairpin || !search.enters(port) {
                continue;
            }
            let found = self.resolve_over_link(port, address, origin, search);
            if !matches!(found, Neighbor::Missing) {
                search.found_behind(namespace, port);
            }
            match found {
                Neighbor::Known(place, mac) => return Neighbor::Known(place, mac),
                Neighbor::Outside => outside = Neighbor::Outside,
                Neighbor::Missing => {}
            }
        }
        outside
    }

    pub(super) fn ports(
        &self,
        namespace: NamespaceId,
        bridge: &Interface,
    ) -> impl Iterator<Item = &'a Interface> + use<'a> {
        let index = bridge.index;
        self.namespace(namespace).interfaces.iter().filter(move |port| port.bridge == Some(index) && port.up)
    }

    /// Whether a frame for `mac` that leaves by a port arrives there: at the other end, at a macvlan on it or, if the other
    /// end is a port of a bridge, at that bridge or behind it.
    pub(super) fn is_behind(&self, port: &Interface, mac: MacAddress, search: &mut Search) -> bool {
        let Some((peer, index)) = port.peer else { return mac == STRANGER };
        let Some(end) = self.end((peer, index)).filter(|end| end.up) else { return false };
        if end.bridge.is_some() && !end.forwards_frames() {
            return false;
        }
        if end.mac == mac || self.macvlans_of(peer, index).any(|(_, above)| above.mac == mac) {
            return true;
        }
        let Some(bridge) = end.bridge.and_then(|bridge| self.namespace(peer).interface(bridge)) else {
            return false;
        };
        let mut others = self.ports(peer, bridge).filter(|it| it.index != end.index && it.forwards_frames());
        bridge.mac == mac
            || search.passes(peer, bridge) && others.any(|other| self.is_behind(other, mac, search))
    }
}

pub(super) fn in_mode_bridge(interface: &Interface) -> bool {
    interface.macvlan_parent.is_some_and(|on| on.mode == MacvlanMode::Bridge)
}
