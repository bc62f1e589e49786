//! Queries about packets for `explain`, captures, and advice for packets that are not answered.

mod advice;
mod capture;
mod query;

pub use advice::advice;
pub(crate) use advice::{give_back, has_vanished, publish_everywhere};
pub use capture::{Capture, captures};
pub use query::{Peer, Query, QueryError, Resolved};
pub(crate) use query::{Port, peer, resolve, shown_name, split};
