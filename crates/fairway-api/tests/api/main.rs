//! The API from the outside: golden texts, and server and client over a socket.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod check;
mod clients;
mod engine;
mod golden;
mod limits;
mod openapi;
mod server;
mod small_world;
mod states;
mod stopped_server;
mod warnings;
