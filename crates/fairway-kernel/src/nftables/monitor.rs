//! Receives notifications of changes of tables.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};

use fairway_ruleset::Family;

use super::numbers::{self as n, message};
use super::{Error, decode, reader};
use crate::netlink::{self, Protocol, Socket};
use crate::system;

/// Holds what other tools change at once; more is reported as [`Notifications::Overflow`].
const RECEIVE_BUFFER: usize = 1 << 20;

/// A table that another program changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Its family.
    pub family: Family,
    /// Its name.
    pub table: String,
    /// The program that changed it, if the kernel names it.
    pub program: Option<String>,
    /// The netlink port of the program's socket: usually its process id.
    pub port: u32,
}

/// The notifications of one [`Monitor::drain`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notifications {
    /// These tables were changed, or none.
    Changes(BTreeSet<Change>),
    /// The receive buffer overflowed: anything may have changed.
    Overflow,
}

/// A socket that receives changes of the tables of one network namespace. Its descriptor becomes readable then.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
}

impl Monitor {
    /// Listens in the namespace of the calling thread, to all changes but those of the writer with this port
    /// ([`super::Writer::port`]): the kernel filters these, so that they neither wake the reader nor fill the buffer.
    ///
    /// # Errors
    /// If no such socket can be created.
    pub fn open(but: Option<u32>) -> Result<Self, Error> {
        let socket = Socket::open(Protocol::Netfilter)?;
        socket.grow_receive_buffer(RECEIVE_BUFFER)?;
        if let Some(port) = but {
            system::filter::ignore_netlink_sender(&socket, port).map_err(netlink::Error::Open)?;
        }
        socket.join(n::GROUP)?;
        Ok(Self { socket })
    }

    /// The changes since the last call. Does not wait.
    ///
    /// # Errors
    /// If the socket cannot be read.
    pub fn drain(&self) -> Result<Notifications, Error> {
        let messages = match self.socket.notifications() {
            Ok(messages) => messages,
            Err(netlink::Error::Overrun) => return Ok(Notifications::Overflow),
            Err(error) => return Err(error.into()),
        };
        let mut changes = BTreeSet::new();
        let mut pending = BTreeSet::new();
        for heard in messages.iter().filter(|heard| heard.kind >> 8 == n::SUBSYSTEM) {
            let attributes = reader::attributes(heard);
            if heard.kind & 0xff == message::NEW_GENERATION {
                // The end of a transaction, with the program's name.
                let program = decode::text(attributes, n::generation::PROCESS_NAME);
                changes.extend(
                    std::mem::take(&mut pending)
                        .into_iter()
                        .map(|change: Change| Change { program: program.clone(), ..change }),
                );
                continue;
            }
            let family = heard.payload.first().copied().and_then(Family::from_number);
            // The first attribute of every kind of object is the name of its table.
            if let (Some(family), Some(table)) = (family, decode::text(attributes, n::table::NAME)) {
                pending.insert(Change { family, table, program: None, port: heard.port });
            }
        }
        changes.extend(pending);
        Ok(Notifications::Changes(changes))
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
