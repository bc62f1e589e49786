//! DHCP client (RFC 2131): messages, frames, and the client's state machine. No I/O: received frames and the time are
//! arguments, frames to send are results.

#![warn(clippy::indexing_slicing)]

mod client;
mod frame;
mod message;
mod renewal;

pub use client::{Client, LeaseError, TIMEOUT_SECONDS};
pub use frame::parse_frame;
pub use message::{Message, MessageType};
pub use renewal::{LeaseEvent, Renewal, decline, release};

#[cfg(test)]
mod tests;

/// A second, in nanoseconds.
const SECOND: i64 = 1_000_000_000;
