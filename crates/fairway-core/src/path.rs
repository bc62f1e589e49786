//! The walk of one packet: every hook, chain and rule that it meets, every rewrite, and its end.
//!
//! A [`Scene`] holds network namespaces as values; the [`Walker`] does what the kernel does with a packet in them. It
//! interprets nf_tables' own expressions, so it walks our tables and other people's alike, planned or read from the
//! kernel. What it does not know makes the end [`End::Unknown`], never a guess.

mod advice;
mod capture;
mod conversation;
mod enclosed;
mod evaluate;
mod flow;
mod holdings;
mod line;
mod machine;
mod observed;
mod packet;
mod planned;
mod question;
mod route;
mod step;
#[cfg(test)]
pub(crate) mod tests;
mod walk;

pub use advice::advice;
pub(crate) use advice::{give_back, has_vanished, publish_everywhere};
pub use capture::Capture;
pub use conversation::{Asker, Conversation, Maker, Outcome, Proxy, converse, converse_by};
pub use evaluate::{Effect, Met};
pub use flow::Flow;
pub use holdings::Contents;
pub use line::{Line, Part, changes};
pub use machine::{Interface, Listener, Machine, Route, RouteKind, RouteRule, Scene, Standing, Survey};
pub use observed::{observed, without_ours};
pub use packet::{Packet, Place, Tuple};
pub use planned::{
    add_default, add_interface, bare, planned, planned_element, planned_listeners, planned_outline,
};
pub use question::{Party, Question, QuestionError, Resolved};
pub(crate) use question::{Port, party, resolve, split};
pub use route::{RouteQuestion, Routed};
pub use step::{Counted, End, Path, Step};
pub use walk::Walker;
