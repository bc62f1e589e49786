//! What the `fairway` program is made of, so that its tests can use it too.

pub mod command;
pub mod daemon;
pub mod demo;
pub mod install;
pub mod logging;
pub mod notify;
pub mod relay;
