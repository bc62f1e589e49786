//! Netlink: sends batches of messages, receives acknowledgments, replies and notifications.
//!
//! The formats are those of `<linux/netlink.h>` and of RFC 3549.

mod attributes;
mod batch;
mod error;
mod socket;

pub use attributes::{Attribute, Attributes};
pub use batch::{Batch, MessageBuilder};
pub use error::{Error, Refusal};
pub use socket::{Message, Outcome, Protocol, Socket};

/// Length of `struct nlmsghdr`.
pub(crate) const HEADER_LENGTH: usize = 16;

/// Rounds up to the four bytes that messages and attributes are aligned to.
pub(crate) const fn align(length: usize) -> usize {
    length.next_multiple_of(4)
}

#[cfg(test)]
mod tests;
