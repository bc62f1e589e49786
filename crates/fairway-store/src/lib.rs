//! The durable store: a map from record keys to bytes, on disk.
//!
//! A key names an object (`network/<id>`, `sandbox/<id>`, `journal`); the store does not interpret the
//! bytes. A [`Change`] becomes durable as a whole or not at all: [`Store::submit`] fixes the order, and
//! [`Ticket::wait`] returns when the change and all changes before it are on disk. Changes that arrive during a write
//! share the next one, so five hundred of them cost a few syncs (group commit).
//!
//! A commit is one write to a journal of fixed size and one sync. When the journal is full, all records are written to a
//! new snapshot, which replaces the one before, and the journal starts over. [`Store::open`] reads the snapshot, then
//! the journal.
//!
//! A write that fails changes nothing, neither now nor after a restart: what it may have left in the journal is erased
//! before the next change. The store recovers by itself, since each change tries again; [`Store::health`] says why the
//! last one failed.
//!
//! One process at a time has the store open; a second process waits for the lock.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests run programs"))]

mod change;
mod disk;
mod error;
#[cfg(test)]
mod faults;
mod files;
mod frame;
mod journal;
mod legacy;
mod lock;
mod snapshot;
mod store;

pub use change::{Change, Records};
pub use error::StoreError;
pub use store::{Outage, Statistics, Store, Ticket};

/// Parses any bytes as a journal; for fuzz targets. What is in its place is read, as at a start.
#[doc(hidden)]
pub fn fuzz_journal(bytes: &[u8]) {
    let layout = journal::Layout { capacity: 0, ..journal::LAYOUT };
    let _ = journal::scan(bytes, 0, layout);
}

/// Parses any bytes as a snapshot; for fuzz targets.
#[doc(hidden)]
pub fn fuzz_snapshot(bytes: &[u8]) {
    let _ = snapshot::read(bytes);
}
