//! Simulates the way of a packet through Linux: every hook, chain and rule that it meets, every rewrite, and its end.
//!
//! # What it is for
//! To answer "why does this connection not work?" without sending a packet. A [`Topology`] holds network namespaces as
//! values: interfaces, routes, routing rules, tables of nf_tables and iptables, sockets. The walker does with a packet in
//! them what the kernel does: routing, conntrack, NAT, bridges with and without br_netfilter, veth pairs, macvlans. It
//! interprets nf_tables' own expressions, so it walks the tables of any program alike. It reads and sends nothing: the
//! crate `fairway-kernel` makes a topology of a running host (`survey`), and tests make theirs by hand.
//!
//! # The parts
//! - [`walk_branches`] walks a whole connection: the first packet, the reply, later packets, the second connection of a
//!   proxy. Where chance or the state of a moment decides (`statistic`, `numgen`, limits, sets that change), it walks all
//!   [`Branches`], each with its probability.
//! - [`walk_connection`] walks one way of it, and ends where chance decides.
//! - [`Walker`] walks single packets, and remembers flows between them.
//! - [`Sample`] asks which rules of a table may drop a packet of which only a part is known.
//! - [`WalkRecord`] and [`BranchRecord`] are the same as records for JSON and as text.
//!
//! Where a fact is not known, the walk ends with [`End::Unknown`] and the reason, never with a guess.
//!
//! # Example
//! ```
//! use fairway_walk::{
//!     Interface, NamespaceId, Origin, Outcome, Proxy, Topology, Tuple, Walker, add_interface, empty_namespace,
//!     walk_branches,
//! };
//!
//! let mut host = empty_namespace("host");
//! let addresses = vec!["10.0.0.1/24".parse()?];
//! add_interface(&mut host, Interface { index: 2, name: "eth0".into(), up: true, addresses, ..Default::default() });
//! let topology = Topology { namespaces: vec![host] };
//! let tuple = Tuple {
//!     protocol: 6,
//!     source: "10.0.0.1".parse()?,
//!     destination: "10.0.0.7".parse()?,
//!     source_port: 40_000,
//!     destination_port: 80,
//! };
//! let origin = Origin::Local(NamespaceId::HOST);
//! let found = walk_branches(&Walker::new(&topology), origin, tuple, Proxy::default());
//! assert_eq!(found.branches[0].walk.outcome(), Outcome::LeavesHost);
//! assert_eq!(found.sentence(&topology), "Leaves the host; the reply cannot be predicted.");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! `walk_this_host` among the examples of `fairway-kernel` does this with a running host.

#![forbid(unsafe_code)]

mod branch;
mod build;
mod choice;
mod connection;
mod discard;
mod evaluate;
mod flow;
mod lookup;
mod observation;
mod observed;
mod packet;
mod probability;
mod record;
mod route;
mod sample;
mod sender;
mod step;
#[cfg(test)]
mod tests;
mod topology;
mod virtual_server;
mod walk;

pub use branch::{Branch, BranchRecord, Branches, ConditionRecord, MOST_BRANCHES, walk_branches};
pub use build::{MAIN_TABLE, add_address_routes, add_default_route, add_interface, empty_namespace};
pub use choice::Condition;
pub use connection::{ConnectionWalk, Origin, Outcome, Proxy, walk_connection, walk_connection_with};
pub use discard::{DiscardReason, echo_sysctl, forwarding_sysctl};
pub use evaluate::{Action, RuleHit};
pub use flow::Flow;
pub use lookup::StateSource;
pub use observation::{LinkTie, Observation, Tie};
pub use observed::ObservedNamespace;
pub use packet::{FlowPosition, Packet, Tuple};
pub use probability::Probability;
pub use record::{EndKind, EndRecord, RuleRecord, StepKind, StepRecord, WalkRecord, changes};
pub use route::{RouteQuery, RouteResult, is_link_local};
pub use sample::{PossibleDrop, Sample};
pub use sender::Sender;
pub use step::{Counted, End, PacketWalk, Silence, Step};
pub use topology::{
    Interface, LinkProgram, Listener, MacvlanParent, NamespaceId, NetworkNamespace, PortState, Route,
    RouteKind, RouteRule, Survey, Topology,
};
pub use virtual_server::{RealServer, VirtualServer};
pub use walk::Walker;
