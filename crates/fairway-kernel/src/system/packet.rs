//! Packet sockets: whole frames, sent and received at one interface (packet(7)).

#![warn(clippy::indexing_slicing)]

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

/// A packet socket that receives only incoming frames of one EtherType.
///
/// # Errors
/// As [`packet_socket`].
pub fn packet_socket_for(interface_index: u32, ether_type: u16) -> io::Result<OwnedFd> {
    // With protocol 0 the socket receives nothing before it is bound, so nothing of other interfaces.
    let socket =
        rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    bind(&socket, interface_index, ether_type)?;
    Ok(socket)
}

/// Binds a packet socket; to index 0 for all interfaces.
fn bind(socket: &OwnedFd, interface_index: u32, ether_type: u16) -> io::Result<()> {
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
    if bound == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A packet received by a socket of [`capture_socket`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Its time in nanoseconds since 1970.
    pub at: u64,
    /// Its length; the buffer may hold less of it.
    pub length: usize,
    /// The index of its interface.
    pub interface: u32,
    /// Its packet type (`PACKET_HOST`, `PACKET_OUTGOING`, ...).
    pub kind: u8,
    /// The hardware type of the interface (`ARPHRD_*`).
    pub hardware: u16,
}

/// Counters of a packet socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// All packets.
    pub seen: u32,
    /// Packets dropped since the buffer was full.
    pub dropped: u32,
}

/// A packet socket that receives IP packets at all interfaces of the calling thread's network namespace with their
/// time, with a receive buffer of this size in bytes.
///
/// # Errors
/// EPERM without CAP_NET_RAW.
pub fn capture_socket(receive_buffer: usize) -> io::Result<OwnedFd> {
    // With protocol 0 the socket receives nothing before it is bound.
    let socket =
        rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    super::filter::only_ip(&socket)?;
    super::set_socket_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, receive_buffer)
        .or_else(|_| rustix::net::sockopt::set_socket_recv_buffer_size(&socket, receive_buffer))?;
    bind(&socket, 0, libc::ETH_P_ALL as u16)?;
    Ok(socket)
}

/// Receives a packet at such a socket. Does not wait.
///
/// # Errors
/// As recvmsg(2); `EAGAIN` when there is none.
pub fn receive_packet(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Received> {
    // SAFETY: sockaddr_ll is plain data for which all zeroes is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // Aligned as headers of control messages have to be, and more than the one of a time takes.
    let mut control = [0u64; 8];
    // SAFETY: msghdr is plain data for which all zeroes is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw mut address).cast();
    message.msg_namelen = std::mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = std::mem::size_of_val(&control) as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    // SAFETY: all pointers in `message` lead to live memory of the given length.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    let mut at = 0;
    // SAFETY: the kernel has filled `message` with whole control messages, among which these macros walk.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !header.is_null() {
        // SAFETY: the pointer is not null, so it leads to a header within `control`.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if (level, kind) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
            // SAFETY: such a control message holds a timespec, which may stand at any address.
            let time: libc::timespec =
                unsafe { libc::CMSG_DATA(header).cast::<libc::timespec>().read_unaligned() };
            let (seconds, rest) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
            at = seconds.unwrap_or_default() * 1_000_000_000 + rest.unwrap_or_default();
        }
        // SAFETY: as of the first.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    Ok(Received {
        at,
        length,
        interface: u32::try_from(address.sll_ifindex).unwrap_or_default(),
        kind: address.sll_pkttype,
        hardware: address.sll_hatype,
    })
}

/// The counters of a packet socket since the last call.
///
/// # Errors
/// As getsockopt(2).
pub fn statistics(socket: &OwnedFd) -> io::Result<Statistics> {
    // struct tpacket_stats of <linux/if_packet.h>.
    let mut counts = [0u32; 2];
    let mut length = std::mem::size_of_val(&counts) as libc::socklen_t;
    // SAFETY: the pointers lead to live memory, and `length` says how much of it may be written.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            counts.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let [seen, dropped] = counts;
    if result == 0 { Ok(Statistics { seen, dropped }) } else { Err(io::Error::last_os_error()) }
}
