//! The pure core of Fairway: what was asked, what follows from it, and nothing that touches a machine.
//!
//! No I/O, no clock, no randomness of its own, no global state: time and random bytes come in as
//! arguments. That is what lets every decision be tested by the thousand.

#![forbid(unsafe_code)]

pub mod beside;
pub mod dhcp;
pub mod doctor;
mod draw;
pub mod graph;
pub mod ipam;
pub mod model;
pub mod names;
pub mod path;
pub mod plan;
pub mod policy;
pub mod ruleset;
pub mod shell;
pub mod trace;
pub mod traffic;
pub mod world;

pub use draw::Draw;
