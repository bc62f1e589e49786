//! Everything of Fairway that speaks to Linux.

pub mod netlink;
pub mod system;

#[cfg(test)]
mod testing;
