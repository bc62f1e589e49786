//! Replaces planned namespaces of a topology with namespaces read from the kernel.

use std::collections::BTreeMap;

use crate::topology::{Interface, Listener, NamespaceId, NetworkNamespace, Survey, Topology};

/// The namespace of a sandbox as observed, with the links of the planned one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedNamespace {
    pub(crate) namespace: NetworkNamespace,
    /// The observed indexes of planned interfaces, by their planned ones.
    indexes: BTreeMap<u32, u32>,
}

impl ObservedNamespace {
    /// A namespace whose interfaces have the same indexes in the topology.
    pub(crate) fn of(namespace: NetworkNamespace) -> Self {
        Self { namespace, indexes: BTreeMap::new() }
    }

    /// The observed index of an interface that other namespaces know by its planned index.
    pub(crate) fn index(&self, planned: u32) -> u32 {
        self.indexes.get(&planned).copied().unwrap_or(planned)
    }

    /// The observed interface that other namespaces know by its planned index.
    pub(crate) fn interface(&self, planned: u32) -> Option<&Interface> {
        self.namespace.interface(self.index(planned))
    }
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

    /// The namespace of a sandbox as a survey has it, with the name and the links of the planned namespace. Links to
    /// the host are found by the pairs of the survey, others by MAC address, or else by name.
    pub fn observe(&self, id: NamespaceId, survey: &Survey) -> ObservedNamespace {
        let planned = &self[id];
        let (name, sandbox) = (planned.name.clone(), planned.sandbox);
        let mut namespace = NetworkNamespace { name, sandbox, ..survey.namespace.clone() };
        let own_ends: BTreeMap<u32, u32> =
            survey.veth_pairs.iter().map(|(index, other)| (*other, *index)).collect();
        let mut indexes = BTreeMap::new();
        for link in &planned.interfaces {
            let index = match link.peer {
                Some((NamespaceId::HOST, port)) => own_ends.get(&port).copied().or(Some(link.index)),
                None if link.macvlan_parent.is_none() => continue,
                _ => alike(&namespace.interfaces, link),
            };
            let end = namespace.interfaces.iter_mut().find(|it| Some(it.index) == index);
            if let Some(end) = end {
                (end.peer, end.macvlan_parent) = (link.peer, link.macvlan_parent);
                indexes.insert(link.index, end.index);
            }
        }
        ObservedNamespace { namespace, indexes }
    }

    /// Replaces the planned namespace of a sandbox with the observed one.
    pub fn replace_sandbox(&mut self, id: NamespaceId, survey: &Survey) {
        let observed = self.observe(id, survey);
        self.replace_sandboxes([(id, observed)].into());
    }

    /// Replaces planned namespaces with observed ones.
    pub fn replace_sandboxes(&mut self, mut observed: BTreeMap<NamespaceId, ObservedNamespace>) {
        for (id, it) in &mut observed {
            self[*id] = std::mem::take(&mut it.namespace);
        }
        for interface in self.namespaces.iter_mut().flat_map(|namespace| &mut namespace.interfaces) {
            if let Some((peer, index)) = &mut interface.peer
                && let Some(it) = observed.get(peer)
            {
                *index = it.index(*index);
            }
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

/// The index of the interface with the MAC address of a planned one, or else with its name.
fn alike(interfaces: &[Interface], planned: &Interface) -> Option<u32> {
    let same = interfaces.iter().find(|it| it.mac == planned.mac && !it.loopback);
    same.or_else(|| interfaces.iter().find(|it| it.name == planned.name)).map(|it| it.index)
}
