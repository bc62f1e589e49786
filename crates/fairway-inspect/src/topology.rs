//! Builds the topology for packet walks: as planned, and as observed in the kernel.

mod netns_link;
mod observed;
mod planned;

pub use observed::{observed, without_ours};
pub use planned::{planned, planned_element, planned_elements, planned_listeners, planned_outline};
