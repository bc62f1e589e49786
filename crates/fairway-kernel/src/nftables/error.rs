//! Errors of nf_tables.

use rustix::io::Errno;
use thiserror::Error;

use crate::netlink;

/// Why the kernel's tables could not be read or changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The exchange with the kernel failed.
    #[error("nf_tables: {0}")]
    Netlink(#[from] netlink::Error),
    /// The kernel refused one object and with it the whole transaction.
    #[error("the kernel refuses {what}: {reason}", reason = reason(*errno, message.as_deref()))]
    Refused {
        /// The object: "rule 3 of chain forward", "element 192.0.2.1 . tcp . 80 of set ports".
        what: String,
        /// The kernel's reason.
        errno: Errno,
        /// The kernel's reason in words, where it gave one.
        message: Option<String>,
    },
    /// The transaction is larger than the send buffer allows.
    #[error(
        "a transaction of {bytes} bytes is more than the {limit} that may be sent at once: split it, or raise \
         net.core.wmem_max"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The table kept changing while it was read.
    #[error("table {table} changed while it was read, {attempts} times in a row; try again")]
    Unsteady {
        /// The table.
        table: String,
        /// How often it was tried.
        attempts: u32,
    },
}

fn reason(errno: Errno, message: Option<&str>) -> String {
    let hint = match errno {
        Errno::PERM => " (another process owns the table, or the right CAP_NET_ADMIN is missing)",
        Errno::OPNOTSUPP => " (the kernel lacks what it needs, or another process owns the table)",
        _ => "",
    };
    match message {
        Some(message) => format!("{message}: {errno}{hint}"),
        None => format!("{errno}{hint}"),
    }
}

impl Error {
    /// The kernel's error number, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Netlink(error) => error.errno(),
            Self::Refused { errno, .. } => Some(*errno),
            Self::TooLarge { .. } | Self::Unsteady { .. } => None,
        }
    }

    /// Whether the object to be changed or deleted does not exist.
    pub fn is_absent(&self) -> bool {
        self.errno() == Some(Errno::NOENT)
    }

    /// Whether the object to be added exists already with other content.
    pub fn is_present(&self) -> bool {
        self.errno() == Some(Errno::EXIST)
    }
}
