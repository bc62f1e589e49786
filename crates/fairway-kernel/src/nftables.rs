//! nf_tables over netlink: what [`fairway_ruleset`] says, put into the kernel and read from it.
//!
//! A change is a [`Transaction`]: one batch, which the kernel commits as a whole or not at all. One
//! [`Writer`] holds the one socket that may change our tables, for a table that has an owner can be
//! changed through the owner's socket only. Anybody may read ([`Reader`]) and listen ([`Monitor`]).

mod decode;
mod encode;
mod error;
mod monitor;
mod numbers;
mod reader;
mod tracer;
mod transaction;
mod userdata;
mod writer;

pub use error::Error;
pub use monitor::{Change, Monitor, Notifications};
pub use reader::{Reader, TableHeader};
pub use tracer::{TraceEvent, TracePoint, Tracer};
pub use transaction::Transaction;
pub use writer::Writer;

#[cfg(test)]
mod tests;
