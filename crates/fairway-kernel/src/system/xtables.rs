//! Reads the size of iptables-legacy tables by `getsockopt`.

use std::mem::size_of;
use std::os::fd::AsRawFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};

/// `struct ipt_getinfo`, `<linux/netfilter_ipv4/ip_tables.h>`; that of IPv6 is the same.
#[repr(C)]
struct Info {
    name: [u8; 32],
    valid_hooks: u32,
    hook_entry: [u32; 5],
    underflow: [u32; 5],
    entries: u32,
    size: u32,
}

/// `IPT_SO_GET_INFO`, and `IP6T_SO_GET_INFO`.
const GET_INFO: i32 = 64;

/// The number of rules of a table in the namespace of the calling thread, and their length in bytes.
///
/// # Errors
/// As getsockopt(2); `ENOENT` where there is no such table, `EPERM` without `CAP_NET_ADMIN`.
pub fn legacy_size(ipv4: bool, table: &str) -> Result<(u32, u32), Errno> {
    let (family, level) = match ipv4 {
        true => (AddressFamily::INET, libc::IPPROTO_IP),
        false => (AddressFamily::INET6, libc::IPPROTO_IPV6),
    };
    let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::RAW))?;
    let mut info =
        Info { name: [0; 32], valid_hooks: 0, hook_entry: [0; 5], underflow: [0; 5], entries: 0, size: 0 };
    let name = table.as_bytes();
    info.name.get_mut(..name.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(name);
    let mut length = size_of::<Info>() as libc::socklen_t;
    // SAFETY: the pointer leads to a live structure of integers of the length given, which is the one that the kernel
    // expects (it refuses any other), and no other code uses it meanwhile.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, GET_INFO, (&raw mut info).cast(), &raw mut length)
    };
    if result == 0 { Ok((info.entries, info.size)) } else { Err(super::last_errno()) }
}
