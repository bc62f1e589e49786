//! Simulates the way of one packet: every hook, chain and rule that it meets, every rewrite, and its end.
//!
//! A [`Topology`] holds network namespaces as values; the [`Walker`] does what the kernel does with a packet in them.
//! It interprets nf_tables' own expressions, so it walks Fairway's and foreign tables alike, planned or read from the
//! kernel. Where a fact is not known, the walk ends with [`End::Unknown`], never with a guess.

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
mod walk;

pub use branch::{Branch, BranchRecord, Branches, ConditionRecord, MOST_BRANCHES, walk_branches};
pub use build::{add_default_route, add_interface, empty_namespace};
pub use choice::Condition;
pub use connection::{ConnectionWalk, Origin, Outcome, Proxy, walk_connection, walk_connection_with};
pub use discard::DiscardReason;
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
pub use step::{Counted, End, PacketWalk, Step};
pub use topology::{
    Interface, Listener, MacvlanParent, NamespaceId, NetworkNamespace, Route, RouteKind, RouteRule, Survey,
    Topology,
};
pub use walk::Walker;
