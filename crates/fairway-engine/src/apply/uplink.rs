//! Interfaces of the host that networks take over, and give back.
//!
//! What is recorded in the World before it is taken is enough to take it again, and the mark on the bridge is enough to
//! give back what nobody wants any more: killed between any two steps, the next daemon does what is left.

use fairway_core::object::{Difference, Fragment, Key, Object, UplinkPort};
use fairway_core::world::{CreateNetwork, PARENT_OPTION};
use fairway_kernel::route::{self, Address, Link};

use crate::failpoint::failpoint;
use crate::reconcile::observe::Observation;
use crate::{ApplyError, Engine};

impl Engine {
    /// Adds to what is asked how the interface is that it names.
    pub(crate) fn with_parent(&self, mut request: CreateNetwork) -> Result<CreateNetwork, ApplyError> {
        let Some(parent) = request.options.get(PARENT_OPTION) else { return Ok(request) };
        match request.driver.as_str() {
            "lan" => request.uplink = self.links(|links| links.uplink(parent))?.map(Box::new),
            "macvlan" => request.parent = self.links(|links| links.macvlan_parent(parent))?,
            _ => {}
        }
        Ok(request)
    }

    /// Takes interfaces over. One that is not there now is taken over when it comes.
    pub(crate) fn apply_uplinks(&self, difference: &Difference) -> Result<(), ApplyError> {
        for (key, object) in difference.wanted() {
            if let (Key::Uplink(parent), Object::Uplink(port)) = (key, object) {
                match self.links(|links| links.find(parent))? {
                    Some(_) => self.enslave_uplink(parent, port)?,
                    None => tracing::warn!(interface = parent, "not there; it is taken over when it comes"),
                }
            }
        }
        Ok(())
    }

    fn enslave_uplink(&self, parent: &str, port: &UplinkPort) -> Result<(), ApplyError> {
        let bridge = port.bridge.as_str();
        self.links(|links| links.copy_addresses(parent, bridge))?;
        failpoint("uplink addresses");
        self.links(|links| links.enslave(parent, bridge))?;
        failpoint("uplink port");
        self.links(|links| links.move_routes(parent, bridge))?;
        failpoint("uplink routes");
        self.links(|links| links.remove_addresses(parent, bridge))?;
        if port.taken.boot == route::boot_id()? {
            self.links(|links| links.restore(bridge, &port.taken))?;
        }
        failpoint("uplink taken");
        Ok(())
    }

    /// Gives interfaces back, and returns the bridges that must stay since they could not.
    pub(crate) fn release_uplinks(&self, gone: &Fragment) -> Vec<String> {
        let mut kept = Vec::new();
        for (key, object) in gone {
            if let (Key::Uplink(parent), Object::Uplink(port)) = (key, object)
                && let Err(error) = self.release_uplink(parent, &port.bridge)
            {
                tracing::error!(%error, interface = parent, "cannot be given back; it is tried again");
                self.signals.request_retry();
                kept.push(port.bridge.clone());
            }
        }
        kept
    }

    pub(crate) fn release_uplink(&self, parent: &str, bridge: &str) -> Result<(), ApplyError> {
        let (found, holder) = self.links(|links| Ok((links.find(parent)?, links.find(bridge)?)))?;
        let (Some(found), Some(holder)) = (found, holder) else { return Ok(()) };
        if found.master.is_some_and(|master| master != holder.index) {
            // Somebody else's by now.
            return Ok(());
        }
        self.links(|links| links.copy_addresses(bridge, parent))?;
        failpoint("given addresses");
        self.links(|links| links.move_routes(bridge, parent))?;
        failpoint("given routes");
        self.links(|links| links.remove_addresses(bridge, parent))?;
        failpoint("given bare");
        self.links(|links| links.release(parent))?;
        failpoint("given port");
        // An interface that returned as a new one has another hardware address than the neighbours know.
        if let Some(mac) = found.mac.filter(|mac| Some(*mac) != holder.mac) {
            let addresses = self.links(|links| links.addresses(found.index))?;
            let own = addresses.iter().filter(|it| it.interface == found.index && it.moves());
            self.announcements.send(found.index, mac, own.map(|it| it.address.addr()).collect());
        }
        Ok(())
    }

    /// Whether something happened to an interface that is to be taken over: it is there again, or out of its bridge.
    pub(crate) fn is_uplink_loose(&self, link: &Link) -> bool {
        let bridge = self.read(|world| {
            let mut networks = world.networks();
            let holds = |it: &fairway_model::Uplink| it.parent == link.name;
            networks.find(|network| network.uplink.as_ref().is_some_and(holds)).map(|it| it.bridge.clone())
        });
        bridge.is_some_and(|bridge| {
            let index = self.links(|links| links.index(&bridge)).ok();
            link.master.is_none() || link.master != index
        })
    }

    /// Whether an address is that of an interface which a bridge has taken over: it belongs to the bridge.
    pub(crate) fn is_at_uplink(&self, address: &Address) -> bool {
        let parents: Vec<String> = self.read(|world| {
            world.networks().filter_map(|network| Some(network.uplink.as_ref()?.parent.clone())).collect()
        });
        let is_it =
            |parent: &String| self.links(|links| links.index(parent)).is_ok_and(|it| it == address.interface);
        address.moves() && parents.iter().any(is_it)
    }
}

/// Looks which interfaces are taken over: as wanted, and by bridges that nobody wants.
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
                let has_addresses = port.taken.addresses.is_empty() || of(bridge.index).next().is_some();
                parent.master == Some(bridge.index) && of(parent.index).next().is_none() && has_addresses
            }
            // There is nothing to do before it comes.
            (None, _) => true,
            (Some(_), None) => false,
        };
        if is_whole {
            observation.as_wanted(&key);
        }
    }
    for bridge in links {
        let Some(parent) = bridge.parent() else { continue };
        let Some(fairway_kernel::route::Mark::Network(network)) = bridge.mark() else { continue };
        let key = Key::Uplink(parent.to_owned());
        let wanted = matches!(observation.wanted.get(&key),
            Some(Object::Uplink(port)) if port.bridge == bridge.name && port.network == network);
        let is_port = |link: &&Link| link.master == Some(bridge.index) && link.mark().is_none();
        // It may have another name by now; its hardware address is the bridge's.
        let port = links.iter().filter(is_port).find(|it| it.name == parent || it.mac == bridge.mac);
        let holds = port.is_some() || of(bridge.index).next().is_some();
        if !wanted && holds {
            let name = port.map_or(parent, |port| port.name.as_str()).to_owned();
            let object = Object::Uplink(UplinkPort {
                bridge: bridge.name.clone(),
                network,
                taken: fairway_model::Uplink {
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
