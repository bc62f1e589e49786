//! Announces the MAC of an address: gratuitous ARP and unsolicited neighbor advertisements.

#![warn(clippy::indexing_slicing)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use fairway_model::MacAddress;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use thiserror::Error;

use crate::system;

/// Why an address could not be announced.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// No packet socket could be made.
    #[error("cannot open a packet socket: {0}")]
    Open(Errno),
    /// The frame could not be sent.
    #[error("cannot announce {address} on the interface with index {interface}: {errno}")]
    Send {
        /// The address.
        address: IpAddr,
        /// The index of the interface.
        interface: u32,
        /// The reason; `ENETDOWN` when it is down, `ENXIO` when it is gone.
        errno: Errno,
    },
}

const BROADCAST: [u8; 6] = [0xff; 6];
const ETHERNET_ARP: [u8; 2] = [0x08, 0x06];
const ETHERNET_IPV6: [u8; 2] = [0x86, 0xdd];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// RFC 2464, section 7: 33:33 and the last four bytes of the group.
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ICMPV6: u8 = 58;

/// Sends announcements out of the interfaces of one namespace.
///
/// Keep one for long: closing a packet socket waits for RCU (13 ms and more), and an open one keeps its namespace
/// alive. So sandboxes' addresses are announced from the host, out of their bridge, which floods them to all its
/// ports; only the host's own entries are not corrected by that ([`crate::route::Links::activate_port`] does).
#[derive(Debug)]
pub struct Announcer {
    socket: OwnedFd,
}

impl Announcer {
    /// Opens a packet socket in the namespace of the calling thread.
    ///
    /// # Errors
    /// [`Error::Open`] without `CAP_NET_RAW`.
    pub fn open() -> Result<Self, Error> {
        // With protocol 0 it receives nothing.
        rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)
            .map(|socket| Self { socket })
            .map_err(Error::Open)
    }

    /// Announces on an interface that each address is at `mac`.
    ///
    /// # Errors
    /// [`Error::Send`].
    pub fn announce(&self, interface: u32, mac: MacAddress, addresses: &[IpAddr]) -> Result<(), Error> {
        for &address in addresses {
            let sent = match address {
                IpAddr::V4(ipv4) => system::send_frame(&self.socket, interface, &gratuitous_arp(mac, ipv4)),
                IpAddr::V6(ipv6) => {
                    system::send_frame(&self.socket, interface, &neighbor_advertisement(mac, ipv6))
                }
            };
            sent.map_err(|errno| Error::Send { address, interface, errno })?;
        }
        Ok(())
    }
}

/// An ARP request for one's own address (RFC 5227, section 3: all hosts process requests), in an Ethernet frame (RFC
/// 826).
pub fn gratuitous_arp(mac: MacAddress, address: Ipv4Addr) -> [u8; 42] {
    let mut frame = [0; 42];
    frame[..6].copy_from_slice(&BROADCAST);
    frame[6..12].copy_from_slice(&mac.0);
    frame[12..14].copy_from_slice(&ETHERNET_ARP);
    // Ethernet, IPv4, address lengths 6 and 4, request.
    frame[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    frame[22..28].copy_from_slice(&mac.0);
    frame[28..32].copy_from_slice(&address.octets());
    // The target's hardware address is unknown in a request: zeroes.
    frame[38..42].copy_from_slice(&address.octets());
    frame
}

/// An unsolicited neighbor advertisement to all nodes, which overrides their entries (RFC 4861, sections 4.4 and
/// 7.2.6).
pub fn neighbor_advertisement(mac: MacAddress, address: Ipv6Addr) -> [u8; 86] {
    let mut frame = [0; 86];
    frame[..6].copy_from_slice(&ALL_NODES_MAC);
    frame[6..12].copy_from_slice(&mac.0);
    frame[12..14].copy_from_slice(&ETHERNET_IPV6);
    frame[14] = 6 << 4;
    frame[19] = 32;
    frame[20] = ICMPV6;
    // The hop limit proves that it comes from this link.
    frame[21] = 255;
    frame[22..38].copy_from_slice(&address.octets());
    frame[38..54].copy_from_slice(&ALL_NODES.octets());
    // Type 136, code 0; flags: not a router, not solicited, override.
    frame[54] = 136;
    frame[58] = 0x20;
    frame[62..78].copy_from_slice(&address.octets());
    // Option: target link-layer address, of one unit of eight bytes.
    frame[78..80].copy_from_slice(&[2, 1]);
    frame[80..86].copy_from_slice(&mac.0);
    let checksum = icmpv6_checksum(&frame);
    frame[56..58].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// The checksum of RFC 1071 over the pseudo-header of RFC 8200, section 8.1, and the message, in a frame whose
/// message has an even length.
pub(crate) fn icmpv6_checksum(frame: &[u8]) -> u16 {
    let words = frame
        .get(22..)
        .unwrap_or_default()
        .as_chunks()
        .0
        .iter()
        .map(|pair| u32::from(u16::from_be_bytes(*pair)));
    let length = frame.len() as u32 - 54;
    let mut sum: u32 = words.sum::<u32>() + length + u32::from(ICMPV6);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests;
