//! Enslaves uplinks of the host to the bridges of `lan` networks, and releases them.
//!
//! The World records an uplink before it is enslaved, which is enough to enslave it again; the mark on the bridge is
//! enough to release an uplink that no network wants. After a crash between any two steps, the next daemon does the
//! rest.

use std::collections::HashMap;

use fairway_core::object::{Key, Object, UplinkPort};
use fairway_kernel::route;

use super::Applier;
use super::progress::Progress;
use crate::error::{ApplyError, Subject};
use crate::failpoint::failpoint;

impl Applier {
    /// Enslaves an uplink to its bridge. A missing uplink is enslaved when it appears.
    pub(crate) fn apply_uplink(&self, key: &Key, object: &Object) -> Result<(), ApplyError> {
        let (Key::Uplink(parent), Object::Uplink(port)) = (key, object) else { return Ok(()) };
        if self.links(|links| links.find(parent))?.is_some() {
            return self.enslave_uplink(parent, port);
        }
        tracing::warn!(
            interface = parent,
            bridge = port.bridge,
            "cannot enslave uplink {parent} to bridge {}: no such device; waiting for it to appear",
            port.bridge
        );
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
        failpoint("uplink enslaved");
        Ok(())
    }

    /// Releases the uplinks that are gone. Returns the bridges that must stay, because an uplink of theirs could not be
    /// released, with that uplink.
    pub(crate) fn release_uplinks(&self, progress: &mut Progress<'_>) -> HashMap<String, Key> {
        let mut kept = HashMap::new();
        for (key, object) in &progress.difference().removed {
            if let (Key::Uplink(parent), Object::Uplink(port)) = (key, object)
                && let Err(error) = self.release_uplink(parent, &port.bridge)
            {
                progress.fail(Subject::Object(key.clone()), error);
                kept.insert(port.bridge.clone(), key.clone());
            }
        }
        kept
    }

    pub(crate) fn release_uplink(&self, parent: &str, bridge: &str) -> Result<(), ApplyError> {
        let (found, holder) = self.links(|links| Ok((links.find(parent)?, links.find(bridge)?)))?;
        let (Some(found), Some(holder)) = (found, holder) else { return Ok(()) };
        if found.master.is_some_and(|master| master != holder.index) {
            // Another program enslaved it to its own bridge.
            return Ok(());
        }
        self.links(|links| links.copy_addresses(bridge, parent))?;
        failpoint("uplink released: addresses");
        self.links(|links| links.move_routes(bridge, parent))?;
        failpoint("uplink released: routes");
        self.links(|links| links.remove_addresses(bridge, parent))?;
        failpoint("uplink released: bridge bare");
        self.links(|links| links.release(parent))?;
        failpoint("uplink released: port");
        // An interface that was unplugged and plugged in again may have another MAC address than the neighbors know.
        if let Some(mac) = found.mac.filter(|mac| Some(*mac) != holder.mac) {
            let addresses = self.links(|links| links.addresses(found.index))?;
            let own = addresses.iter().filter(|it| it.interface == found.index && it.moves());
            self.announcements.send(found.index, mac, own.map(|it| it.address.addr()).collect());
        }
        Ok(())
    }
}
