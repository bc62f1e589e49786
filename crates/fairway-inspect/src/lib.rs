//! Explains a host's networking: topologies, advice, firewall conflicts, packet traces, findings, pictures.
//!
//! Pure, as the core: the state of the kernel comes in as values.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "a test writes its pictures"))]

pub mod conflict;
pub mod doctor;
pub mod explain;
pub mod graph;
pub mod metrics;
#[cfg(test)]
mod tests;
pub mod topology;
pub mod trace;
