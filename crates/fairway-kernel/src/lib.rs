//! Everything of Fairway that talks to Linux: netlink, links, routes, nf_tables, conntrack, namespaces, processes,
//! sysctls.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests run programs"))]

pub mod announce;
pub mod capture;
pub mod clock;
pub mod conntrack;
pub mod dhcp;
pub mod duplicate_address;
pub mod host_facts;
pub mod ipset;
pub mod iptables;
pub mod limits;
pub mod monitor;
pub mod namespace;
pub mod netlink;
pub mod nftables;
pub mod parallel;
pub mod pid_namespace;
pub mod port_holder;
pub mod process;
pub mod route;
pub mod socket_table;
pub mod survey;
pub mod sysctl;
pub mod system;
pub mod trusted_directory;
pub mod unix_socket;
pub mod untrusted_file;
pub mod watch;

mod traffic_control;

#[cfg(test)]
mod testing;
