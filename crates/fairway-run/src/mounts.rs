//! What a sandbox sees of the host's file tree: all of it, but with `/proc`, `/sys`, `/dev/shm`
//! and `/dev/mqueue` of its own, an `/etc` with three files of its own, and without what is hidden from it.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change, mount_remount};

use super::root::HostRoot;
use super::{Failure, Files, Launch, NetworkNamespace, etc};

/// The paths that Docker masks, since they show or change the whole host.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
/// What Docker lets be read only.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
/// The flags of `/proc` and `/sys`.
const INERT: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
/// `f_type` of a cgroup2 file system, `linux/magic.h`.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// What a process sees of files before it has its own.
#[derive(Debug)]
pub(super) struct View {
    /// Whether `/etc` is an overlay, see [`etc`].
    overlaid: bool,
    /// The host's root, if the process has another one.
    host: Option<HostRoot>,
}

/// Makes the calling process's new mount namespace its own. What the kernel refuses of it (in a
/// user namespace inside a container, that may be fresh `/proc` and `/sys`) is added to `notes`.
pub(super) fn private_view(launch: &Launch, notes: &mut Vec<String>) -> Result<View, Failure> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|errno| Failure::step("make the mounts private", io::Error::from(errno)))?;
    let enter = |root: &PathBuf| {
        let entered = HostRoot::leave_for(root);
        entered.map_err(|error| Failure::step(format!("make {} the root directory", root.display()), error))
    };
    let host = launch.root.as_ref().map(enter).transpose()?;
    let mut note = |what: &str, result: rustix::io::Result<()>| match result {
        Ok(()) => true,
        Err(errno) => {
            notes.push(format!("{what}: {}", io::Error::from(errno)));
            false
        }
    };
    let proc = note("cannot mount a fresh /proc", fresh("proc", "/proc", INERT, c""));
    if host.is_some() && !proc {
        return Err(Failure::step("mount /proc in another root directory", "the kernel refuses"));
    }
    // The switches of a new network namespace are set while they can be: Docker's choice, by which
    // low ports and ping need no capability. Without a mapping for all groups the second is refused.
    if launch.network == NetworkNamespace::New {
        for (switch, value) in [("ip_unprivileged_port_start", "0"), ("ping_group_range", "0 2147483647")] {
            let _ = fs::write(format!("/proc/sys/net/ipv4/{switch}"), value);
        }
    }
    for (name, value) in &launch.sysctls {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        fs::write(path, value)
            .map_err(|error| Failure::step(format!("set the sysctl {name}={value}"), error))?;
    }
    let cgroups =
        rustix::fs::statfs("/sys/fs/cgroup").is_ok_and(|found| found.f_type as u64 == CGROUP2_MAGIC);
    let access = if launch.privileged { MountFlags::empty() } else { MountFlags::RDONLY };
    let sys = note("cannot mount a fresh /sys", fresh_sys(INERT | access));
    if sys && cgroups {
        note("there is no /sys/fs/cgroup", fresh("cgroup2", "/sys/fs/cgroup", INERT | access, c""));
    }
    if Path::new("/dev/mqueue").is_dir() {
        note("/dev/mqueue is the host's", fresh("mqueue", "/dev/mqueue", INERT, c""));
    }
    if Path::new("/dev/shm").is_dir() {
        let options = c"mode=1777,size=65536k";
        note("/dev/shm is shared with the host", fresh("tmpfs", "/dev/shm", INERT, options));
    }
    if !launch.privileged {
        for path in MASKED {
            note(&format!("{path} is in sight"), mask(Path::new(path)));
        }
        for path in READ_ONLY.into_iter().filter(|path| Path::new(path).exists()) {
            note(&format!("{path} can be written"), over_itself(path, INERT | MountFlags::RDONLY));
        }
    }
    // In the host's network namespace a sandbox has the host's files.
    let overlaid = launch.network != NetworkNamespace::Caller
        && {
            let outcome = etc::overlay();
            if let Err(error) = &outcome {
                notes.push(format!(
                "/etc cannot be an overlay: when the host replaces its resolv.conf or hosts, the sandbox sees the host's: {error}"
            ));
            }
            outcome.is_ok()
        };
    Ok(View { overlaid, host })
}

/// Mounts the sandbox's files and then hides what it must not see, which may be where those files come from.
pub(super) fn personal_files(
    files: &Files,
    view: View,
    hidden: &[PathBuf],
    notes: &mut Vec<String>,
) -> Result<(), Failure> {
    let of_host = |path: &PathBuf| view.host.as_ref().map_or_else(|| path.clone(), |host| host.path(path));
    let files = Files {
        resolv_conf: files.resolv_conf.as_ref().map(of_host),
        hosts: files.hosts.as_ref().map(of_host),
        hostname: files.hostname.as_ref().map(of_host),
    };
    etc::mount_files(&files, view.overlaid, notes).map_err(|(step, error)| Failure::step(step, error))?;
    if let Some(host) = view.host {
        // Another root has none of what is hidden.
        return host.close().map_err(|error| Failure::step("leave the host's root directory", error));
    }
    for path in hidden {
        mask(path)
            .map_err(|errno| Failure::step(format!("hide {}", path.display()), io::Error::from(errno)))?;
    }
    Ok(())
}

fn fresh(kind: &str, target: &str, flags: MountFlags, options: &CStr) -> rustix::io::Result<()> {
    mount(kind, target, kind, flags, options)
}

/// Covers a directory by an empty one, and anything else by the null device. What is not there
/// needs no cover.
fn mask(path: &Path) -> rustix::io::Result<()> {
    let Ok(found) = fs::metadata(path) else { return Ok(()) };
    if found.is_dir() {
        mount("tmpfs", path, "tmpfs", INERT | MountFlags::RDONLY, c"size=4k,mode=755")
    } else {
        mount_bind("/dev/null", path)
    }
}

/// The tree of the network namespace that this process is in, without what the host has mounted
/// in it. Where that is the host's own, the kernel refuses the same tree twice in one place
/// (EBUSY), but not a bind of it.
fn fresh_sys(flags: MountFlags) -> rustix::io::Result<()> {
    match fresh("sysfs", "/sys", flags, c"") {
        Err(Errno::BUSY) => over_itself("/sys", flags),
        result => result,
    }
}

/// Mounts what is at a path, and nothing mounted below it, over itself with other flags.
fn over_itself(path: &str, flags: MountFlags) -> rustix::io::Result<()> {
    mount_bind(path, path)?;
    mount_remount(path, MountFlags::BIND | flags, c"")
}
