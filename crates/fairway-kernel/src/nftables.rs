//! nf_tables over netlink: writes the values of [`fairway_ruleset`] to the kernel and reads them back.
//!
//! A change is a [`Transaction`]: one batch, which the kernel commits as a whole or not at all. One [`Writer`] holds
//! the socket that changes Fairway's tables, since a table with an owner can be changed by the owner's socket only.
//! Any socket may read ([`Reader`]) and listen ([`Monitor`]).

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
pub use transaction::{Transaction, is_adopted};
pub use writer::Writer;

#[cfg(test)]
mod tests;
