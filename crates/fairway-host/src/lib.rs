//! Reads this host without Fairway's daemon, whichever engines run containers on it, explains where packets go, and traces
//! real ones.
//!
//! Nothing is changed on the host but for the tables of a running trace, and nothing outlives the reading. Network namespaces are found by their processes and
//! mounts, and are joined by their links; each is read as a whole when a packet comes to it.

#![forbid(unsafe_code)]

mod doctor;
mod error;
mod explain;
mod glances;
mod graph;
mod host;
mod known;
mod label;
mod names;
mod question;
mod rights;
mod socket_owner;
mod source;
mod trace;

pub use doctor::examine;
pub use error::HostError;
pub use explain::Explanation;
pub use host::Host;
pub use rights::{check as check_rights, check_to_trace as check_rights_to_trace};
pub use trace::trace;
