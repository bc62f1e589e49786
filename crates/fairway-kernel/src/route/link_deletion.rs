//! Deletes many links at once: each deletion waits for RCU, that of a link group waits once.

use super::message::{get_link_by_index, ifinfo};
use super::{Error, Link, Links, Mark, is_gone, unless_gone};
use crate::netlink::{self, Batch};

/// How many links are deleted at a time. Meanwhile the kernel holds RTNL and blocks all other changes of links.
pub const MAX_DELETED_TOGETHER: usize = 24;

/// A link to be deleted, identified by index and mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingDelete {
    /// Its index.
    pub index: u32,
    /// Its mark; a link with another mark is left alone.
    pub mark: Mark,
}

/// The outcome of [`Links::delete_links`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeletedLinks {
    /// The links that were deleted now.
    pub deleted: Vec<PendingDelete>,
    /// The links that were gone already: their index is free or has another link.
    pub absent: Vec<PendingDelete>,
}

impl Links {
    /// Deletes links of Fairway's, [`MAX_DELETED_TOGETHER`] at a time; other changes can run in between.
    ///
    /// `group` is the link group that the links are put into. All other links in that group would be deleted too, so
    /// its number must be random, and its members are checked before each deletion.
    ///
    /// # Errors
    /// [`Error::Netlink`]; [`Error::Foreign`] if a foreign link is in the group.
    pub fn delete_links(&self, doomed: &[PendingDelete], group: u32) -> Result<DeletedLinks, Error> {
        let mut retired = DeletedLinks::default();
        for chunk in doomed.chunks(MAX_DELETED_TOGETHER) {
            let (present, absent) = self.part(chunk)?;
            self.delete_group(&present, group)?;
            retired.deleted.extend(present);
            retired.absent.extend(absent);
        }
        Ok(retired)
    }

    /// Sets a bridge port down: it forwards no frames, and its bridge flushes its FDB entries. This takes 1 ms and a
    /// deletion 20, so pairs of ending sandboxes are set down and deleted together later. A missing link is no error.
    ///
    /// # Errors
    /// [`Error::Netlink`].
    pub fn set_down(&self, index: u32, name: &str) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.message(libc::RTM_SETLINK, 0, format!("switch {name} off")).raw(&ifinfo(index, Some(false)));
        unless_gone(self.socket.transact_each(&mut batch)?).map(drop)
    }

    /// Splits links into present ones with their mark, and others.
    fn part(&self, doomed: &[PendingDelete]) -> Result<(Vec<PendingDelete>, Vec<PendingDelete>), Error> {
        let mut batch = Batch::new();
        doomed.iter().for_each(|link| get_link_by_index(&mut batch, link.index));
        let replies = unless_gone(self.socket.transact_each(&mut batch)?)?;
        let links: Vec<_> = replies.iter().filter_map(Link::parse).collect();
        Ok(doomed.iter().copied().partition(|doomed| {
            links.iter().any(|link| link.index == doomed.index && link.mark() == Some(doomed.mark))
        }))
    }

    fn delete_group(&self, doomed: &[PendingDelete], group: u32) -> Result<(), Error> {
        if let [only] = doomed {
            return self.delete(only.index, &only.mark.to_string());
        }
        if doomed.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new();
        for link in doomed {
            batch
                .message(libc::RTM_SETLINK, 0, format!("gather {} to be deleted", link.mark))
                .raw(&ifinfo(link.index, None))
                .u32(libc::IFLA_GROUP, group);
        }
        unless_gone(self.socket.transact_each(&mut batch)?)?;
        let strangers = self.all()?.into_iter().find(|link| {
            link.group == group
                && !doomed.iter().any(|ours| ours.index == link.index && link.mark() == Some(ours.mark))
        });
        if let Some(link) = strangers {
            return Err(Error::Foreign { name: link.name, what: format!("a link in the group {group}") });
        }
        let mut batch = Batch::new();
        batch
            .message(libc::RTM_DELLINK, 0, "delete a group of interfaces")
            .raw(&ifinfo(0, None))
            .u32(libc::IFLA_GROUP, group);
        let outcome = self.socket.transact_each(&mut batch)?;
        match outcome.refusals.into_iter().find(|refusal| !is_gone(refusal)) {
            Some(refusal) => Err(netlink::Error::Refused(refusal).into()),
            None => Ok(()),
        }
    }
}
