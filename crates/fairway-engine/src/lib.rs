//! The engine: commits commands, applies the Plan, repairs drift, and explains the host.
//!
//! The Committer decides a command and makes the change durable, the Applier makes the kernel, the relay and the files
//! match it, the Reconciler repairs changes by other programs, the Inspector answers questions. The engine is a
//! library: the daemon keeps one open, a short-lived command can open one.

#![forbid(unsafe_code)]

mod apply;
mod commit;
mod engine;
mod error;
mod failpoint;
mod inspect;
mod left;
mod port_sockets;
mod reconcile;
mod remove;
mod requirements;
mod signals;
mod store;

pub use apply::relay_link::StartRelay;
pub use commit::events::EventListener;
pub use commit::exit_waiters::ExitListener;
pub use commit::records::Orphan;
pub use commit::stop::Stopping;
pub use engine::{Engine, ExitRecord, Options};
pub use error::{ApplyError, ApplyErrors, EngineError, FailureReason, FileError, Subject, Unapplied};
pub use inspect::doctor::{Diagnosis, examine_host};
pub use inspect::explain::{ExplainError, Explanation};
pub use inspect::graph::GraphError;
pub use inspect::trace::{TraceError, TraceSink};
pub use left::{has_relay, has_store};
pub use port_sockets::{BindError, BindReason};
pub use remove::{Removed, purge};
pub use store::{StoreCheck, check_store, dump_store, remove_record};
