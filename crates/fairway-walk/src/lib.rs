//! The walk of one packet: every hook, chain and rule that it meets, every rewrite, and its end.
//!
//! A [`Scene`] holds network namespaces as values; the [`Walker`] does what the kernel does with a packet in them. It
//! interprets nf_tables' own expressions, so it walks our tables and other people's alike, planned or read from the
//! kernel. What it does not know makes the end [`End::Unknown`], never a guess.

#![forbid(unsafe_code)]

mod bare;
mod conversation;
mod evaluate;
mod flow;
mod holdings;
mod line;
mod machine;
mod packet;
mod route;
mod step;
mod survey;
mod walk;

pub use bare::{add_default, add_interface, bare};
pub use conversation::{Asker, Conversation, Maker, Outcome, Proxy, converse, converse_by};
pub use evaluate::{Effect, Met};
pub use flow::Flow;
pub use holdings::Contents;
pub use line::{Line, Part, changes};
pub use machine::{Interface, Listener, Machine, Route, RouteKind, RouteRule, Scene, Standing, Survey};
pub use packet::{Packet, Place, Tuple};
pub use route::{RouteQuestion, Routed, is_link_local};
pub use step::{Counted, End, Path, Step};
pub use walk::Walker;
