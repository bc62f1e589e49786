//! The data process of Fairway: answers names and carries proxied bytes.
//!
//! The relay reads what strangers send, so it has no rights: it decides nothing, opens no
//! listening socket and sees no file. The daemon gives it a table ([`table`]) and the sockets that
//! belong to it, by way of [`client`]; the relay itself is [`server::run`]. It lives on when the
//! daemon dies, keeps what it was told, and serves whichever daemon connects next.
//!
//! Everything happens in one thread around one epoll instance: sockets wait in the kernel at no
//! cost but their own, and memory is held only for what has been read and cannot be written yet.

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
