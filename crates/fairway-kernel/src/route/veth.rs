//! Veth pairs: one end is a port of a bridge, the other is in a sandbox.

use std::os::fd::{AsFd, AsRawFd};

use fairway_core::object::VethLink;
use fairway_model::IPV6_MIN_MTU;
use rustix::io::Errno;

use super::message::{
    CREATE_NEW, IFLA_BRPORT_MODE, VETH_INFO_PEER, add_alternative_name, add_fdb_entry, get_link,
    get_link_by_index, ifinfo, no_link_local, replace_neighbor,
};
use super::ownership::{INCOMPLETE_GROUP, check_owner};
use super::{Error, Link, Links, Mark};
use crate::namespace::Handle;
use crate::netlink::{self, Batch};

/// An existing veth pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethPair {
    /// The index of the host's end.
    pub host: u32,
    /// The index of the sandbox's end, there.
    pub inside: u32,
    /// Whether it was created now; if not, the sandbox's end may differ from the Plan.
    pub fresh: bool,
}

impl Links {
    /// Creates a veth pair: pair, bridge port and the sandbox's end in one message, then mark, hairpin and up on the
    /// host's end. The sandbox's end stays down and without addresses until [`Links::apply_netns_setup`].
    ///
    /// `namespace` is `veth.namespace`, open; none for an end that is handed over, which is made on the host and may have
    /// left since.
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::InterfaceTaken`], [`Error::NoInterface`] without the bridge,
    /// [`Error::BridgeFull`], [`Error::Netlink`].
    pub fn apply_veth(&self, veth: &VethLink, namespace: Option<&Handle>) -> Result<VethPair, Error> {
        let name = &veth.host_interface;
        let mark = Mark::Endpoint(veth.endpoint);
        let bridge = self.index(&veth.bridge)?;

        let mut batch = Batch::new();
        create_pair(&mut batch, veth, bridge, namespace);
        get_link(&mut batch, name);
        let outcome = self.socket.transact_each(&mut batch)?;
        let found = outcome.replies.iter().find_map(Link::parse);
        let fresh = outcome.refusals.is_empty();
        if let Some(refusal) = outcome.refusals.into_iter().find(|refusal| refusal.index == 0) {
            if refusal.errno != Errno::EXIST {
                // The kernel enslaves last: if that fails, the pair remains and is deleted here.
                self.delete_unmarked(found.as_ref())?;
                return Err(match refusal.errno {
                    Errno::XFULL => Error::BridgeFull { bridge: veth.bridge.clone() },
                    _ => netlink::Error::Refused(refusal).into(),
                });
            }
            if found.is_none() {
                return Err(Error::InterfaceTaken {
                    name: veth.interface.clone(),
                    namespace: veth.namespace.as_ref().map_or("the host".to_owned(), |it| it.path.clone()),
                });
            }
        }
        let link = found.ok_or_else(|| Error::Undescribed(name.clone()))?;
        check_owner(&link, "veth", mark)?;
        let inside = link.peer.ok_or_else(|| Error::Undescribed(name.clone()))?;

        let mut batch = Batch::new();
        if link.master != Some(bridge) {
            batch
                .message(libc::RTM_NEWLINK, 0, format!("make {name} a port of {}", veth.bridge))
                .raw(&ifinfo(link.index, None))
                .u32(libc::IFLA_MASTER, bridge);
        }
        self.finish_host_end(&mut batch, veth, &link, mark);
        if let Some(name) =
            veth.alternative_name.as_ref().filter(|name| !link.alternative_names.contains(name))
        {
            add_alternative_name(&mut batch, link.index, &link.name, name);
        }
        match self.socket.transact(&mut batch) {
            Ok(_) => Ok(VethPair { host: link.index, inside, fresh }),
            Err(error) => {
                if fresh {
                    self.delete_unmarked(Some(&link))?;
                }
                Err(match (error.errno(), &veth.alternative_name) {
                    (Some(Errno::EXIST), Some(name)) => Error::NameTaken { name: name.clone() },
                    _ => error.into(),
                })
            }
        }
    }

    /// Makes a bridge port forward frames at once, and corrects stale FDB and neighbor entries of the host.
    ///
    /// The kernel reports a port's carrier to the bridge by a work queue (linkwatch), and drops the port's frames
    /// until then: a lost ARP request costs a second. A link request makes it do so at once (since 6.8). FDB entries
    /// of the MAC at a former port, and neighbor entries of the addresses with a former MAC, are corrected.
    ///
    /// # Errors
    /// [`Error::NoInterface`] without the bridge, [`Error::Netlink`].
    pub fn activate_port(&self, veth: &VethLink, pair: &VethPair) -> Result<(), Error> {
        let bridge = self.index(&veth.bridge)?;
        let mut batch = Batch::new();
        get_link_by_index(&mut batch, pair.host);
        // With its first port the bridge itself gets carrier.
        get_link_by_index(&mut batch, bridge);
        add_fdb_entry(&mut batch, pair.host, veth.mac);
        for address in &veth.addresses {
            replace_neighbor(&mut batch, bridge, address.addr(), veth.mac);
        }
        let mut outcome = self.socket.transact_each(&mut batch)?;
        // No such neighbor, or a port that does not learn yet: nothing to correct.
        outcome.refusals.retain(|refusal| {
            refusal.index < 2 || !matches!(refusal.errno, Errno::NOENT | Errno::PERM | Errno::AFNOSUPPORT)
        });
        match outcome.refusals.into_iter().next() {
            Some(refusal) => Err(netlink::Error::Refused(refusal).into()),
            None => Ok(()),
        }
    }

    /// Sets the hairpin mode of a bridge port.
    ///
    /// # Errors
    /// [`Error::Netlink`]; `ENODEV` when it is gone.
    pub fn set_hairpin(&self, index: u32, interface: &str, hairpin: bool) -> Result<(), Error> {
        let mut batch = Batch::new();
        let mut message = batch.message(libc::RTM_NEWLINK, 0, format!("set the hairpin mode of {interface}"));
        message.raw(&ifinfo(index, None));
        port_mode(&mut message, hairpin);
        drop(message);
        self.socket.transact(&mut batch)?;
        Ok(())
    }

    fn finish_host_end(&self, batch: &mut Batch, veth: &VethLink, link: &Link, mark: Mark) {
        // With the MTU the kernel brings IPv6 back, and an interface that is up has a link-local address at once.
        if link.mtu < IPV6_MIN_MTU && veth.mtu >= IPV6_MIN_MTU {
            batch
                .message(libc::RTM_NEWLINK, 0, format!("set the MTU of {}", link.name))
                .raw(&ifinfo(link.index, Some(false)))
                .u32(libc::IFLA_MTU, veth.mtu);
        }
        let label = format!("set up the bridge port {}", veth.host_interface);
        let mut message = batch.message(libc::RTM_NEWLINK, 0, label);
        message
            .raw(&ifinfo(link.index, Some(true)))
            .text(libc::IFLA_IFALIAS, &mark.to_string())
            .u32(libc::IFLA_MTU, veth.mtu)
            .u32(libc::IFLA_GROUP, 0);
        port_mode(&mut message, veth.hairpin);
        if self.ipv6 && veth.mtu >= IPV6_MIN_MTU {
            no_link_local(&mut message);
        }
    }

    fn delete_unmarked(&self, link: Option<&Link>) -> Result<(), Error> {
        let Some(link) = link.filter(|link| link.group == INCOMPLETE_GROUP) else { return Ok(()) };
        let mut batch = Batch::new();
        batch
            .message(libc::RTM_DELLINK, 0, format!("delete the interface {}", link.name))
            .raw(&ifinfo(link.index, None));
        super::unless_gone(self.socket.transact_each(&mut batch)?).map(drop)
    }
}

fn create_pair(batch: &mut Batch, veth: &VethLink, bridge: u32, namespace: Option<&Handle>) {
    // The kernel gets the descriptor's number only; it stays open until the answer.
    let descriptor = namespace.map(|namespace| namespace.as_fd().as_raw_fd().cast_unsigned());
    batch
        .message(
            libc::RTM_NEWLINK,
            CREATE_NEW,
            format!("create {} with {} in the sandbox", veth.host_interface, veth.interface),
        )
        .raw(&ifinfo(0, None))
        .text(libc::IFLA_IFNAME, &veth.host_interface)
        .u32(libc::IFLA_MTU, veth.mtu)
        .u32(libc::IFLA_MASTER, bridge)
        .u32(libc::IFLA_GROUP, INCOMPLETE_GROUP)
        .nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "veth").nest(libc::IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    peer.raw(&ifinfo(0, None))
                        .text(libc::IFLA_IFNAME, &veth.interface)
                        .attribute(libc::IFLA_ADDRESS, &veth.mac.0)
                        .u32(libc::IFLA_MTU, veth.mtu);
                    if let Some(descriptor) = descriptor {
                        peer.u32(libc::IFLA_NET_NS_FD, descriptor);
                    }
                });
            });
        });
}

fn port_mode(message: &mut crate::netlink::MessageBuilder<'_>, hairpin: bool) {
    message.nest(libc::IFLA_LINKINFO, |info| {
        info.text(libc::IFLA_INFO_SLAVE_KIND, "bridge").nest(libc::IFLA_INFO_SLAVE_DATA, |data| {
            data.u8(IFLA_BRPORT_MODE, u8::from(hairpin));
        });
    });
}
