//! The data process of Fairway: answers names and carries proxied bytes.
pub mod client;
mod message;
mod poll;
mod slab;
pub mod proxy;
pub mod table;
pub use message::MessageError;
