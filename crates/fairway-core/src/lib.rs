//! What decides: the World that is desired, the Plan that follows from it, and the firewall policy.
//!
//! No I/O, no clock, no randomness of its own, no global state: time and random bytes come in as
//! arguments. That is what lets every decision be tested by the thousand.

#![forbid(unsafe_code)]

pub mod dhcp;
pub mod ipam;
pub mod names;
pub mod object;
pub mod plan;
pub mod policy;
pub mod traffic;
pub mod world;
