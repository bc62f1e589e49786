//! Macvlan links: created from the host straight into a sandbox's namespace.

use fairway_core::object::MacvlanLink;
use fairway_model::{MacvlanMode, ParentFacts};
use rustix::io::Errno;

use super::message::{CREATE_NEW, get_link_by_index, ifinfo};
use super::netns_link::place_in_sandbox;
use super::{Error, Link, Links};
use crate::namespace::Handle;
use crate::netlink::Batch;

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
    /// Reads the facts about a macvlan parent; none if there is no link of that name.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn macvlan_parent(&self, name: &str) -> Result<Option<ParentFacts>, Error> {
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
        Ok(Some(ParentFacts { mac: link.mac, mtu: Some(link.mtu), loopback: link.loopback, master }))
    }

    /// Creates a macvlan in a sandbox with one message; [`Links::apply_netns_setup`] configures it there. An
    /// interface of that name that exists already is found there too. `namespace` is
    /// `macvlan.link.namespace`, open.
    ///
    /// # Errors
    /// [`Error::NoInterface`] without the parent, [`Error::Parent`] if it allows none in this mode,
    /// [`Error::Netlink`].
    pub fn create_macvlan(&self, macvlan: &MacvlanLink, namespace: &Handle) -> Result<(), Error> {
        let MacvlanLink { link, parent, mode } = macvlan;
        let below = self.index(parent)?;
        let mut batch = Batch::new();
        let label = format!("create the macvlan {} on {parent} in the sandbox", link.interface);
        let mut message = batch.message(libc::RTM_NEWLINK, CREATE_NEW, label);
        message.raw(&ifinfo(0, None)).u32(libc::IFLA_LINK, below);
        place_in_sandbox(&mut message, link, namespace);
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
}
