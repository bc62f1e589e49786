//! Everything of Fairway that speaks to Linux.

pub mod namespace;
pub mod netlink;
pub mod process;
pub mod route;
pub mod sysctl;
pub mod system;

#[cfg(test)]
mod testing;
