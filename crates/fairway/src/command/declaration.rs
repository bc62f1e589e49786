//! Declarations: networks and sandboxes as one file says them.
//!
//! A text is read (`text`) into the keys of a file (`file`), and these into requests of the API (`declared`). A
//! declaration and what the API lists (`present`) give steps with reasons (`plan`). `export` goes the other way. All of
//! it is pure.

mod declared;
mod difference;
mod error;
mod export;
mod file;
mod lists;
mod plan;
mod port;
mod present;
mod step;
mod text;
mod variable;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

pub(super) use declared::{Declaration, Sandbox};
pub(super) use error::{DeclareError, Refusal};
pub(super) use export::export;
pub(super) use plan::plan;
pub(super) use present::Present;
pub(super) use step::{Action, Step};
pub(super) use text::read;
pub(super) use variable::unset;

/// The label of what `fairway apply` made; the value is the `name` of the file, or its path.
const APPLIED: &str = "io.fairway.applied";

/// The networks that are always there.
const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];

/// Reads any bytes as a declaration; for fuzz targets.
pub fn fuzz(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(file) = read(text, HashMap::new())
    {
        let _ = unset(text, &HashMap::new());
        let _ = Declaration::new(file, "file");
    }
}
