//! Decisions: the World (desired state), the Plan (kernel objects) that follows from it, and the firewall policy.
//!
//! This crate has no I/O, no clock, no random numbers of its own and no global state: time and random
//! numbers are arguments, so that tests can run thousands of decisions.

#![forbid(unsafe_code)]

pub mod dhcp;
pub mod ipam;
pub mod names;
pub mod object;
pub mod plan;
pub mod policy;
pub mod traffic;
pub mod world;
