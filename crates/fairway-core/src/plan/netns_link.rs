//! Interfaces of sandboxes that have no end on the host: macvlans and pairs.

use ipnet::IpNet;

use super::fragment::Maker;
use crate::object::{DummyParent, Key, MacvlanLink, NetnsLink, Object, PairLink};
use fairway_model::HOST_INTERFACE_PREFIX;
use fairway_model::{Endpoint, MacvlanMode, Network, Sandbox};

impl Maker<'_> {
    /// The parent of macvlans that lead nowhere, where the user named none.
    pub(super) fn dummy_parent(&mut self, network: &Network) -> Option<()> {
        let macvlan = network.macvlan.as_ref().filter(|macvlan| macvlan.has_dummy_parent())?;
        let name = macvlan.parent.clone();
        let dummy_parent = DummyParent { name: name.clone(), network: network.id, mtu: network.mtu };
        self.add(Key::DummyParent(name), Object::DummyParent(dummy_parent));
        Some(())
    }

    pub(super) fn macvlan(
        &mut self,
        network: &Network,
        endpoint: &Endpoint,
        sandbox: &Sandbox,
    ) -> Option<()> {
        let macvlan = network.macvlan.as_ref()?;
        let mut link = netns_link(network, endpoint, sandbox, network.mtu)?;
        if macvlan.mode == MacvlanMode::Passthru {
            // Giving it another one would give it to the parent.
            link.mac = None;
        }
        let (parent, mode) = (macvlan.parent.clone(), macvlan.mode);
        self.add(Key::Macvlan(endpoint.id), Object::Macvlan(MacvlanLink { link, parent, mode }));
        Some(())
    }

    /// The pair of those of its two sandboxes that run.
    pub(super) fn pair(&mut self, network: &Network) -> Option<()> {
        let mtu = Some(self.world.mtu(network));
        let mut endpoints: Vec<_> = self.world.endpoints_of_network(network.id).collect();
        endpoints.sort_by_key(|endpoint| endpoint.order);
        let ends: Vec<_> = endpoints
            .into_iter()
            .filter_map(|endpoint| {
                let sandbox = self.world.sandbox(endpoint.sandbox)?;
                netns_link(network, endpoint, sandbox, mtu)
            })
            .collect();
        if !ends.is_empty() {
            let waiting = format!("{HOST_INTERFACE_PREFIX}{}", network.id.short());
            let pair = PairLink { network: network.id, waiting, ends };
            self.add(Key::Pair(network.id), Object::Pair(pair));
        }
        Some(())
    }
}

/// The interface of an endpoint whose sandbox runs.
fn netns_link(
    network: &Network,
    endpoint: &Endpoint,
    sandbox: &Sandbox,
    mtu: Option<u32>,
) -> Option<NetnsLink> {
    let (allocation, namespace) = (endpoint.allocation.as_ref()?, sandbox.namespace()?);
    let with_length = |address| {
        let subnet = network.subnet_for(address)?;
        IpNet::new(address, subnet.subnet.prefix_len()).ok()
    };
    Some(NetnsLink {
        sandbox: sandbox.id,
        endpoint: endpoint.id,
        namespace: namespace.clone(),
        interface: allocation.interface.clone(),
        mac: Some(allocation.mac),
        mtu,
        addresses: allocation.addresses().filter_map(with_length).collect(),
    })
}
