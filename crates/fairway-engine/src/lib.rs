//! Fairway's engine: transaction, plan, reconcile.
//!
//! A command changes the World, which is made durable, and then the kernel, the relay and the
//! sandboxes' files are made to follow it. What somebody else changes is noticed and mended. The
//! engine is a library: the daemon keeps one, a short-lived command can open one.

#![forbid(unsafe_code)]

mod announcements;
mod apply;
mod beside;
mod boundary;
mod deviations;
mod dhcp;
mod doctor;
mod drift;
mod ended;
mod engine;
mod error;
mod events;
mod execute;
mod exits;
mod explain;
mod firewall;
mod flows;
mod graph;
mod heal;
mod inside;
mod memory;
mod named;
mod netns_link;
mod observe;
mod ordering;
mod orphans;
mod port_sockets;
mod probe;
mod reconfigure;
mod relay_link;
mod remove;
mod requirements;
mod resolvers;
mod rounds;
mod sandbox_files;
mod side_by_side;
mod stop;
mod sweeper;
mod take_over;
mod trace;
mod traffic;
mod uplink;
mod visit;
mod watcher;

pub use doctor::{Diagnosis, examine_host};
pub(crate) use engine::State;
pub use engine::{Engine, ExitRecord, Options};
pub use error::{ApplyError, EngineError};
pub use events::Watcher;
pub use exits::ExitListener;
pub use explain::{ExplainError, Explanation};
pub use graph::GraphError;
pub use port_sockets::{BindError, BindReason};
pub use relay_link::StartRelay;
pub use remove::{Removed, purge};
pub use sandbox_files::FileError;
pub use stop::Stopping;
pub use trace::{TraceError, TraceSink};
