//! Duplicate address detection on a LAN: ARP probes (RFC 5227, section 2.1.1) and IPv6 DAD (RFC 4862, section 5.4).
//!
//! Probes are sent at the bridge with the host's own MAC address, so that answers reach the host whatever its network
//! card filters. The RFCs' pauses of seconds are for ports that have just come up; the host's ports are in use, so
//! shorter pauses do.

#![warn(clippy::indexing_slicing)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use fairway_model::MacAddress;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::RecvFlags;

use crate::announce::{gratuitous_arp, icmpv6_checksum};
use crate::system;
use crate::system::packet::packet_socket_for;

/// The number of probes (`PROBE_NUM` of RFC 5227), and the pause after each.
const TIMES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(150);

/// The longest Ethernet frame, without VLAN tag.
const LONGEST_FRAME: usize = 1514;
const ETHERNET_ARP: u16 = 0x0806;
const ETHERNET_IPV6: u16 = 0x86dd;
const ICMPV6: u8 = 58;
/// Neighbor solicitation and advertisement, RFC 4861 sections 4.3 and 4.4.
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// The holder of an address on the LAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The address.
    pub address: IpAddr,
    /// The MAC address of its holder, or of a host that probes for it.
    pub mac: MacAddress,
}

/// Why a LAN cannot be probed.
#[derive(Debug, thiserror::Error)]
#[error("cannot probe for duplicate addresses at the interface with index {interface}: {source}")]
pub struct Error {
    /// The index of the interface.
    interface: u32,
    /// The reason; `ENETDOWN` when it is down.
    source: io::Error,
}

/// Probes the LAN of an interface for these addresses, and returns the first holder that answers. It takes half a
/// second if all addresses are free. `own` is the interface's MAC address.
///
/// # Errors
/// [`Error`] without `CAP_NET_RAW`, or when the interface is down or gone.
pub fn probe(interface: u32, own: MacAddress, addresses: &[IpAddr]) -> Result<Option<Holder>, Error> {
    search(interface, own, addresses).map_err(|source| Error { interface, source })
}

fn search(interface: u32, own: MacAddress, addresses: &[IpAddr]) -> io::Result<Option<Holder>> {
    let kinds = [(ETHERNET_ARP, true), (ETHERNET_IPV6, false)];
    let needed = kinds.into_iter().filter(|(_, ipv4)| addresses.iter().any(|it| it.is_ipv4() == *ipv4));
    let sockets: Vec<OwnedFd> =
        needed.map(|(kind, _)| packet_socket_for(interface, kind)).collect::<io::Result<_>>()?;
    for _ in 0..TIMES {
        for address in addresses {
            let Some(socket) = sockets.first() else { return Ok(None) };
            match address {
                IpAddr::V4(address) => system::send_frame(socket, interface, &arp_probe(own, *address))?,
                IpAddr::V6(address) => system::send_frame(socket, interface, &solicitation(own, *address))?,
            }
        }
        let until = Instant::now() + PAUSE;
        while let Some(frame) = next_frame(&sockets, until)? {
            if let Some(holder) = holder(&frame, own).filter(|it| addresses.contains(&it.address)) {
                return Ok(Some(holder));
            }
        }
    }
    Ok(None)
}

/// Receives the next frame at any of the sockets; none after `until`.
pub(crate) fn next_frame(sockets: &[OwnedFd], until: Instant) -> io::Result<Option<Vec<u8>>> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let mut descriptors: Vec<_> =
            sockets.iter().map(|it| PollFd::from_borrowed_fd(it.as_fd(), PollFlags::IN)).collect();
        // A time that does not fit is practically forever.
        let patience = Timespec::try_from(left).ok();
        match poll(&mut descriptors, patience.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready = descriptors.iter().position(|it| !it.revents().is_empty());
        if let Some(frame) = ready.and_then(|at| receive(sockets.get(at)?)) {
            return Ok(Some(frame));
        }
    }
}

/// Receives a waiting frame at a packet socket.
pub(crate) fn receive(socket: &OwnedFd) -> Option<Vec<u8>> {
    let mut buffer = [0; LONGEST_FRAME];
    let (length, _) = rustix::net::recv(socket, &mut buffer[..], RecvFlags::DONTWAIT).ok()?;
    buffer.get(..length).map(<[u8]>::to_vec)
}

/// An ARP probe: a request with sender address 0.0.0.0.
pub fn arp_probe(own: MacAddress, address: Ipv4Addr) -> [u8; 42] {
    let mut frame = gratuitous_arp(own, address);
    frame[28..32].copy_from_slice(&[0; 4]);
    frame
}

/// A DAD neighbor solicitation: from the unspecified address to the solicited-node group.
fn solicitation(own: MacAddress, address: Ipv6Addr) -> [u8; 78] {
    let [.., a, b, c] = address.octets();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    let mut frame = [0; 78];
    frame[..6].copy_from_slice(&[0x33, 0x33, 0xff, a, b, c]);
    frame[6..12].copy_from_slice(&own.0);
    frame[12..14].copy_from_slice(&ETHERNET_IPV6.to_be_bytes());
    frame[14] = 6 << 4;
    frame[19] = 24;
    frame[20] = ICMPV6;
    // The hop limit proves that it comes from this link.
    frame[21] = 255;
    frame[38..54].copy_from_slice(&group.octets());
    frame[54] = SOLICITATION;
    frame[62..78].copy_from_slice(&address.octets());
    let checksum = icmpv6_checksum(&frame);
    frame[56..58].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// The holder of an address according to a frame: its sender if it sends ARP from the address, probes for it,
/// advertises it or solicits it for DAD. None if the sender is `own`.
pub fn holder(frame: &[u8], own: MacAddress) -> Option<Holder> {
    let kind = u16::from_be_bytes([*frame.get(12)?, *frame.get(13)?]);
    let found = match kind {
        ETHERNET_ARP => arp_holder(frame.get(14..42)?),
        ETHERNET_IPV6 => neighbour(frame),
        _ => None,
    };
    found.filter(|it| it.mac != own)
}

fn arp_holder(packet: &[u8]) -> Option<Holder> {
    let address = |at: usize| packet.get(at..)?.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets));
    let mac = MacAddress(packet.get(8..14)?.try_into().ok()?);
    let (sender, target) = (address(14)?, address(24)?);
    // Ethernet and IPv4, a request or a reply (RFC 826).
    let is_known = matches!(packet, [0, 1, 8, 0, 6, 4, 0, 1 | 2, ..]);
    let address = if sender.is_unspecified() { target } else { sender };
    (is_known && !address.is_unspecified()).then_some(Holder { address: address.into(), mac })
}

fn neighbour(frame: &[u8]) -> Option<Holder> {
    if frame.get(20) != Some(&ICMPV6) || frame.get(21) != Some(&255) {
        return None;
    }
    let source: [u8; 16] = frame.get(22..38)?.try_into().ok()?;
    let target: [u8; 16] = frame.get(62..78)?.try_into().ok()?;
    let kind = *frame.get(54)?;
    let is_tried = kind == SOLICITATION && source == [0; 16];
    let mac = MacAddress(frame.get(6..12)?.try_into().ok()?);
    (is_tried || kind == ADVERTISEMENT).then_some(Holder { address: Ipv6Addr::from(target).into(), mac })
}

/// Receives all ARP frames of an interface.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
}

impl Listener {
    /// Opens a socket at an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(interface: u32) -> Result<Self, Error> {
        let socket = packet_socket_for(interface, ETHERNET_ARP);
        socket.map(|socket| Self { socket }).map_err(|source| Error { interface, source })
    }

    /// The holders of addresses by the received frames, oldest first, without `own`.
    pub fn heard(&self, own: MacAddress) -> Vec<Holder> {
        std::iter::from_fn(|| receive(&self.socket)).filter_map(|frame| holder(&frame, own)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const OTHER: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

    #[test]
    fn frames_show_the_holder_of_an_address() {
        let (ipv4, ipv6): (Ipv4Addr, Ipv6Addr) = ("10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap());
        let frames: [Vec<u8>; 4] = [
            arp_probe(OTHER, ipv4).into(),
            gratuitous_arp(OTHER, ipv4).into(),
            solicitation(OTHER, ipv6).into(),
            crate::announce::neighbor_advertisement(OTHER, ipv6).into(),
        ];
        for (frame, address) in frames.iter().zip([ipv4.into(), ipv4.into(), ipv6.into(), ipv6.into()]) {
            assert_eq!(holder(frame, OWN), Some(Holder { address, mac: OTHER }));
            assert_eq!(holder(frame, OTHER), None, "one's own");
            (0..frame.len().min(42)).for_each(|length| assert_eq!(holder(&frame[..length], OWN), None));
        }
        let mut asked_by_a_neighbour = solicitation(OTHER, ipv6);
        asked_by_a_neighbour[37] = 9;
        assert_eq!(holder(&asked_by_a_neighbour, OWN), None, "who asks does not have it");
        let mut far = crate::announce::neighbor_advertisement(OTHER, ipv6);
        far[21] = 64;
        assert_eq!(holder(&far, OWN), None, "it came through a router");
    }
}
