//! Which capabilities a sandbox's command gets: Docker's choice, and what the user changed in it.

use serde::{Deserialize, Serialize};

/// Every capability, at the index that is its number in `linux/capability.h`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What Docker leaves to a container.
const DOCKER: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SYS_CHROOT",
    "MKNOD",
    "AUDIT_WRITE",
    "SETFCAP",
];

/// A name that is no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability \"{name}\": capabilities(7) lists them, and ALL means every one")]
pub struct UnknownCapability {
    /// What was written.
    pub name: String,
}

/// A set of capabilities; bit N is capability number N, as in `/proc/PID/status`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// None.
    pub const fn empty() -> Self {
        Self(0)
    }

    /// Every one, those that this program has no name for too.
    pub const fn all() -> Self {
        Self(u64::MAX)
    }

    /// The 14 that Docker gives.
    pub fn docker_default() -> Self {
        DOCKER.iter().filter_map(|name| number(name)).fold(Self::empty(), Self::with)
    }

    /// What `--privileged`, `--cap-add` and `--cap-drop` make of Docker's set, as Docker does:
    /// privileged means all; `ALL` among the added means all but the dropped; `ALL` among the
    /// dropped means the added only; else what is both dropped and added is there.
    ///
    /// # Errors
    /// A name that is neither a capability nor `ALL`, also where it would change nothing.
    pub fn choose(privileged: bool, added: &[String], dropped: &[String]) -> Result<Self, UnknownCapability> {
        let (add_all, add) = parse(added)?;
        let (drop_all, drop) = parse(dropped)?;
        Ok(if privileged {
            Self::all()
        } else if add_all {
            Self(Self::all().0 & !drop.0)
        } else if drop_all {
            add
        } else {
            Self((Self::docker_default().0 & !drop.0) | add.0)
        })
    }

    /// Whether it holds the capability of this number.
    pub const fn contains(self, number: u32) -> bool {
        number < u64::BITS && self.0 & (1 << number) != 0
    }

    /// As the kernel writes it.
    pub const fn bits(self) -> u64 {
        self.0
    }

    fn with(self, number: u32) -> Self {
        Self(self.0 | 1 << number)
    }
}

/// Whether `ALL` is among the names, and the set of the others.
fn parse(names: &[String]) -> Result<(bool, CapabilitySet), UnknownCapability> {
    let mut all = false;
    let mut set = CapabilitySet::empty();
    for name in names {
        let plain = name.trim().to_ascii_uppercase();
        let plain = plain.strip_prefix("CAP_").unwrap_or(&plain);
        if plain == "ALL" {
            all = true;
        } else {
            set = set.with(number(plain).ok_or_else(|| UnknownCapability { name: name.clone() })?);
        }
    }
    Ok((all, set))
}

fn number(name: &str) -> Option<u32> {
    NAMES.iter().position(|known| *known == name).and_then(|index| u32::try_from(index).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(added: &[&str], dropped: &[&str]) -> Result<u64, UnknownCapability> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        CapabilitySet::choose(false, &owned(added), &owned(dropped)).map(CapabilitySet::bits)
    }

    #[test]
    fn the_default_is_what_proc_status_shows_in_a_docker_container() {
        assert_eq!(CapabilitySet::docker_default().bits(), 0xa804_25fb);
        assert_eq!(choose(&[], &[]), Ok(0xa804_25fb));
    }

    #[test]
    fn names_are_read_in_any_case_with_or_without_prefix() {
        let expected = Ok(0xa804_25fb | 1 << 12);
        for name in ["NET_ADMIN", "net_admin", "CAP_NET_ADMIN", "cap_Net_Admin"] {
            assert_eq!(choose(&[name], &[]), expected, "{name}");
        }
    }

    #[test]
    fn what_is_dropped_goes_unless_it_is_added() {
        assert_eq!(choose(&[], &["NET_RAW", "CHOWN"]), Ok(0xa804_25fb & !(1 << 13) & !1));
        assert_eq!(choose(&["NET_RAW"], &["NET_RAW"]), Ok(0xa804_25fb));
    }

    #[test]
    fn all_means_all() {
        assert_eq!(choose(&["all"], &[]), Ok(u64::MAX));
        assert_eq!(choose(&["ALL"], &["SYS_ADMIN"]), Ok(!(1 << 21)));
        assert_eq!(choose(&[], &["ALL"]), Ok(0));
        assert_eq!(choose(&["KILL"], &["CAP_ALL"]), Ok(1 << 5));
    }

    #[test]
    fn privileged_overrides_what_is_dropped() {
        let dropped = ["ALL".to_owned()];
        assert_eq!(CapabilitySet::choose(true, &[], &dropped), Ok(CapabilitySet::all()));
    }

    #[test]
    fn a_name_that_is_none_is_named_as_it_was_written() {
        for (added, dropped) in [(vec!["Net_Magic"], vec![]), (vec![], vec!["ALL", "Net_Magic"])] {
            assert_eq!(
                choose(&added, &dropped).map_err(|error| error.to_string()),
                Err("unknown capability \"Net_Magic\": capabilities(7) lists them, and ALL means every one"
                    .to_owned())
            );
        }
    }
}
