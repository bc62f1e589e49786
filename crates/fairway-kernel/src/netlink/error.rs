//! Errors of netlink sockets.

use std::fmt;

use rustix::io::Errno;
use thiserror::Error;

/// A message that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The index of the message in the batch.
    pub index: usize,
    /// The label of the message.
    pub label: String,
    /// The kernel's reason.
    pub errno: Errno,
    /// The kernel's reason in words (`NLMSGERR_ATTR_MSG`), where it gave one.
    pub message: Option<String>,
    /// The offset of the offending attribute from the message's start (`NLMSGERR_ATTR_OFFS`).
    pub offset: Option<u32>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.label, self.errno)?;
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        Ok(())
    }
}

/// Why a netlink exchange failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// No socket could be created.
    #[error("cannot open a netlink socket: {0}")]
    Open(Errno),
    /// The batch could not be sent.
    #[error("cannot send {label} ({bytes} bytes) to the kernel: {errno}")]
    Send {
        /// The label of the first message.
        label: String,
        /// The size of the batch in bytes.
        bytes: usize,
        /// The reason; `EMSGSIZE` when the send buffer is too small for it.
        errno: Errno,
    },
    /// No answer could be read.
    #[error("cannot read the kernel's answer: {0}")]
    Receive(Errno),
    /// The receive buffer overflowed: answers or notifications were lost; observe anew.
    #[error("netlink receive buffer overflow (ENOBUFS): messages were lost")]
    Overrun,
    /// The kernel refused a message.
    #[error("{0}")]
    Refused(Refusal),
    /// The kernel did not answer.
    #[error("the kernel gave no answer to {label}")]
    NoAnswer {
        /// The label of the last message.
        label: String,
    },
    /// The answer is not well-formed.
    #[error("the kernel's answer is malformed: {0}")]
    Malformed(&'static str),
    /// An attribute is longer than its 16-bit length allows.
    #[error("{label} has an attribute longer than 65535 bytes; split it into several messages")]
    AttributeTooLong {
        /// The label of the message.
        label: String,
    },
    /// The dumped objects kept changing meanwhile.
    #[error("{label} changed while it was read, {attempts} times in a row")]
    Unsteady {
        /// The label of the request.
        label: String,
        /// How often it was tried.
        attempts: u32,
    },
}

impl Error {
    /// The kernel's error number, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Open(errno) | Self::Receive(errno) | Self::Send { errno, .. } => Some(*errno),
            Self::Refused(refusal) => Some(refusal.errno),
            Self::Overrun => Some(Errno::NOBUFS),
            Self::NoAnswer { .. }
            | Self::Malformed(_)
            | Self::AttributeTooLong { .. }
            | Self::Unsteady { .. } => None,
        }
    }
}
