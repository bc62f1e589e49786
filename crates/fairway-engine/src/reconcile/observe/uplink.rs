//! Observes interfaces of the host that `lan` networks enslave to their bridges.

use fairway_core::object::{Key, Object, UplinkPort};
use fairway_kernel::route::{self, Address, Link};
use fairway_model::Uplink;

use super::Observation;
use crate::reconcile::Reconciler;

impl Reconciler {
    /// Whether an uplink appeared, or left its bridge.
    pub(crate) fn is_uplink_loose(&self, link: &Link) -> bool {
        let bridge = self.committer.read(|world| {
            let mut networks = world.networks();
            let holds = |it: &Uplink| it.parent == link.name;
            networks.find(|network| network.uplink.as_ref().is_some_and(holds)).map(|it| it.bridge.clone())
        });
        bridge.is_some_and(|bridge| {
            let index = self.applier.links(|links| links.index(&bridge)).ok();
            link.master.is_none() || link.master != index
        })
    }

    /// Whether an address is on an enslaved uplink: it belongs to the bridge.
    pub(crate) fn is_at_uplink(&self, address: &Address) -> bool {
        let parents: Vec<String> = self.committer.read(|world| {
            world.networks().filter_map(|network| Some(network.uplink.as_ref()?.parent.clone())).collect()
        });
        let is_it = |parent: &String| {
            self.applier.links(|links| links.index(parent)).is_ok_and(|it| it == address.interface)
        };
        address.moves() && parents.iter().any(is_it)
    }
}

/// Whether the bridge gets the addresses again that the uplink had: after another boot they come from where they came
/// before, as from DHCP.
fn is_restored(taken: &Uplink) -> bool {
    !taken.addresses.is_empty() && route::boot_id().is_ok_and(|boot| boot == taken.boot)
}

/// Observes enslaved uplinks: those as planned, and those of unknown networks.
pub(crate) fn observe(observation: &mut Observation<'_>, links: &[Link], addresses: &[Address]) {
    let by_name = |name: &str| links.iter().find(|link| link.name == name);
    let of = |index: u32| addresses.iter().filter(move |it| it.interface == index && it.moves());
    let wanted: Vec<_> = observation
        .wanted
        .iter()
        .filter_map(|(key, object)| match (key, object) {
            (Key::Uplink(parent), Object::Uplink(port)) => Some((key.clone(), parent.clone(), port.clone())),
            _ => None,
        })
        .collect();
    for (key, parent, port) in wanted {
        let is_whole = match (by_name(&parent), by_name(&port.bridge)) {
            (Some(parent), Some(bridge)) => {
                let has_addresses = || of(bridge.index).next().is_some() || !is_restored(&port.taken);
                parent.master == Some(bridge.index) && of(parent.index).next().is_none() && has_addresses()
            }
            // A missing uplink is enslaved when it appears.
            (None, _) => true,
            (Some(_), None) => false,
        };
        if is_whole {
            observation.as_wanted(&key);
        }
    }
    for bridge in links {
        let Some(parent) = bridge.parent() else { continue };
        let Some(route::Mark::Network(network)) = bridge.mark() else { continue };
        let key = Key::Uplink(parent.to_owned());
        let wanted = matches!(observation.wanted.get(&key),
            Some(Object::Uplink(port)) if port.bridge == bridge.name && port.network == network);
        let is_port = |link: &&Link| link.master == Some(bridge.index) && link.mark().is_none();
        // The uplink may have another name by now; its MAC address is that of the bridge.
        let port = links.iter().filter(is_port).find(|it| it.name == parent || it.mac == bridge.mac);
        let holds = port.is_some() || of(bridge.index).next().is_some();
        if !wanted && holds {
            let name = port.map_or(parent, |port| port.name.as_str()).to_owned();
            let object = Object::Uplink(UplinkPort {
                bridge: bridge.name.clone(),
                network,
                taken: Uplink {
                    parent: name.clone(),
                    mac: bridge.mac.unwrap_or(fairway_model::MacAddress([0; 6])),
                    mtu: bridge.mtu,
                    addresses: Vec::new(),
                    routes: Vec::new(),
                    boot: String::new(),
                    unusable: None,
                },
            });
            observation.orphaned(Key::Uplink(name), object);
        }
    }
}
