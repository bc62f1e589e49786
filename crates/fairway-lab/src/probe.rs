//! Traffic: servers that report the client they saw, clients that report their outcome, and long transfers.

mod client;
mod datagram;
mod outcome;
mod server;
mod socket;
mod transfer;

pub use client::{Question, ask, ask_datagram};
pub use datagram::DatagramFlow;
pub use outcome::{Outcome, Reply};
pub use server::{Server, serve_datagrams, serve_echo, serve_tcp};

pub use transfer::{Fault, Transfer, TransferReport};

use std::net::SocketAddr;

use crate::error::LabError;

pub(crate) fn socket_address(text: &str) -> Result<SocketAddr, LabError> {
    text.parse().map_err(|_| LabError::Address {
        text: text.to_owned(),
        wanted: "an address and a port",
        example: "10.10.50.99:80 or [fd00::2]:80",
    })
}
