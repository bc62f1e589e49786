//! Queries about packets for `explain`, captures, and advice for packets that are not answered.

mod advice;
mod capture;
mod ends;
mod engine_advice;
mod query;
mod refusing_route;

pub use advice::advice;
pub(crate) use advice::{give_back, has_vanished, publish_everywhere};
pub use capture::{Capture, CapturePlaces, captures};
pub use ends::{ByTopology, Ends, Peer};
pub use engine_advice::{EngineWords, KnownContainer, KnownNetwork, KnownPort, engine_advice};
pub use query::{
    OUTSIDE, Port, Query, QueryError, Resolved, neighbor_of, port_of, published_at, shown_name, split, zoned,
};
pub(crate) use query::{is_lan_link, peer, resolve};
