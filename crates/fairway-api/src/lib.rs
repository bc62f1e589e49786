//! The HTTP API of the daemon, in the format of Docker's Engine API, and its client.
//!
//! [`types`] are the JSON bodies; [`decode`] makes commands of requests, [`encode`] makes responses of a World; both are
//! pure. [`serve`] answers requests on a unix socket through an [`EngineApi`]; [`Client`] sends them, for the command
//! line.

#![forbid(unsafe_code)]
// The crate parses what clients and servers send.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

pub mod client;
pub mod decode;
pub mod encode;
mod engine_api;
pub mod filter;
pub mod image;
pub mod json;
#[cfg(feature = "schema")]
pub mod openapi;
mod server;
pub mod types;

pub use client::{Client, ClientError};
pub use engine_api::{
    About, Applied, EngineApi, ExitListener, Failure, FailureKind, InterfaceUsage, Located,
    NamespaceReference, SandboxFiles, Stopping, Usage,
};
pub use server::{
    API_VERSION, Clients, Limits, MINIMUM_API_VERSION, Requests, fuzz, runtime, serve, serve_metrics,
};
