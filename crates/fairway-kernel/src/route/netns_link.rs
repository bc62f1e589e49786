//! Links that have no end on the host: macvlans, and both ends of the veth pairs of point-to-point networks.
//!
//! The host creates each straight in the sandbox's namespace, without addresses and down. It has the group
//! [`INCOMPLETE_GROUP`] until it is configured there and gets its mark.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::LazyLock;

use fairway_core::object::NetnsLink;
use fairway_model::IPV6_MIN_MTU;
use ipnet::IpNet;
use rustix::io::Errno;

use super::message::ifinfo;
use super::minimum_mtu::check_ipv6_mtu;
use super::ownership::INCOMPLETE_GROUP;
use super::{Error, Links, Mark};
use crate::namespace::Handle;
use crate::netlink::{Batch, MessageBuilder};
use crate::sysctl::Tree;

/// The sysctl tree shared by all sandboxes, so that the cost of one does not grow with their number.
pub(super) static SYSCTLS: LazyLock<Tree> = LazyLock::new(Tree::default);

impl Links {
    /// Deletes an interface of a sandbox by its mark, whatever its name, and an incomplete one of its name. The
    /// socket belongs to the sandbox's namespace.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn delete_netns_link(&self, link: &NetnsLink) -> Result<(), Error> {
        let mark = Mark::Endpoint(link.endpoint);
        for found in self.all()? {
            let newborn = found.name == link.interface && found.is_incomplete();
            if found.mark() == Some(mark) || newborn {
                self.delete(found.index, &found.name)?;
            }
        }
        Ok(())
    }

    /// Adds to `batch` the changes that configure an existing interface as planned.
    pub(super) fn configure_netns_link(&self, batch: &mut Batch, link: &NetnsLink) -> Result<(), Error> {
        let name = &link.interface;
        let mark = Mark::Endpoint(link.endpoint);
        let found =
            self.find(name)?.ok_or_else(|| Error::NoInterface { name: name.clone(), errno: Errno::NODEV })?;
        if found.mark() != Some(mark) && !found.is_incomplete() {
            return Err(Error::InterfaceTaken { name: name.clone(), namespace: link.namespace.path.clone() });
        }
        let mtu = link.mtu.unwrap_or(found.mtu);
        self.bring_ipv6_back(&found, mtu)?;
        self.switch_ipv6(name, mtu, &link.addresses)?;
        // Neighbors with a stale MAC for one of the addresses learn the new one when the interface is set up.
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

    /// Enables IPv6 of an interface that is to have this MTU if it has IPv6 addresses, and else disables it.
    pub(super) fn switch_ipv6(&self, name: &str, mtu: u32, addresses: &[IpNet]) -> Result<(), Error> {
        if !self.ipv6 {
            return Ok(());
        }
        let has_ipv6 = addresses.iter().any(|address| address.addr().is_ipv6());
        if mtu < IPV6_MIN_MTU {
            // The kernel has removed IPv6 from the interface, and its sysctls.
            return if has_ipv6 { check_ipv6_mtu(name, mtu) } else { Ok(()) };
        }
        let disable = format!("net/ipv6/conf/{name}/disable_ipv6");
        if has_ipv6 {
            // The gateway is set statically; router advertisements must not change it.
            SYSCTLS.set(&format!("net/ipv6/conf/{name}/accept_ra"), "0")?;
            // No DAD for the link-local address, which follows from the MAC: neighbors are solicited with it where an
            // answer leaves by another interface than that of its source address, and DAD would delay that by a
            // second.
            SYSCTLS.set(&format!("net/ipv6/conf/{name}/accept_dad"), "0")?;
            SYSCTLS.write(&disable, "0")?;
        } else {
            SYSCTLS.set(&disable, "1")?;
        }
        Ok(())
    }
}

/// Adds the attributes that create a link in a sandbox's namespace.
pub(super) fn place_in_sandbox(message: &mut MessageBuilder<'_>, link: &NetnsLink, namespace: &Handle) {
    // The kernel gets the descriptor's number only; it stays open until the answer.
    let descriptor = namespace.as_fd().as_raw_fd().cast_unsigned();
    message
        .text(libc::IFLA_IFNAME, &link.interface)
        .u32(libc::IFLA_NET_NS_FD, descriptor)
        .u32(libc::IFLA_GROUP, INCOMPLETE_GROUP);
    if let Some(mac) = link.mac {
        message.attribute(libc::IFLA_ADDRESS, &mac.0);
    }
    if let Some(mtu) = link.mtu {
        message.u32(libc::IFLA_MTU, mtu);
    }
}

#[cfg(test)]
mod tests;
