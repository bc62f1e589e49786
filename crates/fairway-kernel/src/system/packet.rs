//! Packet sockets: whole frames, sent and received at one interface (packet(7)).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// A packet socket bound to one interface of the calling thread's network namespace. It sends whole Ethernet
/// frames as they are and receives every frame that arrives at or leaves the interface from the moment of this
/// call.
///
/// # Errors
/// EPERM without CAP_NET_RAW, ENODEV for an interface that does not exist, ENETDOWN on sending when it is down.
pub fn packet_socket(interface_index: u32) -> io::Result<OwnedFd> {
    packet_socket_for(interface_index, libc::ETH_P_ALL as u16)
}

/// The same, that receives only frames of one EtherType, and none that leave.
///
/// # Errors
/// As [`packet_socket`].
pub fn packet_socket_for(interface_index: u32, ether_type: u16) -> io::Result<OwnedFd> {
    // With protocol 0 the socket receives nothing before it is bound, so nothing of other interfaces.
    let socket =
        rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let interface = i32::try_from(interface_index).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))?;
    // SAFETY: sockaddr_ll is plain data for which all zeroes is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ether_type.to_be();
    address.sll_ifindex = interface;
    // SAFETY: the pointer and the length describe `address`, which lives across the call.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            std::mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    if bound == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}
