//! Socket filters (BPF).

use std::mem::size_of_val;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

/// The offset of `nlmsg_pid` in `struct nlmsghdr`.
const SENDER_OFFSET: u32 = 12;
/// Offsets in an Ethernet frame that carries IPv4 (RFC 791).
const ETHER_TYPE_OFFSET: u32 = 12;
const IP_OFFSET: u32 = 14;
const FRAGMENT_OFFSET: u32 = 20;
const PROTOCOL_OFFSET: u32 = 23;
const ETHERNET_IPV4: u32 = 0x0800;
const UDP: u32 = 17;
const WHOLE: u32 = u32::MAX;

/// Filters from a netlink socket the notifications that the socket with that port causes: they neither wake its
/// reader nor fill its buffer. One packet never holds messages of several senders.
///
/// # Errors
/// As setsockopt(2).
pub fn ignore_netlink_sender(socket: impl AsFd, port: u32) -> Result<(), Errno> {
    // The filter loads in network order, the field is in the machine's.
    let sender = u32::from_be_bytes(port.to_ne_bytes());
    let program = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, SENDER_OFFSET),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, sender),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, WHOLE),
    ];
    attach(socket, program)
}

/// Lets a packet socket of an Ethernet interface receive only UDP datagrams over IPv4 to a port.
///
/// # Errors
/// As setsockopt(2).
pub fn only_datagrams_to(socket: impl AsFd, port: u16) -> Result<(), Errno> {
    let is = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let half = libc::BPF_LD | libc::BPF_H;
    let program = [
        instruction(half | libc::BPF_ABS, 0, 0, ETHER_TYPE_OFFSET),
        instruction(is, 0, 8, ETHERNET_IPV4),
        instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, PROTOCOL_OFFSET),
        instruction(is, 0, 6, UDP),
        instruction(half | libc::BPF_ABS, 0, 0, FRAGMENT_OFFSET),
        // Later fragments have no UDP header.
        instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 4, 0, 0x1fff),
        // The length of the header, in front of which is that of Ethernet.
        instruction(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0, 0, IP_OFFSET),
        instruction(half | libc::BPF_IND, 0, 0, IP_OFFSET + 2),
        instruction(is, 0, 1, port.into()),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, WHOLE),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ];
    attach(socket, program)
}

/// Lets a packet socket of any interface receive only IPv4 and IPv6.
///
/// # Errors
/// As setsockopt(2).
pub fn only_ip(socket: impl AsFd) -> Result<(), Errno> {
    let is = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let protocol = (libc::SKF_AD_OFF + libc::SKF_AD_PROTOCOL).cast_unsigned();
    let program = [
        instruction(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, protocol),
        instruction(is, 1, 0, ETHERNET_IPV4),
        instruction(is, 0, 1, libc::ETH_P_IPV6.cast_unsigned()),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, WHOLE),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ];
    attach(socket, program)
}

fn instruction(code: u32, jump_true: u8, jump_false: u8, value: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: jump_true, jf: jump_false, k: value }
}

fn attach<const LENGTH: usize>(
    socket: impl AsFd,
    mut program: [libc::sock_filter; LENGTH],
) -> Result<(), Errno> {
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the pointer leads to a live sock_fprog of the length given, which in turn leads to
    // as many instructions as it says; the kernel copies both.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            size_of_val(&filter) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(super::last_errno()) }
}
