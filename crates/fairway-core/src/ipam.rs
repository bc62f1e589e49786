//! Which subnet a network gets, and which address an endpoint.
//!
//! [`subnets`] decides for a network that is created, [`default_bridge`] for the one that exists
//! from the start, [`choose`] cuts a subnet from the pools where the user named none, and an
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

pub use bridge::{default_bridge, default_gateway, flag_takes_from_host};
pub use choose::choose;
pub use error::IpamError;
pub use host::{TakenFromHost, overlaps_of_host, taken_from_host};
pub use matching::match_subnets;
pub use set::AddressSet;
pub use subnet::subnets;
