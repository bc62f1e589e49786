//! What explains: the topology of a Plan, advice, conflicts with foreign firewalls, traces, findings and pictures.
//!
//! Pure, as the core: what the kernel holds comes in as values.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "a test shows its pictures"))]

pub mod conflict;
pub mod doctor;
pub mod explain;
pub mod graph;
#[cfg(test)]
mod tests;
pub mod topology;
pub mod trace;
