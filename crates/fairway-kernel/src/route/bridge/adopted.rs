//! Adopted bridges: created by the user, used as they are, and left as they were.

use fairway_core::object::BridgeLink;

use crate::netlink::Batch;
use crate::route::message::{add_address, delete_address, ifinfo};
use crate::route::minimum_mtu::check_ipv6_mtu;
use crate::route::{Error, Link, Links};
use crate::sysctl;

impl Links {
    /// Adopts a bridge of the user's: sets it up and adds missing addresses. All else stays.
    ///
    /// # Errors
    /// [`Error::NoBridge`] if there is none of that name, or it is Fairway's; [`Error::Netlink`], [`Error::Sysctl`].
    pub(super) fn adopt_bridge(&self, bridge: &BridgeLink) -> Result<Link, Error> {
        let link = self.user_bridge(&bridge.name)?;
        let localnet = if bridge.route_localnet { "1" } else { "0" };
        sysctl::write(&format!("net/ipv4/conf/{}/route_localnet", bridge.name), localnet)?;
        if self.ipv6 && bridge.ipv6 {
            check_ipv6_mtu(&link.name, link.mtu)?;
            sysctl::write(&format!("net/ipv6/conf/{}/disable_ipv6", bridge.name), "0")?;
        }
        let present = self.addresses(link.index)?;
        let mut batch = Batch::new();
        for wanted in &bridge.addresses {
            if !present.iter().any(|found| found.interface == link.index && found.address == *wanted) {
                add_address(&mut batch, link.index, &bridge.name, *wanted);
            }
        }
        batch
            .message(libc::RTM_NEWLINK, 0, format!("switch the bridge {} on", bridge.name))
            .raw(&ifinfo(link.index, Some(true)));
        self.socket.transact(&mut batch)?;
        Ok(link)
    }

    /// Removes from an adopted bridge what the network added. A missing bridge is no error.
    ///
    /// # Errors
    /// [`Error::Netlink`], [`Error::Sysctl`].
    pub fn release_bridge(&self, bridge: &BridgeLink) -> Result<(), Error> {
        let Ok(link) = self.user_bridge(&bridge.name) else { return Ok(()) };
        if bridge.route_localnet {
            sysctl::write(&format!("net/ipv4/conf/{}/route_localnet", bridge.name), "0")?;
        }
        let present = self.addresses(link.index)?;
        let mut batch = Batch::new();
        for given in &bridge.addresses {
            if present.iter().any(|found| found.interface == link.index && found.address == *given) {
                delete_address(&mut batch, link.index, &bridge.name, *given);
            }
        }
        self.socket.transact(&mut batch)?;
        Ok(())
    }

    /// Finds a bridge of that name that is not Fairway's.
    ///
    /// # Errors
    /// [`Error::NoBridge`], [`Error::Netlink`].
    pub fn user_bridge(&self, name: &str) -> Result<Link, Error> {
        let link = self.find(name)?.filter(|link| link.kind.as_deref() == Some("bridge"));
        link.filter(|link| link.mark().is_none()).ok_or_else(|| Error::NoBridge(name.to_owned()))
    }
}
