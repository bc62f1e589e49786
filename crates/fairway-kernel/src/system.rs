//! System calls without a safe form in `rustix`: the one place with `unsafe` code.

#![allow(unsafe_code)]

pub mod filter;
pub mod inherit;
pub mod packet;
pub mod signal;
pub mod spawn;
pub mod xtables;

use std::mem::{size_of, size_of_val};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::thread::UnshareFlags;

/// Options of netlink sockets (`<linux/netlink.h>`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetlinkOption {
    /// Refusals have a text and an offset (`NETLINK_EXT_ACK`).
    ExtendedAck,
    /// Answers do not carry a copy of the request (`NETLINK_CAP_ACK`).
    CapAck,
    /// Headers of dump requests are checked and used as filters (`NETLINK_GET_STRICT_CHK`).
    StrictCheck,
    /// The socket receives notifications of all namespaces that have an id here (`NETLINK_LISTEN_ALL_NSID`).
    ListenAllNamespaces,
    /// An overflow is not reported (`NETLINK_NO_ENOBUFS`).
    NoOverflowReport,
}

/// Moves the calling thread into new namespaces.
///
/// # Errors
/// As unshare(2); `EINVAL` for `CLONE_FILES`, which would separate the thread from the process's descriptors.
pub fn unshare(flags: UnshareFlags) -> Result<(), Errno> {
    if flags.contains(UnshareFlags::FILES) {
        return Err(Errno::INVAL);
    }
    // SAFETY: the one hazard of unshare is a descriptor table of one's own (CLONE_FILES), under
    // which a descriptor that another thread sent means something else; it is refused above.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Enables an option of a netlink socket.
///
/// # Errors
/// As setsockopt(2); `ENOPROTOOPT` where the kernel does not know the option, `EPERM` for
/// [`NetlinkOption::ListenAllNamespaces`] without `CAP_NET_BROADCAST`.
pub fn enable_netlink_option(socket: impl AsFd, option: NetlinkOption) -> Result<(), Errno> {
    let name = match option {
        NetlinkOption::ExtendedAck => libc::NETLINK_EXT_ACK,
        NetlinkOption::CapAck => libc::NETLINK_CAP_ACK,
        NetlinkOption::StrictCheck => libc::NETLINK_GET_STRICT_CHK,
        NetlinkOption::ListenAllNamespaces => libc::NETLINK_LISTEN_ALL_NSID,
        NetlinkOption::NoOverflowReport => libc::NETLINK_NO_ENOBUFS,
    };
    set_socket_option(socket, libc::SOL_NETLINK, name, 1)
}

/// Joins a netlink socket to a multicast group, by its number (not its bit).
///
/// # Errors
/// As setsockopt(2).
pub fn join_netlink_group(socket: impl AsFd, group: u32) -> Result<(), Errno> {
    let group = i32::try_from(group).map_err(|_| Errno::INVAL)?;
    set_socket_option(socket, libc::SOL_NETLINK, libc::NETLINK_ADD_MEMBERSHIP, group)
}

fn set_socket_option(socket: impl AsFd, level: i32, name: i32, value: i32) -> Result<(), Errno> {
    // SAFETY: the pointer leads to a live i32 and the length is its length; the kernel only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Opens the network namespace that a socket belongs to.
///
/// # Errors
/// As ioctl(2); `EPERM` without `CAP_NET_ADMIN` over that namespace, `ENOTTY` for other files.
pub fn socket_namespace(socket: impl AsFd) -> Result<OwnedFd, Errno> {
    // <linux/sockios.h>
    const SIOCGSKNS: libc::Ioctl = 0x894C;
    // SAFETY: the request takes no argument that the kernel would read or write.
    let descriptor = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SIOCGSKNS) };
    if descriptor < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel has just returned this new descriptor, and no other code owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Whether a file of nsfs, which holds namespaces, is a network namespace.
///
/// # Errors
/// As ioctl(2); `ENOTTY` for other files.
pub fn is_network_namespace(file: impl AsFd) -> Result<bool, Errno> {
    // <linux/nsfs.h>
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: the request takes no argument that the kernel would read or write.
    let kind = unsafe { libc::ioctl(file.as_fd().as_raw_fd(), NS_GET_NSTYPE) };
    if kind < 0 { Err(last_errno()) } else { Ok(kind == libc::CLONE_NEWNET) }
}

/// Opens the parent of a pid or user namespace.
///
/// # Errors
/// As ioctl(2); `EPERM` when it is above the caller's namespace.
pub fn parent_namespace(namespace: impl AsFd) -> Result<OwnedFd, Errno> {
    // <linux/nsfs.h>
    const NS_GET_PARENT: libc::Ioctl = 0xb702;
    // SAFETY: the request takes no argument that the kernel would read or write.
    let descriptor = unsafe { libc::ioctl(namespace.as_fd().as_raw_fd(), NS_GET_PARENT) };
    if descriptor < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel has just returned this new descriptor, and no other code owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// A pidfd of the peer of a unix socket; none for a peer without a pid in the pid namespace of this process.
///
/// # Errors
/// As getsockopt(2); `ESRCH` or `EINVAL` when the process has ended.
pub fn peer_process(socket: impl AsFd) -> Result<Option<OwnedFd>, Errno> {
    let mut descriptor: i32 = -1;
    // SAFETY: each bit pattern is a valid i32.
    match unsafe { socket_option(&socket, libc::SO_PEERPIDFD, &mut descriptor) } {
        // SAFETY: the kernel has just returned this new descriptor, and no other code owns it.
        Ok(()) => return Ok(Some(unsafe { OwnedFd::from_raw_fd(descriptor) })),
        // Before Linux 6.5.
        Err(Errno::NOPROTOOPT) => {}
        Err(errno) => return Err(errno),
    }
    match peer_credentials(socket)? {
        (Some(pid), _) => pidfd_open(pid, PidfdFlags::empty()).map(Some),
        (None, _) => Ok(None),
    }
}

/// The process and the user id of the peer of a unix socket; no process if it has no pid in the pid namespace of this
/// process.
///
/// # Errors
/// As getsockopt(2).
pub fn peer_credentials(socket: impl AsFd) -> Result<(Option<Pid>, u32), Errno> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    // SAFETY: each bit pattern is a valid `ucred`, which is three integers.
    unsafe { socket_option(&socket, libc::SO_PEERCRED, &mut credentials) }?;
    Ok((Pid::from_raw(credentials.pid), credentials.uid))
}

/// Reads an option of level `SOL_SOCKET`.
///
/// # Safety
/// Each pattern of bits has to be a valid `T`.
unsafe fn socket_option<T>(socket: impl AsFd, name: i32, value: &mut T) -> Result<(), Errno> {
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointers lead to a live value and its length, and the caller guarantees that each bit pattern is
    // valid.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            std::ptr::from_mut(value).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Sends a whole Ethernet frame, its header included, out of an interface.
///
/// `socket` is of family `AF_PACKET` and type `SOCK_RAW`; see packet(7).
///
/// # Errors
/// As sendto(2): `ENXIO` when no interface has the index, `ENETDOWN` when it is down.
pub fn send_frame(socket: impl AsFd, interface: u32, frame: &[u8]) -> Result<(), Errno> {
    // SAFETY: all-zero bytes are a valid sockaddr_ll, which is integers and an array of them.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = i32::try_from(interface).map_err(|_| Errno::NXIO)?;
    if let Some(kind) = frame.get(12..14) {
        address.sll_protocol = u16::from_ne_bytes([kind[0], kind[1]]);
    }
    // SAFETY: both pointers lead to live memory of the length given; the kernel only reads.
    let sent = unsafe {
        libc::sendto(
            socket.as_fd().as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            libc::MSG_DONTWAIT,
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    if sent >= 0 { Ok(()) } else { Err(last_errno()) }
}

/// Returns the memory that the allocator holds and nothing uses to the system (malloc_trim(3)); other allocators than
/// that of the GNU C library do it by themselves.
pub fn release_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes no pointer, and may be called by any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_table_of_its_own_is_refused() {
        assert_eq!(unshare(UnshareFlags::FILES | UnshareFlags::NEWNET), Err(Errno::INVAL));
    }

    #[test]
    fn options_are_refused_by_other_sockets() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(enable_netlink_option(&one, NetlinkOption::ExtendedAck).is_err());
        assert!(join_netlink_group(&one, 1).is_err());
    }
}
