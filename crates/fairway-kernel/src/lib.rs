//! Everything of Fairway that speaks to Linux.

pub mod announce;
pub mod capture;
pub mod conntrack;
pub mod dhcp;
pub mod host_facts;
pub mod iptables;
pub mod limits;
pub mod monitor;
pub mod namespace;
pub mod netlink;
pub mod nftables;
pub mod peer;
pub mod port_holder;
pub mod probe;
pub mod process;
pub mod route;
mod socket_table;
pub mod survey;
pub mod sysctl;
pub mod system;
pub mod trusted;
pub mod unix_socket;
pub mod watch;

#[cfg(test)]
mod testing;
