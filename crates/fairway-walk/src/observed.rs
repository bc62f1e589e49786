//! Replaces planned namespaces of a topology with namespaces read from the kernel.

use std::collections::BTreeMap;

use crate::topology::{Interface, Listener, NamespaceId, NetworkNamespace, Survey, Topology};

/// The positions of a namespace's interfaces by their indexes.
fn positions(namespace: &NetworkNamespace) -> BTreeMap<u32, usize> {
    namespace.interfaces.iter().enumerate().map(|(at, interface)| (interface.index, at)).collect()
}

impl Topology {
    /// Replaces the planned host with the observed host. The peers of veth interfaces, the parents of macvlans, and
    /// the purpose of Fairway's own sockets are known from the plan alone, and are kept.
    pub fn replace_host(&mut self, host: NetworkNamespace) {
        let Some(first) = self.namespaces.first_mut() else { return };
        let planned = std::mem::replace(first, host);
        self.connect_ports(&planned);
        let parents: BTreeMap<u32, u32> = planned
            .interfaces
            .iter()
            .filter_map(|it| Some((it.index, self.host().interface_named(&it.name)?.index)))
            .collect();
        for interface in self.namespaces.iter_mut().skip(1).flat_map(|namespace| &mut namespace.interfaces) {
            let parent = interface.macvlan_parent.as_mut();
            if let Some(parent) = parent.filter(|parent| parent.namespace == NamespaceId::HOST) {
                parent.parent = parents.get(&parent.parent).copied().unwrap_or_default();
            }
        }
        let key = |it: &Listener| (it.protocol, it.address, it.port);
        let mut ours: BTreeMap<_, Listener> =
            planned.listeners.into_iter().map(|listener| (key(&listener), listener)).collect();
        for listener in &mut self[NamespaceId::HOST].listeners {
            if let Some(own) = ours.remove(&key(listener)) {
                *listener = own;
            }
        }
    }

    /// Connects the host's ends of veth pairs, found by name, to the peers of the planned ends.
    fn connect_ports(&mut self, planned: &NetworkNamespace) {
        let named: BTreeMap<&str, u32> =
            self.host().interfaces.iter().map(|it| (it.name.as_str(), it.index)).collect();
        let ports =
            planned.interfaces.iter().filter_map(|port| Some((*named.get(port.name.as_str())?, port.peer?)));
        let ports: Vec<_> = ports.collect();
        for (index, peer) in ports {
            self.join((NamespaceId::HOST, index), peer);
        }
    }

    /// Replaces the planned namespace of a sandbox with the observed one.
    pub fn replace_sandbox(&mut self, id: NamespaceId, survey: &Survey) {
        let mut planned = std::mem::take(&mut self[id]);
        let (name, sandbox) = (std::mem::take(&mut planned.name), planned.sandbox);
        self[id] = NetworkNamespace { name, sandbox, ..survey.namespace.clone() };
        let is_netns_link = |it: &&Interface| {
            it.macvlan_parent.is_some() || it.peer.is_some_and(|(peer, _)| peer != NamespaceId::HOST)
        };
        for interface in planned.interfaces.iter().filter(is_netns_link) {
            self.connect_as_planned(id, interface);
        }
        let inner: BTreeMap<u32, u32> =
            survey.veth_pairs.iter().map(|(index, other)| (*other, *index)).collect();
        let ends = positions(&self[id]);
        let (host, sandboxes) = self.namespaces.split_at_mut(1);
        let Some(namespace) = id.0.checked_sub(1).and_then(|at| sandboxes.get_mut(at)) else { return };
        for port in &mut host[0].interfaces {
            let Some((_, planned)) = port.peer.filter(|(peer, _)| *peer == id) else { continue };
            let index = inner.get(&port.index).copied().unwrap_or(planned);
            port.peer = Some((id, index));
            if let Some(end) = ends.get(&index) {
                namespace.interfaces[*end].peer = Some((NamespaceId::HOST, port.index));
            }
        }
    }

    /// Connects an observed interface of a sandbox like the planned one with the same MAC address, or else the same
    /// name.
    fn connect_as_planned(&mut self, id: NamespaceId, planned: &Interface) {
        let interfaces = &self[id].interfaces;
        let same = interfaces.iter().find(|it| it.mac == planned.mac && !it.loopback);
        let Some(index) =
            same.or_else(|| interfaces.iter().find(|it| it.name == planned.name)).map(|it| it.index)
        else {
            return;
        };
        self.change_interface((id, index), |interface| interface.macvlan_parent = planned.macvlan_parent);
        if let Some(peer) = planned.peer {
            self.join((id, index), peer);
        }
    }

    /// Makes two interfaces, each given by its namespace and index, the ends of a veth pair.
    pub fn join(&mut self, one: (NamespaceId, u32), other: (NamespaceId, u32)) {
        self.change_interface(one, |interface| interface.peer = Some(other));
        self.change_interface(other, |interface| interface.peer = Some(one));
    }

    /// Changes the interface with this index in a namespace, if there is one.
    pub fn change_interface(
        &mut self,
        (namespace, index): (NamespaceId, u32),
        change: impl FnOnce(&mut Interface),
    ) {
        let interfaces = self[namespace].interfaces.iter_mut();
        if let Some(interface) = interfaces.into_iter().find(|interface| interface.index == index) {
            change(interface);
        }
    }
}
