//! Docker's JSON, as commands. Pure: what it says is checked as far as it can be without a World.

mod container;
mod network;

pub use container::{container, namespace, publications, unpublications};
pub use network::{endpoint, network};
