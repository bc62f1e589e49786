//! IP address management (IPAM): subnets of networks and addresses of endpoints.
//!
//! [`allocate_subnets`] decides for a network that is created, [`default_bridge_subnet`] for the one that exists
//! from the start, [`choose_subnet`] cuts a subnet from the pools where the user named none, and an
//! [`AddressSet`] finds the lowest free address within one. Everything is refused before anything
//! has changed.

mod blocker;
mod bridge;
mod choose;
mod error;
mod host;
mod matching;
mod set;
mod subnet;

pub use bridge::{check_default_bridge_flags, default_bridge_subnet, default_gateway, flag_error};
pub use choose::choose_subnet;
pub use error::IpamError;
pub use host::{LostHostAddress, host_overlap_warnings, lost_host_address};
pub use matching::match_subnets;
pub use set::AddressSet;
pub use subnet::allocate_subnets;
pub(crate) use subnet::check_address;
