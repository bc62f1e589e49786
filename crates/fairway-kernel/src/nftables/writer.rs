//! The socket that changes Fairway's tables.

mod absent;

use fairway_ruleset::{Family, Table, TableFlags};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;

use super::numbers::message;
use super::{Error, Reader, Transaction};
use crate::netlink;

/// Large enough for every port of every protocol in one transaction.
const SEND_BUFFER: usize = 64 << 20;
/// The part of a send buffer that the kernel reserves (`netlink_sendmsg`).
const OVERHEAD: usize = 32;

/// A socket that changes the tables of one network namespace. Only this socket can change a table that it created
/// with [`fairway_ruleset::TableFlags::OWNED`]; when it is dropped the table stays, and the next writer that adds a
/// table of that name takes it over.
#[derive(Debug)]
pub struct Writer {
    reader: Reader,
    limit: usize,
    port: u32,
    /// The kernel has no NFT_MSG_DESTROY* (before Linux 6.3).
    strict: bool,
}

impl Writer {
    /// Opens a writer in the namespace of the calling thread.
    ///
    /// # Errors
    /// If no socket can be created, or nf_tables is missing.
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

    /// The netlink port of the socket: the owner of its tables.
    pub const fn port(&self) -> u32 {
        self.port
    }

    /// The flags for Fairway's tables: [`TableFlags::OWNED`] where the kernel supports it (Linux 6.9), else none,
    /// since a table that is owned but not persistent is deleted with its owner.
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

    /// Commits a transaction, as a whole or not at all.
    ///
    /// # Errors
    /// [`Error::TooLarge`] before anything is done; [`Error::Refused`] with the refused object.
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

    /// Acts as if the kernel had no NFT_MSG_DESTROY*.
    #[cfg(test)]
    pub(super) fn pretend_old_kernel(&mut self) {
        self.strict = true;
    }
}
