//! The data process of Fairway: resolves names and proxies published ports.
//!
//! The relay parses untrusted input, so it has no privileges: it decides nothing, opens no listening socket and sees
//! no file. The daemon gives it a table ([`table`]) and the sockets that belong to it, by way of [`client`]; the
//! relay itself is [`server::run`]. It outlives the daemon, keeps its table, and serves the next daemon that
//! connects.
//!
//! Everything happens in one thread around one epoll instance: idle sockets cost no memory here; memory is held only
//! for bytes that were read and cannot be written yet.

#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests run programs"))]

pub mod client;
pub mod confine;
mod message;
mod poll;
mod proof;
pub mod proxy;
pub mod resolver;
pub mod server;
mod shares;
mod slab;
pub mod table;
#[cfg(test)]
mod testing;

pub use message::MessageError;

/// The first argument of a relay's process, which ps(1) shows.
pub const PROCESS_NAME: &str = "fairway-relay";

/// The version of this relay. A daemon replaces a running relay of another version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
