//! Bridges: creating, configuring and checking them.

mod adopted;

use fairway_core::object::BridgeLink;
use fairway_model::IPV6_MIN_MTU;
use ipnet::IpNet;
use rustix::io::Errno;

use super::message::{CREATE_NEW, add_address, delete_address, get_link, ifinfo};
use super::minimum_mtu::check_ipv6_mtu;
use super::ownership::{INCOMPLETE_GROUP, check_owner, foreign};
use super::{Error, Link, Links, Mark};
use crate::netlink::{self, Batch};
use crate::sysctl;

impl Links {
    /// Creates a bridge as planned, or corrects Fairway's bridge of that name, and returns it. It is up at the end;
    /// before that, IPv6 is set as planned and router advertisements are ignored. Its addresses are usable at once.
    ///
    /// # Errors
    /// [`Error::Foreign`] if the name belongs to a link that is not Fairway's; [`Error::Netlink`], [`Error::Sysctl`].
    pub fn apply_bridge(&self, bridge: &BridgeLink) -> Result<Link, Error> {
        if bridge.adopted {
            return self.adopt_bridge(bridge);
        }
        self.or_undo(&bridge.name, self.make_bridge(bridge))
    }

    fn make_bridge(&self, bridge: &BridgeLink) -> Result<Link, Error> {
        let name = &bridge.name;
        let mark = Mark::Network(bridge.network);
        let link = self.create_or_find(name, "bridge", |batch| {
            batch
                .message(libc::RTM_NEWLINK, CREATE_NEW, format!("create the bridge {name}"))
                .raw(&ifinfo(0, None))
                .text(libc::IFLA_IFNAME, name)
                .attribute(libc::IFLA_ADDRESS, &bridge.mac.0)
                .u32(libc::IFLA_GROUP, INCOMPLETE_GROUP)
                .nest(libc::IFLA_LINKINFO, |info| {
                    info.text(libc::IFLA_INFO_KIND, "bridge");
                });
        })?;
        check_owner(&link, "bridge", mark)?;
        let mut batch = Batch::new();
        // The MTU only now: an MTU given at creation follows the ports, and is 1500 again when the last one leaves
        // (br_mtu_auto_adjust).
        batch
            .message(libc::RTM_NEWLINK, 0, format!("set up the bridge {name}"))
            .raw(&ifinfo(link.index, None))
            .attribute(libc::IFLA_ADDRESS, &bridge.mac.0)
            .u32(libc::IFLA_MTU, bridge.mtu)
            .u32(libc::IFLA_GROUP, 0)
            .text(libc::IFLA_IFALIAS, &alias(mark, bridge));
        self.socket.transact(&mut batch)?;

        if let Some(parent) = &bridge.parent {
            super::uplink::copy_settings(parent, name)?;
            return self.switch_on(Batch::new(), &link);
        }

        sysctl::write(
            &format!("net/ipv4/conf/{name}/route_localnet"),
            if bridge.route_localnet { "1" } else { "0" },
        )?;
        if self.ipv6 && (bridge.ipv6 || bridge.mtu >= IPV6_MIN_MTU) {
            check_ipv6_mtu(name, bridge.mtu)?;
            sysctl::write(&format!("net/ipv6/conf/{name}/accept_ra"), "0")?;
            // No DAD for the link-local address, which follows from the MAC address: while it is tentative, for a
            // second, neighbors cannot be solicited and forwarded packets are lost.
            sysctl::write(&format!("net/ipv6/conf/{name}/accept_dad"), "0")?;
            let disabled = if bridge.ipv6 { "0" } else { "1" };
            sysctl::write(&format!("net/ipv6/conf/{name}/disable_ipv6"), disabled)?;
        }

        let mut batch = Batch::new();
        self.correct_addresses(&mut batch, link.index, name, &bridge.addresses)?;
        self.switch_on(batch, &link)
    }

    /// Sends the batch and sets a bridge up.
    fn switch_on(&self, mut batch: Batch, link: &Link) -> Result<Link, Error> {
        let name = &link.name;
        batch
            .message(libc::RTM_NEWLINK, 0, format!("switch the bridge {name} on"))
            .raw(&ifinfo(link.index, Some(true)));
        get_link(&mut batch, name);
        let replies = self.socket.transact(&mut batch)?;
        replies.iter().find_map(Link::parse).ok_or_else(|| Error::Undescribed(name.clone()))
    }

    /// Checks that no foreign link has a name. A link of Fairway's that has the name may be about to be deleted.
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::Netlink`].
    pub fn check_name(&self, name: &str) -> Result<(), Error> {
        match self.find(name)? {
            Some(link) if link.mark().is_none() && !link.is_incomplete() => Err(foreign(&link)),
            _ => Ok(()),
        }
    }

    /// Creates a link, or finds the one of that name.
    pub(super) fn create_or_find(
        &self,
        name: &str,
        kind: &str,
        create: impl FnOnce(&mut Batch),
    ) -> Result<Link, Error> {
        let mut batch = Batch::new();
        create(&mut batch);
        get_link(&mut batch, name);
        let outcome = self.socket.transact_each(&mut batch)?;
        let found = outcome.replies.iter().find_map(Link::parse);
        match (outcome.refusals.into_iter().next(), found) {
            (None, Some(link)) => Ok(link),
            (None, None) => Err(Error::Undescribed(name.to_owned())),
            (Some(refusal), Some(link)) if refusal.index == 0 && refusal.errno == Errno::EXIST => {
                tracing::debug!(name, kind, "link exists already");
                Ok(link)
            }
            (Some(refusal), _) => Err(netlink::Error::Refused(refusal).into()),
        }
    }

    /// Adds to `batch` the changes that make the addresses of an interface exactly `wanted`. The kernel's link-local
    /// addresses are left alone.
    pub(super) fn correct_addresses(
        &self,
        batch: &mut Batch,
        index: u32,
        interface: &str,
        wanted: &[IpNet],
    ) -> Result<(), Error> {
        let present = self.addresses(index)?;
        for extra in present.iter().filter(|found| {
            found.interface == index
                && found.scope == libc::RT_SCOPE_UNIVERSE
                && !wanted.contains(&found.address)
        }) {
            delete_address(batch, index, interface, extra.address);
        }
        for missing in wanted.iter().filter(|address| {
            !present.iter().any(|found| found.interface == index && found.address == **address)
        }) {
            add_address(batch, index, interface, *missing);
        }
        Ok(())
    }
}

/// The alias of a bridge: the mark, and the interface that it enslaves, so that the interface can be restored.
fn alias(mark: Mark, bridge: &BridgeLink) -> String {
    match &bridge.parent {
        Some(parent) => format!("{mark}:{parent}"),
        None => mark.to_string(),
    }
}
