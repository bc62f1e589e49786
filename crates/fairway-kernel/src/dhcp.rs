//! Sends and receives DHCP frames at an interface, with any hardware address.
//!
//! The interface is the port of a bridge and not the bridge: answers to an address that a sandbox uses already are
//! bridged to the sandbox, and seen at the port alone.

#![warn(clippy::indexing_slicing)]

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::duplicate_address::next_frame;
use crate::system;
use crate::system::filter::only_datagrams_to;
use crate::system::packet::packet_socket;

const CLIENT_PORT: u16 = 68;
/// The longest wait of one call.
const LONGEST: Duration = Duration::from_millis(900);

/// Why DHCP frames cannot be sent or received.
#[derive(Debug, thiserror::Error)]
#[error("cannot send or receive DHCP at the interface with index {interface}: {source}")]
pub struct Error {
    /// The index of the interface.
    interface: u32,
    /// The reason; `ENETDOWN` when it is down.
    source: io::Error,
}

/// A packet socket for DHCP at one interface.
#[derive(Debug)]
pub struct Socket {
    sockets: [OwnedFd; 1],
    interface: u32,
}

impl Socket {
    /// Opens a socket at an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// [`Error`] without `CAP_NET_RAW`, or when there is no such interface.
    pub fn open(interface: u32) -> Result<Self, Error> {
        let opened = packet_socket(interface).and_then(|socket| {
            only_datagrams_to(&socket, CLIENT_PORT)?;
            Ok(Self { sockets: [socket], interface })
        });
        opened.map_err(|source| Error { interface, source })
    }

    /// The interface.
    pub fn interface(&self) -> u32 {
        self.interface
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// [`Error`] when the interface is down or gone.
    pub fn send(&self, frame: &[u8]) -> Result<(), Error> {
        system::send_frame(&self.sockets[0], self.interface, frame)
            .map_err(|errno| Error { interface: self.interface, source: errno.into() })
    }

    /// Receives the next frame; none if none comes until then, or within a second.
    ///
    /// # Errors
    /// [`Error`] when the interface goes down.
    pub fn receive(&self, until: Instant) -> Result<Option<Vec<u8>>, Error> {
        next_frame(&self.sockets, until.min(Instant::now() + LONGEST))
            .map_err(|source| Error { interface: self.interface, source })
    }
}
