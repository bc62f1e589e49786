//! Docker's JSON, as commands. Pure: what it says is checked as far as it can be without a World.

mod container;
mod ignored;
mod network;

pub use container::{container, namespace, publications, unpublications};
pub use ignored::Ignored;
pub use network::{endpoint, network};
