//! Fuzz targets: each parser of bytes that come from outside the program.
//!
//! A target takes any bytes and has to return: a panic is a finding. `fuzz/` holds them in the layout of cargo-fuzz, with
//! a corpus for each; the program of this crate runs them on stable Rust.

mod inputs;
mod mutate;
mod targets;

pub use inputs::{Input, corpus};
pub use mutate::mutate;
pub use targets::{TARGETS, Target, find};
