//! Decodes Docker's JSON requests to commands. Pure: checks what can be checked without a World.

mod container;
mod ignored;
mod network;

pub use container::{container, namespace, publications, unpublications};
pub use ignored::Ignored;
pub use network::{endpoint, network};
