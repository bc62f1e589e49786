//! Signals and descriptors that an executed program inherits.

use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::last_errno;

/// Blocks signals for the calling thread, and returns a signalfd from which they are read instead, each as a `struct
/// signalfd_siginfo` (signalfd(2)).
///
/// Other threads of the process are not affected: call it where there are none. A program started afterwards inherits
/// the blocked signals.
///
/// # Errors
/// As signalfd(2); `EINVAL` for a number that is no signal.
pub fn block_signals(signals: &[i32]) -> Result<OwnedFd, Errno> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initializes the set; all later calls use that live set, and signalfd returns a new
    // descriptor that no other code owns.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            if libc::sigaddset(set.as_mut_ptr(), *signal) != 0 {
                return Err(Errno::INVAL);
            }
        }
        let refused = libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
        if refused != 0 {
            return Err(Errno::from_raw_os_error(refused));
        }
        let descriptor = libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if descriptor < 0 { Err(last_errno()) } else { Ok(OwnedFd::from_raw_fd(descriptor)) }
    }
}

/// Resets signals to their default action, also inherited ignored ones. Invalid and unchangeable signals are skipped.
pub fn reset_signals(signals: impl IntoIterator<Item = i32>) {
    for signal in signals {
        // SAFETY: SIG_DFL runs no code of ours; a number that is refused changes nothing.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Unblocks all signals for the calling thread.
///
/// # Errors
/// As sigprocmask(2).
pub fn unblock_signals() -> Result<(), Errno> {
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset makes the set a valid one before it is read.
    let refused = unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut())
    };
    if refused == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(refused)) }
}

/// Sets close-on-exec on every descriptor from `first` on, also on inherited ones.
///
/// # Errors
/// As close_range(2): `EINVAL` before Linux 5.11.
pub fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    // SAFETY: with CLOSE_RANGE_CLOEXEC nothing is closed now, so no descriptor in use goes away.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Takes over a socket that this process was started with; none if the descriptor is no unix socket.
///
/// To be called once for each descriptor, while there is no other code that owns one which it did not open.
pub fn take_inherited_socket(descriptor: i32) -> Option<OwnedFd> {
    // SAFETY: the descriptor is only looked at; one that is not open is refused with EBADF.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let domain = rustix::net::sockopt::socket_domain(borrowed).ok()?;
    // SAFETY: it is open, as was seen, and was open when this process began: no code here owns it.
    (domain == rustix::net::AddressFamily::UNIX).then(|| unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_held_signal_is_read_instead() {
        let held = block_signals(&[libc::SIGUSR2]).unwrap();
        let mut record = [0_u8; 128];
        assert_eq!(rustix::io::read(&held, &mut record), Err(Errno::AGAIN));
        let thread = rustix::thread::gettid();
        // SAFETY: tgkill only sends a signal, which this thread holds.
        let sent = unsafe {
            libc::syscall(libc::SYS_tgkill, libc::getpid(), thread.as_raw_nonzero().get(), libc::SIGUSR2)
        };
        assert_eq!(sent, 0);
        assert_eq!(rustix::io::read(&held, &mut record), Ok(128));
        assert_eq!(record[..4], libc::SIGUSR2.to_ne_bytes());
        assert!(block_signals(&[999]).is_err());
    }

    #[test]
    fn signals_are_freed() {
        let blocked = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().trim().to_owned()
        };
        let _held = block_signals(&[libc::SIGUSR1]).unwrap();
        assert_eq!(blocked(), "0000000000000200");
        unblock_signals().unwrap();
        assert_eq!(blocked(), "0000000000000000");
    }

    #[test]
    fn unix_sockets_alone_are_taken_over() {
        use std::os::fd::IntoRawFd;

        let (one, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut taken =
            std::os::unix::net::UnixStream::from(take_inherited_socket(one.into_raw_fd()).unwrap());
        std::io::Write::write_all(&mut taken, b"x").unwrap();
        let mut byte = [0];
        std::io::Read::read_exact(&mut other, &mut byte).unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(take_inherited_socket(std::os::fd::AsRawFd::as_raw_fd(&tcp)).is_none());
        assert!(take_inherited_socket(9999).is_none());
    }

    #[test]
    fn files_are_marked() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        rustix::io::fcntl_setfd(&one, rustix::io::FdFlags::empty()).unwrap();
        close_on_exec_from(3).unwrap();
        assert!(rustix::io::fcntl_getfd(one.as_fd()).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }
}
