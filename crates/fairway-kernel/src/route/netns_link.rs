//! Interfaces of sandboxes without an end on the host: macvlans, and pairs of two sandboxes.
//!
//! They are made from the host, straight into the namespaces, bare and switched off, and bear the
//! group of the newly born there until they are filled inside and get their mark.

use std::os::fd::{AsFd, AsRawFd};

use fairway_core::object::{MacvlanLink, NetnsLink};
use fairway_model::{MacvlanMode, NetworkId, ParentFacts};
use rustix::io::Errno;

use super::inside::SYSCTLS;
use super::message::{CREATE_NEW, VETH_INFO_PEER, get_link_by_index, ifinfo};
use super::veth::BIRTH_GROUP;
use super::{Error, Link, Links, Mark};
use crate::namespace::Handle;
use crate::netlink::{Batch, MessageBuilder};

/// `IFLA_MACVLAN_MODE` of `<linux/if_link.h>`.
const IFLA_MACVLAN_MODE: u16 = 1;

/// The number of a mode: `enum macvlan_mode` of `<linux/if_link.h>`.
const fn number(mode: MacvlanMode) -> u32 {
    match mode {
        MacvlanMode::Private => 1,
        MacvlanMode::Vepa => 2,
        MacvlanMode::Bridge => 4,
        MacvlanMode::Passthru => 8,
    }
}

impl Links {
    /// What a link is to macvlans; none if there is no link of that name.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn as_parent(&self, name: &str) -> Result<Option<ParentFacts>, Error> {
        let Some(link) = self.find(name)? else { return Ok(None) };
        let master = match link.master {
            Some(index) => {
                let mut batch = Batch::new();
                get_link_by_index(&mut batch, index);
                let replies = super::unless_gone(self.socket.transact_each(&mut batch)?)?;
                replies.iter().find_map(Link::parse).map(|master| master.name)
            }
            None => None,
        };
        Ok(Some(ParentFacts { mac: link.mac, loopback: link.loopback, master }))
    }

    /// Makes a macvlan in a sandbox with one message; [`Links::apply_inside`] does the rest, there.
    /// One of that name may be there already, which is found out there. `namespace` is
    /// `macvlan.link.namespace`, open.
    ///
    /// # Errors
    /// [`Error::NoInterface`] without the parent, [`Error::Parent`] if it carries none in this
    /// mode, [`Error::Netlink`].
    pub fn create_macvlan(&self, macvlan: &MacvlanLink, namespace: &Handle) -> Result<(), Error> {
        let MacvlanLink { link, parent, mode } = macvlan;
        let below = self.index(parent)?;
        let mut batch = Batch::new();
        let label = format!("create the macvlan {} on {parent} in the sandbox", link.interface);
        let mut message = batch.message(libc::RTM_NEWLINK, CREATE_NEW, label);
        message.raw(&ifinfo(0, None)).u32(libc::IFLA_LINK, below);
        describe(&mut message, link, namespace);
        message.nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "macvlan").nest(libc::IFLA_INFO_DATA, |data| {
                data.u32(IFLA_MACVLAN_MODE, number(*mode));
            });
        });
        drop(message);
        match self.socket.transact(&mut batch) {
            Ok(_) => Ok(()),
            Err(error) => match error.errno() {
                Some(Errno::EXIST) => Ok(()),
                Some(errno @ (Errno::BUSY | Errno::INVAL)) => {
                    Err(Error::Parent { parent: parent.clone(), mode: *mode, errno })
                }
                _ => Err(error.into()),
            },
        }
    }

    /// Makes a pair with an end in each of two sandboxes, or in one: then the other end, of the
    /// name `waiting` and with the mark of the network, stays here, switched off.
    ///
    /// # Errors
    /// [`Error::InterfaceTaken`] if a sandbox has an interface of that name, or the host has
    /// `waiting`; [`Error::Netlink`].
    pub fn create_pair(
        &self,
        network: NetworkId,
        waiting: &str,
        ends: (&NetnsLink, &Handle),
        other: Option<(&NetnsLink, &Handle)>,
    ) -> Result<(), Error> {
        let (end, namespace) = ends;
        let mut batch = Batch::new();
        let label = format!("create the pair of network {}", network.short());
        let mut message = batch.message(libc::RTM_NEWLINK, CREATE_NEW, label);
        message.raw(&ifinfo(0, None));
        match other {
            Some((other, namespace)) => describe(&mut message, other, namespace),
            None => {
                message.text(libc::IFLA_IFNAME, waiting).u32(libc::IFLA_GROUP, BIRTH_GROUP);
            }
        }
        message.nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "veth").nest(libc::IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    peer.raw(&ifinfo(0, None));
                    describe(peer, end, namespace);
                });
            });
        });
        drop(message);
        match self.socket.transact(&mut batch) {
            Err(error) if error.errno() == Some(Errno::EXIST) => {
                return Err(Error::InterfaceTaken {
                    name: end.interface.clone(),
                    namespace: end.namespace.path.clone(),
                });
            }
            outcome => outcome?,
        };
        if other.is_none() {
            let mut batch = Batch::new();
            batch
                .message(libc::RTM_SETLINK, 0, format!("mark {waiting}"))
                .raw(&ifinfo(self.index(waiting)?, None))
                .text(libc::IFLA_IFALIAS, &Mark::Network(network).to_string())
                .u32(libc::IFLA_GROUP, 0);
            self.socket.transact(&mut batch)?;
        }
        Ok(())
    }

    /// Deletes the link of that name if it bears the mark or is being born.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn delete_waiting(&self, waiting: &str, mark: Mark) -> Result<(), Error> {
        match self.find(waiting)? {
            Some(link) if link.mark() == Some(mark) || is_newborn(&link) => self.delete(link.index, waiting),
            _ => Ok(()),
        }
    }

    /// Deletes an interface of a sandbox, by its mark whatever its name; and one of its name that
    /// is being born. The socket is one of the sandbox's namespace.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn delete_netns_link(&self, link: &NetnsLink) -> Result<(), Error> {
        let mark = Mark::Endpoint(link.endpoint);
        for found in self.all()? {
            let newborn = found.name == link.interface && is_newborn(&found);
            if found.mark() == Some(mark) || newborn {
                self.delete(found.index, &found.name)?;
            }
        }
        Ok(())
    }

    /// Adds to `batch` what makes an interface that is here as planned.
    pub(super) fn fill_netns_link(&self, batch: &mut Batch, link: &NetnsLink) -> Result<(), Error> {
        let name = &link.interface;
        let mark = Mark::Endpoint(link.endpoint);
        let found =
            self.find(name)?.ok_or_else(|| Error::NoInterface { name: name.clone(), errno: Errno::NODEV })?;
        if found.mark() != Some(mark) && !is_newborn(&found) {
            return Err(Error::InterfaceTaken { name: name.clone(), namespace: link.namespace.path.clone() });
        }
        self.switch_ipv6(name, &link.addresses)?;
        // Neighbours that knew another hardware address for one of these learn the new one when it
        // is switched on.
        SYSCTLS.set(&format!("net/ipv4/conf/{name}/arp_notify"), "1")?;
        if link.addresses.iter().any(|address| address.addr().is_ipv6()) {
            SYSCTLS.set(&format!("net/ipv6/conf/{name}/ndisc_notify"), "1")?;
        }
        self.correct_addresses(batch, found.index, name, &link.addresses)?;
        let mut message = batch.message(libc::RTM_NEWLINK, 0, format!("set {name} up"));
        message
            .raw(&ifinfo(found.index, Some(true)))
            .text(libc::IFLA_IFALIAS, &mark.to_string())
            .u32(libc::IFLA_GROUP, 0);
        if let Some(mac) = link.mac.filter(|mac| found.mac != Some(*mac)) {
            message.attribute(libc::IFLA_ADDRESS, &mac.0);
        }
        if let Some(mtu) = link.mtu {
            message.u32(libc::IFLA_MTU, mtu);
        }
        Ok(())
    }
}

/// Whether a link was made by us and has not got its mark yet.
fn is_newborn(link: &Link) -> bool {
    link.alias.is_none() && link.group == BIRTH_GROUP
}

/// What a new interface is told: where it belongs, and how it is called there.
fn describe(message: &mut MessageBuilder<'_>, link: &NetnsLink, namespace: &Handle) {
    // The descriptor's number is all that the kernel is told; it is open until the answer.
    let descriptor = namespace.as_fd().as_raw_fd().cast_unsigned();
    message
        .text(libc::IFLA_IFNAME, &link.interface)
        .u32(libc::IFLA_NET_NS_FD, descriptor)
        .u32(libc::IFLA_GROUP, BIRTH_GROUP);
    if let Some(mac) = link.mac {
        message.attribute(libc::IFLA_ADDRESS, &mac.0);
    }
    if let Some(mtu) = link.mtu {
        message.u32(libc::IFLA_MTU, mtu);
    }
}

#[cfg(test)]
mod tests;
