//! Addresses from a LAN's DHCP server (RFC 2131): messages, frames, and what a client says when. No I/O: frames that
//! were heard and the time come in as arguments, frames to be sent go out.

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
