//! The one socket that changes our tables.

mod absent;

use fairway_ruleset::{Family, Table, TableFlags};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;

use super::numbers::message;
use super::{Error, Reader, Transaction};
use crate::netlink;

/// Large enough for every port of every protocol in one transaction.
const SEND_BUFFER: usize = 64 << 20;
/// What the kernel keeps of a send buffer for itself (`netlink_sendmsg`).
const OVERHEAD: usize = 32;

/// A socket that changes the tables of one network namespace. A table that it makes with
/// [`fairway_ruleset::TableFlags::OWNED`] can be changed by it alone; when it is dropped the
/// table stays, and the next writer that adds a table of that name takes it over.
#[derive(Debug)]
pub struct Writer {
    reader: Reader,
    limit: usize,
    port: u32,
    /// The kernel cannot remove what may be absent (before Linux 6.3).
    strict: bool,
}

impl Writer {
    /// Opens a writer in the namespace of the calling thread.
    ///
    /// # Errors
    /// If no socket can be made, or nf_tables is missing.
    pub fn open() -> Result<Self, Error> {
        let reader = Reader::open()?;
        let limit = reader.socket.grow_send_buffer(SEND_BUFFER)?.saturating_sub(OVERHEAD);
        // The first request also gives the socket its port.
        reader.generation()?;
        let address = rustix::net::getsockname(&reader.socket).and_then(SocketAddrNetlink::try_from);
        let port = address.map_err(netlink::Error::Open)?.pid();
        Ok(Self { reader, limit, port, strict: false })
    }

    /// Reads through the same socket.
    pub const fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The largest transaction in bytes ([`Transaction::size`]). About 400 KB without
    /// `CAP_NET_ADMIN` in the first user namespace (`net.core.wmem_max`), else 128 MiB.
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// The port of the socket: the owner of the tables that it made.
    pub const fn port(&self) -> u32 {
        self.port
    }

    /// The flags to make our tables with: [`TableFlags::OWNED`] where the kernel can (Linux 6.9),
    /// else none, for a table that is owned and does not persist would go when we go.
    ///
    /// # Errors
    /// If nf_tables cannot be changed at all.
    pub fn best_flags(&self) -> Result<TableFlags, Error> {
        // The second message is always refused, so that the first has no effect.
        let probe = Table { flags: TableFlags::OWNED, ..Table::new(Family::Inet, "fairway-probe") };
        let mut transaction = Transaction::new();
        transaction.add_table(&probe).delete_table(Family::Inet, "fairway-absent");
        let outcome = self.reader.socket.transact_each(transaction.finish())?;
        let mut flags = TableFlags::OWNED;
        for refusal in outcome.refusals {
            match refusal.errno {
                Errno::NOENT => {}
                Errno::OPNOTSUPP | Errno::INVAL => flags = TableFlags::default(),
                _ => return Err(transaction.explain(refusal)),
            }
        }
        Ok(flags)
    }

    /// Makes a change, as a whole or not at all.
    ///
    /// # Errors
    /// [`Error::TooLarge`] before anything is done; [`Error::Refused`] with the object that the
    /// kernel did not like.
    pub fn commit(&mut self, mut transaction: Transaction) -> Result<(), Error> {
        if transaction.is_empty() {
            return Ok(());
        }
        if self.strict {
            absent::leave_out(&self.reader, &mut transaction)?;
        }
        let bytes = transaction.size();
        if bytes > self.limit {
            return Err(Error::TooLarge { bytes, limit: self.limit });
        }
        let unfinished = (!self.strict).then(|| absent::removes_what_may_be_absent(&transaction));
        let copy = (unfinished == Some(true)).then(|| transaction.clone());
        let outcome = self.reader.socket.transact_each(transaction.finish())?;
        let Some(refusal) = outcome.refusals.into_iter().next() else { return Ok(()) };
        if let Some(copy) = copy
            && matches!(refusal.errno, Errno::INVAL | Errno::OPNOTSUPP)
            && matches!(
                absent::kind(&transaction, refusal.index),
                Some(message::DESTROY_ELEMENTS | message::DESTROY_TABLE)
            )
        {
            self.strict = true;
            return self.commit(copy);
        }
        Err(transaction.explain(refusal))
    }

    /// Acts as if the kernel could not remove what may be absent.
    #[cfg(test)]
    pub(super) fn pretend_old_kernel(&mut self) {
        self.strict = true;
    }
}
