//! Captures packets at all interfaces of a namespace by packet(7), on arrival and before they leave.

#![warn(clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::system::packet::{Statistics, capture_socket, receive_packet, statistics};

/// Holds some ten thousand unread packets.
const RECEIVE_BUFFER: usize = 16 << 20;
/// The longest packet (`ETH_MAX_MTU`) and its frame.
const LONGEST: usize = 65_535 + 18;
/// Kinds of interfaces (`ARPHRD_*`) whose packets begin with an Ethernet header: Ethernet and loopback.
const ETHERNET: [u16; 2] = [1, 772];
const ETHERNET_HEADER: usize = 14;

/// A captured packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame<'a> {
    /// When, in nanoseconds since 1970.
    pub at: u64,
    /// The index of the interface.
    pub interface: u32,
    /// Whether it leaves.
    pub outgoing: bool,
    /// Whether it begins with an Ethernet header; else with that of IP.
    pub ethernet: bool,
    /// How long it is.
    pub length: usize,
    /// Its bytes, cut to the snapshot length.
    pub bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The packet from its IP header on.
    pub fn packet(&self) -> &'a [u8] {
        self.bytes.get(if self.ethernet { ETHERNET_HEADER } else { 0 }..).unwrap_or_default()
    }
}

/// Captures the IP packets at all interfaces of one namespace, which it keeps alive. Its descriptor is readable when
/// packets wait.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
    buffer: Vec<u8>,
    names: BTreeMap<u32, String>,
}

impl Capture {
    /// Starts a capture in the namespace of the calling thread, of at most `most` bytes of each packet.
    ///
    /// # Errors
    /// EPERM without CAP_NET_RAW.
    pub fn open(most: usize) -> io::Result<Self> {
        let socket = capture_socket(RECEIVE_BUFFER)?;
        Ok(Self { socket, buffer: vec![0; most.min(LONGEST)], names: BTreeMap::new() })
    }

    /// Passes at most `most` captured packets to `take` and returns their number. Does not wait.
    ///
    /// # Errors
    /// The socket cannot be read.
    pub fn drain(&mut self, most: usize, take: &mut dyn FnMut(Frame<'_>)) -> io::Result<usize> {
        for count in 0..most {
            let received = match receive_packet(&self.socket, &mut self.buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(count),
                // An interface went down, which is reported once.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => continue,
                Err(error) => return Err(error),
            };
            take(Frame {
                at: received.at,
                interface: received.interface,
                outgoing: received.kind == libc::PACKET_OUTGOING,
                ethernet: ETHERNET.contains(&received.hardware),
                length: received.length,
                bytes: self.buffer.get(..received.length).unwrap_or(&self.buffer),
            });
        }
        Ok(most)
    }

    /// How many packets were dropped since the last call, since the buffer was full.
    ///
    /// # Errors
    /// getsockopt(2) failed.
    pub fn lost(&self) -> io::Result<u32> {
        statistics(&self.socket).map(|Statistics { dropped, .. }| dropped)
    }

    /// The name of an interface of the namespace.
    pub fn name(&mut self, interface: u32) -> String {
        if let Some(name) = self.names.get(&interface) {
            return name.clone();
        }
        let name = rustix::net::netdevice::index_to_name(&self.socket, interface);
        match name {
            Ok(name) => {
                self.names.insert(interface, name.clone());
                name
            }
            Err(_) => format!("interface {interface}"),
        }
    }

    /// Clears the cached names of interfaces, which may have changed.
    pub fn forget_names(&mut self) {
        self.names.clear();
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests;
