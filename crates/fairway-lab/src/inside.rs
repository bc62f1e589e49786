//! Whether this process is inside a lab.

use std::os::unix::fs::MetadataExt;

use crate::error::{LabError, Trying};

/// Marks a process of a lab; its value is the identity of the network namespace outside.
pub(crate) const MARK: &str = "FAIRWAY_LAB";

/// Whether this is the process that [`crate::enter`] started. The environment alone would not prove it, and a lab built
/// in the wrong place would change the machine's network: so the pids and the namespace must be right as well.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "a lab knows its process by the environment, among other signs"
)]
pub fn is_inside() -> bool {
    let Some(outside) = std::env::var_os(MARK) else { return false };
    let second = std::process::id() == 2 && std::os::unix::process::parent_id() == 1;
    second && own_network_namespace().is_ok_and(|own| outside != *own)
}

pub(crate) fn own_network_namespace() -> Result<String, LabError> {
    let path = "/proc/thread-self/ns/net";
    let metadata = std::fs::metadata(path).trying(|| format!("identify the network namespace {path}"))?;
    Ok(format!("{}:{}", metadata.dev(), metadata.ino()))
}
