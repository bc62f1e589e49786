//! ICMP echo, IPv4 and IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use fairway_lab::Place;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, ipproto, recv, send, socket_with,
    sockopt,
};

/// Echo request and reply of ICMP (RFC 792), and of ICMPv6 (RFC 4443).
const ECHO: (u8, u8) = (8, 0);
const ECHO6: (u8, u8) = (128, 129);
/// A raw socket hears what others from the same place are answered until it is connected: each asks with a number of
/// its own.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// Whether an address answers an echo request from a place within two and a half seconds: the kernel asks for a neighbor
/// that did not answer again after one second.
pub fn ping(place: &Place, target: IpAddr) -> bool {
    ping_within(place, target, Duration::from_millis(2500))
}

/// Whether an address answers an echo request from a place in time.
pub fn ping_within(place: &Place, target: IpAddr, patience: Duration) -> bool {
    place.run_in(|| echoed(target, patience).unwrap_or(false)).unwrap()
}

fn echoed(target: IpAddr, patience: Duration) -> rustix::io::Result<bool> {
    let (family, protocol, (request, reply)) = match target {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP, ECHO),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6, ECHO6),
    };
    let socket: OwnedFd = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol))?;
    connect(&socket, &SocketAddr::new(target, 0))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(Duration::from_millis(50)))?;
    let identifier = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let mut message = [request, 0, 0, 0, identifier[0], identifier[1], 0, 1];
    if target.is_ipv4() {
        // That of ICMPv6 is filled in by the kernel.
        let sum = checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
    }
    send(&socket, &message, SendFlags::empty())?;
    let deadline = Instant::now() + patience;
    let mut buffer = [0; 256];
    while Instant::now() < deadline {
        let Ok((length, _)) = recv(&socket, &mut buffer[..], RecvFlags::empty()) else { continue };
        // IPv4's header is delivered, IPv6's is not.
        let start = if target.is_ipv4() { usize::from(buffer[0] & 0x0f) * 4 } else { 0 };
        let answer = &buffer[start..length];
        if answer.first() == Some(&reply) && answer.get(4..6) == Some(&identifier) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    !((sum & 0xffff) + (sum >> 16)) as u16
}

#[test]
fn only_what_is_there_answers() {
    fairway_lab::run(|lab| {
        let host = lab.host("host").unwrap();
        let wire = lab.lan("wire").unwrap();
        wire.join(&host, &["10.0.0.1/24", "fd00::1/64"]).unwrap();
        for there in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            assert!(ping(&host, there));
        }
        for gone in ["10.0.0.2", "fd00::2", "10.1.1.1"] {
            assert!(!ping(&host, gone.parse().unwrap()));
        }
    });
}
