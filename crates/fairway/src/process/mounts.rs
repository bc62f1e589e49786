//! What a sandbox sees of the host's file tree: all of it, but with `/proc`, `/sys`, `/dev/shm`
//! and `/dev/mqueue` of its own, three files of its own in `/etc`, and some things out of sight.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, mount_remount, unmount,
};

use super::{Failure, Files, Launch, NetworkNamespace};

/// What Docker hides: it tells of the host, or acts on all of it.
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

/// Makes the calling process's new mount namespace its own. What the kernel refuses of it (in a
/// user namespace inside a container, that may be fresh `/proc` and `/sys`) is told in `notes`.
pub(super) fn private_view(launch: &Launch, notes: &mut Vec<String>) -> Result<(), Failure> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|errno| Failure::step("make the mounts private", io::Error::from(errno)))?;
    let mut note = |what: &str, result: rustix::io::Result<()>| match result {
        Ok(()) => true,
        Err(errno) => {
            notes.push(format!("{what}: {}", io::Error::from(errno)));
            false
        }
    };
    note("the host's /proc stays in sight", fresh("proc", "/proc", INERT, c""));
    // The switches of a new network namespace are set while they can be: Docker's choice, by which
    // low ports and ping need no capability. Without a mapping for all groups the second is refused.
    if launch.network == NetworkNamespace::New {
        for (switch, value) in [("ip_unprivileged_port_start", "0"), ("ping_group_range", "0 2147483647")] {
            let _ = fs::write(format!("/proc/sys/net/ipv4/{switch}"), value);
        }
    }
    let cgroups =
        rustix::fs::statfs("/sys/fs/cgroup").is_ok_and(|found| found.f_type as u64 == CGROUP2_MAGIC);
    let access = if launch.privileged { MountFlags::empty() } else { MountFlags::RDONLY };
    let sys = note("the host's /sys stays in sight", fresh_sys(INERT | access));
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
    Ok(())
}

/// Puts the sandbox's files in their places and then hides what it must not see, which may be
/// where those files come from.
pub(super) fn personal_files(
    files: &Files,
    hidden: &[PathBuf],
    notes: &mut Vec<String>,
) -> Result<(), Failure> {
    let wanted: Vec<(&Path, &Path)> = [
        (&files.resolv_conf, "/etc/resolv.conf"),
        (&files.hosts, "/etc/hosts"),
        (&files.hostname, "/etc/hostname"),
    ]
    .into_iter()
    .filter_map(|(source, target)| Some((source.as_deref()?, Path::new(target))))
    .collect();
    // A symbolic link is followed: the bind is on the file that it leads to.
    let absent: Vec<&Path> =
        wanted.iter().map(|(_, target)| *target).filter(|target| !target.exists()).collect();
    let mut unreachable = false;
    if !absent.is_empty()
        && let Err(error) = provide(&absent)
    {
        unreachable = true;
        notes.push(format!("the host has no {} to put the sandbox's over: {error}", absent[0].display()));
    }
    for (source, target) in wanted {
        if unreachable && absent.contains(&target) {
            continue;
        }
        mount_bind(source, target).map_err(|errno| {
            let step = format!("put {} in place of {}", source.display(), target.display());
            Failure::step(step, io::Error::from(errno))
        })?;
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

/// Makes empty files where the host has none to mount on, without touching the host: `/etc`
/// becomes an overlay whose upper layer dies with the sandbox.
fn provide(absent: &[&Path]) -> io::Result<()> {
    // The layer needs a place while it is put under the overlay, and any directory will do.
    const SCAFFOLD: &str = "/dev";
    let options = c"lowerdir=/etc,upperdir=/dev/upper,workdir=/dev/work";
    mount("tmpfs", SCAFFOLD, "tmpfs", MountFlags::empty(), c"mode=755")?;
    let laid = fs::create_dir("/dev/upper")
        .and_then(|()| fs::create_dir("/dev/work"))
        .and_then(|()| Ok(mount("overlay", "/etc", "overlay", MountFlags::empty(), options)?));
    unmount(SCAFFOLD, UnmountFlags::DETACH)?;
    laid?;
    for path in absent {
        // A link that leads nowhere would be followed by what is mounted on it.
        if path.is_symlink() {
            fs::remove_file(path)?;
        }
        fs::write(path, "")?;
    }
    Ok(())
}
