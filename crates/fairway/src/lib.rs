//! What the `fairway` program is made of, so that its tests can use it too.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests read the environment"))]

pub mod command;
pub mod daemon;
pub mod demo;
pub mod face;
pub mod install;
pub mod logging;
pub mod notify;
mod processes;
pub mod relay;
