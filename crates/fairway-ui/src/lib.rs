//! The page of `fairway ui`: a server on loopback or a unix socket, and the files of the page.
//!
//! The page only looks: no request changes anything. What it shows comes from a [`Source`]. Requests are admitted by
//! their host, their origin and a token, see [`Guard`].

#![forbid(unsafe_code)]

mod asset;
mod changes;
mod content;
mod guard;
mod reply;
mod route;
mod server;
mod source;
mod token;

pub use content::{Answer, Branch};
pub use getrandom::Error as RandomError;
pub use guard::{Guard, InvalidUrl};
pub use server::{Listener, runtime, serve};
pub use source::{Failure, FailureKind, Source};
pub use token::Token;
