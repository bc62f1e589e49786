//! Fairway's engine: transaction, plan, reconcile.
//!
//! A command changes the World, which is made durable, and then the kernel, the relay and the
//! sandboxes' files are made to follow it. What somebody else changes is noticed and mended. The
//! engine is a library: the daemon keeps one, a short-lived command can open one.

#![forbid(unsafe_code)]

mod apply;
mod commit;
mod engine;
mod error;
mod failpoint;
mod inspect;
mod memory;
mod parallel;
mod port_sockets;
mod reconcile;
mod remove;
mod requirements;

pub use apply::files::FileError;
pub use apply::relay_link::StartRelay;
pub use commit::events::EventListener;
pub use commit::exit_waiters::ExitListener;
pub use commit::stop::Stopping;
pub(crate) use engine::State;
pub use engine::{Engine, ExitRecord, Options};
pub use error::{ApplyError, EngineError};
pub use inspect::doctor::{Diagnosis, examine_host};
pub use inspect::explain::{ExplainError, Explanation};
pub use inspect::graph::GraphError;
pub use inspect::trace::{TraceError, TraceSink};
pub use port_sockets::{BindError, BindReason};
pub use remove::{Removed, purge};
