//! Answers questions about the running host: `explain`, `doctor`, `graph`, `trace` and the traffic counters.

pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod graph;
pub(crate) mod trace;
mod traffic;
