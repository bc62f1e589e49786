//! The durable World of Fairway: a map from record keys to bytes, on disk.
//!
//! A record's key says what it is (`network/<id>`, `sandbox/<id>`, `meta/...`); its bytes mean
//! nothing here. A [`Change`] is durable as a whole or not at all, and what is durable is always a
//! prefix of what was submitted: [`Store::submit`] fixes the order, [`Ticket::wait`] returns once
//! the change and everything before it is on the disk. Changes that arrive while the disk is
//! busy share the next transaction, so that five hundred of them cost a few syncs.
//!
//! A commit is one write to a journal of fixed size and one sync (0.12 ms where a commit to redb
//! takes 0.4 ms); when the journal is full, what it holds moves to the redb database in one
//! transaction. [`Store::open`] reads the database, then the journal.
//!
//! One process at a time has the store open; others wait for its lock.

#![forbid(unsafe_code)]

mod disk;
mod error;
mod journal;
mod lock;
mod store;

pub use error::StoreError;
pub use store::{Change, Store, Ticket};
