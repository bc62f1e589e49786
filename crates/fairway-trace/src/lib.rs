//! Traces real packets: captures, traced rules and conntrack events of the host and of other network namespaces.
//!
//! Which namespaces and packets a trace concerns its [`Subject`] knows: the World of the daemon, or a reading of the
//! host. The tables of a trace belong to a socket of this process, and the kernel deletes them with it.

#![forbid(unsafe_code)]

mod error;
mod rules;
mod station;
mod subject;
mod trace;

pub use error::TraceError;
pub use rules::sweep;
pub use subject::{RENEWAL, Subject, Watched};
pub use trace::Trace;
