//! Receives and sends datagrams with the local address that the client used (ip(7) IP_PKTINFO, ipv6(7)
//! IPV6_RECVPKTINFO).

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, recvmsg,
    sendmsg, setsockopt, sockopt,
};
use rustix::io::Errno;
use rustix::net::AddressFamily;

/// The local address that a client used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The address, of the socket's family.
    pub address: IpAddr,
    /// The interface, which only link-local addresses need; 0 otherwise.
    interface: u32,
}

/// A received datagram.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    /// Its length in bytes.
    pub length: usize,
    /// The sender.
    pub client: SocketAddr,
    /// The local address that it was sent to.
    pub asked: Asked,
}

fn kernel(errno: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}

/// A buffer for a datagram's ancillary data.
pub(crate) fn space() -> Vec<u8> {
    nix::cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo)
}

/// Enables IP_PKTINFO or IPV6_RECVPKTINFO on a socket.
pub(crate) fn enable_packet_info(socket: &impl AsFd) -> Result<(), Errno> {
    match rustix::net::sockopt::socket_domain(socket)? {
        AddressFamily::INET => setsockopt(socket, sockopt::Ipv4PacketInfo, &true),
        _ => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true),
    }
    .map_err(kernel)
}

/// Receives one datagram; `None` for one that cannot be answered.
pub(crate) fn receive(
    socket: &impl AsFd,
    buffer: &mut [u8],
    ancillary: &mut [u8],
) -> Result<Option<Received>, Errno> {
    let mut parts = [IoSliceMut::new(buffer)];
    let raw = socket.as_fd().as_raw_fd();
    let received =
        recvmsg::<SockaddrStorage>(raw, &mut parts, Some(ancillary), MsgFlags::empty()).map_err(kernel)?;
    let mut asked = None;
    for message in received.cmsgs().map_err(kernel)? {
        match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                // The address to answer from; it differs from the destination for broadcasts.
                let address = Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr));
                asked = Some(Asked { address: address.into(), interface: 0 });
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                let interface = if address.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
                asked = Some(Asked { address: address.into(), interface });
            }
            _ => {}
        }
    }
    let client = received.address.and_then(|address| {
        let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::V4(SocketAddrV4::new(v4.ip(), v4.port())));
        v4.or_else(|| {
            let v6 = address.as_sockaddr_in6()?;
            Some(SocketAddr::V6(SocketAddrV6::new(v6.ip(), v6.port(), 0, v6.scope_id())))
        })
    });
    let length = received.bytes;
    Ok(client.zip(asked).map(|(client, asked)| Received { length, client, asked }))
}

/// Sends a datagram to `client` from the local address that it used.
pub(crate) fn send(
    socket: &impl AsFd,
    datagram: &[u8],
    client: SocketAddr,
    asked: Asked,
) -> Result<(), Errno> {
    let parts = [IoSlice::new(datagram)];
    let raw = socket.as_fd().as_raw_fd();
    match (client, asked.address) {
        (SocketAddr::V4(client), IpAddr::V4(address)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from(address).to_be() },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            let control = [ControlMessage::Ipv4PacketInfo(&info)];
            sendmsg(raw, &parts, &control, MsgFlags::MSG_NOSIGNAL, Some(&SockaddrIn::from(client)))
        }
        (SocketAddr::V6(client), IpAddr::V6(address)) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: address.octets() },
                ipi6_ifindex: asked.interface,
            };
            let control = [ControlMessage::Ipv6PacketInfo(&info)];
            sendmsg(raw, &parts, &control, MsgFlags::MSG_NOSIGNAL, Some(&SockaddrIn6::from(client)))
        }
        _ => return Err(Errno::AFNOSUPPORT),
    }
    .map(|_| ())
    .map_err(kernel)
}
