//! Dummy links used as macvlan parents when the user names none.

use fairway_core::object::DummyParent;
use rustix::io::Errno;

use super::message::{CREATE_NEW, ifinfo};
use super::ownership::{INCOMPLETE_GROUP, check_owner};
use super::{Error, Link, Links, Mark};
use crate::netlink::{self, Batch};

/// Kinds of links that drop all frames and always have a carrier; the second for kernels without the first. (A bridge
/// without ports loses its carrier as soon as its address is set, and so do the macvlans on it.)
const KINDS: [&str; 2] = ["dummy", "ifb"];

impl Links {
    /// Creates a dummy parent as planned, or corrects Fairway's of that name. It is up at the end.
    ///
    /// # Errors
    /// [`Error::NoDummyParent`] if the kernel has no kind of them; [`Error::Foreign`] if the name belongs to a link
    /// that is not Fairway's; [`Error::Netlink`].
    pub fn apply_dummy_parent(&self, link: &DummyParent) -> Result<(), Error> {
        self.or_undo(&link.name, self.make_dummy_parent(link))
    }

    fn make_dummy_parent(&self, link: &DummyParent) -> Result<(), Error> {
        let found = self.create_dummy_parent(link)?;
        let mark = Mark::Network(link.network);
        let kind = found.kind.as_deref().filter(|kind| KINDS.contains(kind)).unwrap_or(KINDS[0]);
        check_owner(&found, kind, mark)?;
        let mut batch = Batch::new();
        let mut message = batch.message(libc::RTM_NEWLINK, 0, format!("set up {}", link.name));
        message
            .raw(&ifinfo(found.index, Some(true)))
            .text(libc::IFLA_IFALIAS, &mark.to_string())
            .u32(libc::IFLA_GROUP, 0);
        if let Some(mtu) = link.mtu {
            message.u32(libc::IFLA_MTU, mtu);
        }
        drop(message);
        self.socket.transact(&mut batch)?;
        Ok(())
    }

    fn create_dummy_parent(&self, link: &DummyParent) -> Result<Link, Error> {
        for kind in KINDS {
            let made = self.create_or_find(&link.name, kind, |batch| {
                batch
                    .message(
                        libc::RTM_NEWLINK,
                        CREATE_NEW,
                        format!("create {}, of the kind {kind}", link.name),
                    )
                    .raw(&ifinfo(0, None))
                    .text(libc::IFLA_IFNAME, &link.name)
                    .u32(libc::IFLA_GROUP, INCOMPLETE_GROUP)
                    .nest(libc::IFLA_LINKINFO, |info| {
                        info.text(libc::IFLA_INFO_KIND, kind);
                    });
            });
            match made {
                Err(Error::Netlink(netlink::Error::Refused(refusal)))
                    if refusal.errno == Errno::OPNOTSUPP => {}
                made => return made,
            }
        }
        Err(Error::NoDummyParent(link.name.clone()))
    }
}
