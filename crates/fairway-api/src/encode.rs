//! Encodes a World as Docker's JSON. Pure: the time and the paths of files are arguments.

mod container;
mod list;
mod network;
mod port;
mod time;
mod traffic;

pub use container::{attached, extra_hosts, inspect_container};
pub use list::{ListError, list_containers};
pub use network::{inspect_network, ipam_config, list_networks, troubles};
pub use port::{bindings as port_bindings, published, unpublish_bindings};
pub use time::{human, instant, rfc3339};
pub use traffic::stats;
