//! The system calls that the relay may make; all others fail with EPERM.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Width, SeccompCmpOp as Compare, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

/// Calls that are allowed whatever their arguments: they reach nothing but descriptors that are
/// there already, memory, time, and this process's end.
const FREE: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_splice,
    libc::SYS_pipe2,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_fstat,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// FIONBIO (asm-generic/ioctls.h): whether a socket blocks.
const FIONBIO: u64 = 0x5421;

/// Installs the filter for the calling thread and its descendants.
pub(super) fn allow_few() -> Result<(), String> {
    let program = program().map_err(|error| error.to_string())?;
    seccompiler::apply_filter(&program).map_err(|error| error.to_string())
}

fn program() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = FREE.iter().map(|call| (*call, Vec::new())).collect();
    let is = |argument, value: u64| SeccompCondition::new(argument, Width::Dword, Compare::Eq, value);
    let masked = |argument, mask: u64, value: u64| {
        SeccompCondition::new(argument, Width::Dword, Compare::MaskedEq(mask), value)
    };

    // TCP and UDP only; the kind is in the lower four bits (SOCK_TYPE_MASK, linux/net.h).
    let mut sockets = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
            let conditions = vec![is(0, family as u64)?, masked(1, 0xf, kind as u64)?];
            sockets.push(SeccompRule::new(conditions)?);
        }
    }
    rules.insert(libc::SYS_socket, sockets);

    // Memory, but not executable.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![SeccompRule::new(vec![masked(2, libc::PROT_EXEC as u64, 0)?])?]);
    }

    let commands = [libc::F_GETFD, libc::F_GETFL, libc::F_SETFL, libc::F_DUPFD_CLOEXEC, libc::F_SETPIPE_SZ];
    let commands: Result<Vec<_>, _> =
        commands.into_iter().map(|command| SeccompRule::new(vec![is(1, command as u64)?])).collect();
    rules.insert(libc::SYS_fcntl, commands?);
    rules.insert(libc::SYS_ioctl, vec![SeccompRule::new(vec![is(1, FIONBIO)?])?]);

    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, refuse, SeccompAction::Allow, architecture)?.try_into()
}
