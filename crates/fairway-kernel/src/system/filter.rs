//! Filters that the kernel applies to what a socket receives.

use std::mem::size_of_val;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

/// Where `nlmsg_pid` is in `struct nlmsghdr`.
const SENDER_OFFSET: u32 = 12;
const WHOLE: u32 = u32::MAX;

/// Keeps from a netlink socket what was caused by the socket with that port: such notifications
/// neither wake its reader nor fill its buffer. One packet never holds messages of several senders.
///
/// # Errors
/// As setsockopt(2).
pub fn ignore_netlink_sender(socket: impl AsFd, port: u32) -> Result<(), Errno> {
    // The filter loads in network order, the field is in the machine's.
    let sender = u32::from_be_bytes(port.to_ne_bytes());
    let instruction = |code: u32, jump_true, jump_false, value| libc::sock_filter {
        code: code as u16,
        jt: jump_true,
        jf: jump_false,
        k: value,
    };
    let mut program = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, SENDER_OFFSET),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, sender),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, WHOLE),
    ];
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
