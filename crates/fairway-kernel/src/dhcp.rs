//! Hearing and telling DHCP servers at an interface, with whatever hardware address asks.
//!
//! It is done at the port of a bridge and not at the bridge: answers to an address that a sandbox uses already go by
//! the bridge to the sandbox, and are heard at the port alone.

#![warn(clippy::indexing_slicing)]

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::duplicate_address::next_frame;
use crate::system;
use crate::system::filter::only_datagrams_to;
use crate::system::packet::packet_socket;

const CLIENT_PORT: u16 = 68;
/// The longest time that is waited at once.
const LONGEST: Duration = Duration::from_millis(900);

/// Why a DHCP server cannot be asked.
#[derive(Debug, thiserror::Error)]
#[error("cannot ask for an address at the interface with index {interface}: {source}")]
pub struct Error {
    /// Where.
    interface: u32,
    /// The reason; `ENETDOWN` when it is down.
    source: io::Error,
}

/// Where servers are heard and told.
#[derive(Debug)]
pub struct Socket {
    sockets: [OwnedFd; 1],
    interface: u32,
}

impl Socket {
    /// At an interface of the calling thread's namespace, from now on.
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

    /// The next frame that is heard; none if there is none until then, or for a while.
    ///
    /// # Errors
    /// [`Error`] when the interface goes down.
    pub fn receive(&self, until: Instant) -> Result<Option<Vec<u8>>, Error> {
        next_frame(&self.sockets, until.min(Instant::now() + LONGEST))
            .map_err(|source| Error { interface: self.interface, source })
    }
}
