//! Who forbids user namespaces, and the way out.

use std::fmt;
use std::io;

/// Who forbids user namespaces to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// AppArmor confines unprivileged user namespaces (Ubuntu since 23.10).
    AppArmor,
    /// The limit of user namespaces is used up, or is zero.
    Limit {
        /// The limit, where it can be read.
        limit: Option<u64>,
    },
    /// Debian's and Arch's switch for unprivileged user namespaces is off.
    UnprivilegedClone,
    /// A seccomp filter refuses: usually that of the container in which this runs.
    Seccomp,
    /// The kernel was built without user namespaces.
    NotBuilt,
    /// Namespaces can be made, but /proc of this system is partly covered, so that no new one may be mounted
    /// (mount_too_revealing in the kernel's fs/namespace.c): a container's doing.
    MaskedProc,
    /// None of the known causes.
    Unknown,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::AppArmor => f.write_str(
                "AppArmor restricts unprivileged user namespaces; as root, set \
                 `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or run this as root",
            ),
            Cause::Limit { limit: Some(limit) } => write!(
                f,
                "user.max_user_namespaces is {limit} and used up; as root, set \
                 `sysctl user.max_user_namespaces=10000`"
            ),
            Cause::Limit { limit: None } => f.write_str(
                "the limit of user namespaces is used up; as root, raise `sysctl user.max_user_namespaces`",
            ),
            Cause::UnprivilegedClone => f.write_str(
                "kernel.unprivileged_userns_clone is 0; as root, set \
                 `sysctl kernel.unprivileged_userns_clone=1`, or run this as root",
            ),
            Cause::Seccomp => f.write_str(
                "a seccomp filter refuses it, usually a container's; run outside the container, or start it \
                 with `--security-opt seccomp=unconfined`",
            ),
            Cause::NotBuilt => {
                f.write_str("this kernel has no user namespaces; use one that is built with CONFIG_USER_NS")
            }
            Cause::MaskedProc => f.write_str(
                "a part of /proc is covered, as containers do, so that no fresh /proc may be mounted; run \
                 outside the container, or start it with `--security-opt systempaths=unconfined`",
            ),
            Cause::Unknown => f.write_str(
                "none of the known switches is the cause; see user_namespaces(7) and the security modules of \
                 this system",
            ),
        }
    }
}

/// What the system says of its switches.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Switches {
    max_user_namespaces: Option<u64>,
    unprivileged_clone: Option<u64>,
    apparmor_restricts: Option<u64>,
    /// The mode of seccomp(2): 2 is a filter.
    seccomp: Option<u64>,
}

impl Switches {
    /// Reads them from /proc.
    pub(crate) fn read() -> Switches {
        let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse().ok();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let seccomp = status.lines().find_map(|line| line.strip_prefix("Seccomp:")?.trim().parse().ok());
        Switches {
            max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
            unprivileged_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
            apparmor_restricts: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            seccomp,
        }
    }
}

/// Finds the cause of a refusal to make a user namespace.
pub(crate) fn refusal(answer: &io::Error, switches: &Switches) -> Cause {
    match answer.raw_os_error() {
        Some(libc::ENOSPC | libc::EUSERS) => Cause::Limit { limit: switches.max_user_namespaces },
        Some(libc::EINVAL | libc::ENOSYS) if switches.max_user_namespaces.is_none() => Cause::NotBuilt,
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => {
            if switches.unprivileged_clone == Some(0) {
                Cause::UnprivilegedClone
            } else if switches.apparmor_restricts.is_some_and(|mode| mode > 0) {
                Cause::AppArmor
            } else if switches.seccomp == Some(2) {
                Cause::Seccomp
            } else {
                Cause::Unknown
            }
        }
        _ => Cause::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(errno: i32, switches: &Switches) -> Cause {
        refusal(&io::Error::from_raw_os_error(errno), switches)
    }

    #[test]
    fn each_switch_is_recognised() {
        let open = Switches { max_user_namespaces: Some(100), ..Switches::default() };
        let debian = Switches { unprivileged_clone: Some(0), ..open };
        let ubuntu = Switches { apparmor_restricts: Some(1), seccomp: Some(0), ..open };
        let container = Switches { seccomp: Some(2), ..open };
        assert_eq!(asked(libc::EPERM, &debian), Cause::UnprivilegedClone);
        assert_eq!(asked(libc::EPERM, &container), Cause::Seccomp);
        assert_eq!(asked(libc::EPERM, &open), Cause::Unknown);
        assert_eq!(asked(libc::EACCES, &ubuntu), Cause::AppArmor);
        assert_eq!(asked(libc::ENOSPC, &open), Cause::Limit { limit: Some(100) });
        assert_eq!(asked(libc::EINVAL, &Switches::default()), Cause::NotBuilt);
    }

    #[test]
    fn each_cause_names_its_way_out() {
        for (cause, way_out) in [
            (Cause::AppArmor, "kernel.apparmor_restrict_unprivileged_userns=0"),
            (Cause::Limit { limit: Some(0) }, "user.max_user_namespaces=10000"),
            (Cause::UnprivilegedClone, "kernel.unprivileged_userns_clone=1"),
            (Cause::Seccomp, "seccomp=unconfined"),
        ] {
            assert!(cause.to_string().contains(way_out), "{cause}");
        }
    }
}
