//! Namespaces as they were read, in the place of planned ones.

use std::collections::BTreeMap;

use crate::topology::{Interface, Listener, NetworkNamespace, Survey, Topology};

/// The places of a namespace's interfaces by their indexes.
fn places(namespace: &NetworkNamespace) -> BTreeMap<u32, usize> {
    namespace.interfaces.iter().enumerate().map(|(place, interface)| (interface.index, place)).collect()
}

impl Topology {
    /// Puts the host as it was read in the place of the one that is planned. Where its veth_pairs lead, and what our sockets
    /// are for, only the plan tells.
    pub fn read_host(&mut self, host: NetworkNamespace) {
        let Some(place) = self.namespaces.first_mut() else { return };
        let asked = std::mem::replace(place, host);
        let host = &self.namespaces[0];
        let named: BTreeMap<&str, usize> =
            host.interfaces.iter().enumerate().map(|(place, it)| (it.name.as_str(), place)).collect();
        let ports = asked.interfaces.iter().filter_map(|port| {
            let (namespace, inner) = port.peer?;
            Some((*named.get(port.name.as_str())?, namespace, inner))
        });
        let ports: Vec<(usize, usize, u32)> = ports.collect();
        for (port, namespace, inner) in ports {
            let outer = &mut self.namespaces[0].interfaces[port];
            outer.peer = Some((namespace, inner));
            let outer = outer.index;
            let ends = self.namespaces[namespace].interfaces.iter_mut();
            if let Some(end) = ends.into_iter().find(|end| end.index == inner) {
                end.peer = Some((0, outer));
            }
        }
        let parents: BTreeMap<u32, u32> = asked
            .interfaces
            .iter()
            .filter_map(|it| Some((it.index, self.namespaces[0].interface_named(&it.name)?.index)))
            .collect();
        for interface in self.namespaces.iter_mut().skip(1).flat_map(|namespace| &mut namespace.interfaces) {
            if let Some(standing) =
                interface.macvlan_parent.as_mut().filter(|standing| standing.namespace == 0)
            {
                standing.parent = parents.get(&standing.parent).copied().unwrap_or_default();
            }
        }
        let key = |it: &Listener| (it.protocol, it.address, it.port);
        let mut ours: BTreeMap<_, Listener> =
            asked.listeners.into_iter().map(|listener| (key(&listener), listener)).collect();
        for listener in &mut self.namespaces[0].listeners {
            if let Some(own) = ours.remove(&key(listener)) {
                *listener = own;
            }
        }
    }

    /// Puts a sandbox as it was read in the place of the one that is planned.
    pub fn read_inside(&mut self, place: usize, inside: &Survey) {
        let mut asked = std::mem::take(&mut self.namespaces[place]);
        let name = std::mem::take(&mut asked.name);
        self.namespaces[place] = NetworkNamespace { name, ..inside.namespace.clone() };
        let is_netns_link =
            |it: &&Interface| it.macvlan_parent.is_some() || it.peer.is_some_and(|(peer, _)| peer > 0);
        for planned in asked.interfaces.iter().filter(is_netns_link) {
            self.follow(place, planned);
        }
        let ends = places(&self.namespaces[place]);
        let inner: BTreeMap<u32, u32> =
            inside.veth_pairs.iter().map(|(index, other)| (*other, *index)).collect();
        let (host, sandboxes) = self.namespaces.split_at_mut(1);
        let Some(namespace) = sandboxes.get_mut(place - 1) else { return };
        for port in &mut host[0].interfaces {
            let Some((_, planned)) = port.peer.filter(|(namespace, _)| *namespace == place) else { continue };
            let index = inner.get(&port.index).copied().unwrap_or(planned);
            port.peer = Some((place, index));
            if let Some(end) = ends.get(&index) {
                namespace.interfaces[*end].peer = Some((0, port.index));
            }
        }
    }

    /// Has an interface of a sandbox that was read lead where the planned one leads.
    fn follow(&mut self, place: usize, planned: &Interface) {
        let interfaces = &self.namespaces[place].interfaces;
        let same = interfaces.iter().find(|it| it.mac == planned.mac && !it.loopback);
        let Some(index) =
            same.or_else(|| interfaces.iter().find(|it| it.name == planned.name)).map(|it| it.index)
        else {
            return;
        };
        self.change_interface((place, index), |interface| interface.macvlan_parent = planned.macvlan_parent);
        if let Some(peer) = planned.peer {
            self.join((place, index), peer);
        }
    }

    /// Makes two interfaces, each given by its namespace and index, the ends of a veth pair.
    pub fn join(&mut self, one: (usize, u32), other: (usize, u32)) {
        self.change_interface(one, |interface| interface.peer = Some(other));
        self.change_interface(other, |interface| interface.peer = Some(one));
    }

    /// Changes the interface with this index in a namespace, if there is one.
    pub fn change_interface(
        &mut self,
        (namespace, index): (usize, u32),
        change: impl FnOnce(&mut Interface),
    ) {
        let interfaces = self.namespaces[namespace].interfaces.iter_mut();
        if let Some(interface) = interfaces.into_iter().find(|interface| interface.index == index) {
            change(interface);
        }
    }
}
