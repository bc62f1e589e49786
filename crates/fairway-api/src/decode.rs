//! Decodes Docker's JSON requests to commands. Pure: checks what can be checked without a World.

mod container;
mod ignored;
mod network;

pub use container::{
    check_nano_cpus, container, limit_changes, limits, namespace, publications, restart_policy,
    unpublications,
};
pub use ignored::{Ignored, IgnoredLimits};
pub use network::{endpoint, network};
