//! The daemon's HTTP face, in the shape of Docker's Engine API, and its client.
//!
//! [`types`] are the JSON texts, [`show`] makes them of a World, [`ask`] makes commands of them;
//! both are pure. [`serve`] answers requests on a unix socket by means of a [`Control`], which the
//! engine is; [`Client`] is the other end, for the command line.

#![forbid(unsafe_code)]

pub mod ask;
pub mod client;
mod control;
pub mod filter;
mod json;
mod server;
pub mod show;
pub mod types;

pub use client::{Client, ClientError};
pub use control::{
    About, Applied, Control, ExitListener, Failure, FailureKind, Located, NamespaceReference, SandboxFiles,
    Stopping,
};
pub use server::{API_VERSION, Limits, MINIMUM_API_VERSION, runtime, serve};
