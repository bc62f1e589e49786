//! Veth pairs of point-to-point networks: each end is in a sandbox, none on the host.

use fairway_core::object::NetnsLink;
use fairway_model::NetworkId;
use rustix::io::Errno;

use super::message::{CREATE_NEW, VETH_INFO_PEER, ifinfo};
use super::netns_link::place_in_sandbox;
use super::ownership::INCOMPLETE_GROUP;
use super::{Error, Links, Mark};
use crate::namespace::Handle;
use crate::netlink::Batch;

impl Links {
    /// Creates a veth pair with an end in each of two sandboxes, or in one: then the other end, with the name
    /// `waiting` and the mark of the network, stays on the host, down, until the second sandbox comes.
    ///
    /// # Errors
    /// [`Error::InterfaceTaken`] if a sandbox has an interface of that name, or the host has
    /// `waiting`; [`Error::Netlink`].
    pub fn create_ptp_pair(
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
            Some((other, namespace)) => place_in_sandbox(&mut message, other, namespace),
            None => {
                message.text(libc::IFLA_IFNAME, waiting).u32(libc::IFLA_GROUP, INCOMPLETE_GROUP);
            }
        }
        message.nest(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_KIND, "veth").nest(libc::IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    peer.raw(&ifinfo(0, None));
                    place_in_sandbox(peer, end, namespace);
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
            self.or_undo(waiting, self.mark_pending_end(waiting, Mark::Network(network)))?;
        }
        Ok(())
    }

    fn mark_pending_end(&self, waiting: &str, mark: Mark) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch
            .message(libc::RTM_SETLINK, 0, format!("mark {waiting}"))
            .raw(&ifinfo(self.index(waiting)?, None))
            .text(libc::IFLA_IFALIAS, &mark.to_string())
            .u32(libc::IFLA_GROUP, 0);
        self.socket.transact(&mut batch)?;
        Ok(())
    }

    /// Deletes the host's end of a pair if it has the mark or is incomplete.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn delete_pending_end(&self, waiting: &str, mark: Mark) -> Result<(), Error> {
        match self.find(waiting)? {
            Some(link) if link.mark() == Some(mark) || link.is_incomplete() => {
                self.delete(link.index, waiting)
            }
            _ => Ok(()),
        }
    }
}
