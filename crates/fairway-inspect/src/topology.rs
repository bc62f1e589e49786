//! The topology that a packet walks on: as planned, and as read from the kernel.

mod netns_link;
mod observed;
mod planned;

pub use observed::{observed, without_ours};
pub use planned::{planned, planned_element, planned_listeners, planned_outline};
