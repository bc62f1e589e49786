//! Addresses from a LAN's DHCP server (RFC 2131): messages, frames, and what a client says when. No I/O: frames that
//! were heard and the time come in as arguments, frames to be sent go out.

mod client;
mod frame;
mod message;
mod renewal;

pub use client::{Client, Failure, PATIENCE_SECONDS};
pub use frame::read;
pub use message::{Kind, Message};
pub use renewal::{Renewal, Told, decline, release};

#[cfg(test)]
mod tests;

/// A second, in nanoseconds.
const SECOND: i64 = 1_000_000_000;
