//! Control groups of our own, apart from that of the starter: systemd, for one, ends all processes in the group of a
//! unit, a session or a CI job with it (cgroups(7)).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The group that holds those of all sandboxes and relays.
const PARENT: &str = "fairway";
/// The file that moves a process into a group when its number is written there; 0 is the writer.
const PROCESSES: &str = "cgroup.procs";
/// `f_type` of cgroup and cgroup2 file systems, `linux/magic.h`.
const MAGIC: [u64; 2] = [0x27_e0eb, 0x6367_7270];

/// Where a group of this name belongs, in each hierarchy that is mounted here.
pub fn places(name: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let hierarchies = mount_points(&mounts).filter(|point| is_hierarchy(point));
    hierarchies.map(|point| point.join(PARENT).join(name)).collect()
}

/// The mount points of cgroup file systems, of the text of `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).
fn mount_points(mounts: &str) -> impl Iterator<Item = PathBuf> {
    mounts.lines().filter_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let kind = file_system.split(' ').next()?;
        matches!(kind, "cgroup" | "cgroup2").then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// Whether a cgroup file system is what is seen at the mount point: another one may cover it.
fn is_hierarchy(point: &Path) -> bool {
    rustix::fs::statfs(point).is_ok_and(|found| MAGIC.contains(&(found.f_type as u64)))
}

/// Moves a process, 0 for this one, into the groups at these places. A place where that is not possible (read-only,
/// without rights) is left as it is; those that are returned are the process's own now.
pub fn enter(places: Vec<PathBuf>, process: u32) -> Vec<PathBuf> {
    places
        .into_iter()
        .filter(|place| match make_and_enter(place, process) {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(place = %place.display(), %error, "the process stays in the group of its starter");
                remove(place);
                false
            }
        })
        .collect()
}

fn make_and_enter(place: &Path, process: u32) -> io::Result<()> {
    let attempt = || {
        fs::create_dir_all(place)?;
        fs::write(place.join(PROCESSES), process.to_string())
    };
    // Another process may have removed the parent in between, as the last one to leave it.
    match attempt() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => attempt(),
        done => done,
    }
}

/// Removes groups that this process is in: it goes to the root of each hierarchy first.
pub fn leave(places: &[PathBuf]) {
    for place in places {
        if let Some(root) = place.ancestors().nth(2) {
            // Where that is refused the group stays, empty, when this process ends.
            let _ = fs::write(root.join(PROCESSES), "0");
        }
        remove(place);
    }
}

/// Removes a group, and the parent if it was the last one; the kernel refuses to remove one that holds something.
pub fn remove(place: &Path) {
    let _ = fs::remove_dir(place);
    if let Some(parent) = place.parent() {
        let _ = fs::remove_dir(parent);
    }
}

/// Removes groups of ours that hold nothing: a supervisor that was killed could not remove its own.
pub fn sweep() {
    for place in places("") {
        for group in fs::read_dir(&place).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(group.path());
        }
        let _ = fs::remove_dir(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_found() {
        let mounts = "\
23 1 0:21 / /sys rw,nosuid - sysfs sysfs rw
30 23 0:26 / /sys/fs/cgroup/systemd rw,nosuid shared:9 - cgroup cgroup rw,name=systemd
31 23 0:27 / /sys/fs/cgroup/unified rw shared:10 master:2 - cgroup2 cgroup2 rw
32 23 0:28 / /mnt/cgroup2 rw - tmpfs tmpfs rw
";
        let found: Vec<PathBuf> = mount_points(mounts).collect();
        assert_eq!(found, [Path::new("/sys/fs/cgroup/systemd"), Path::new("/sys/fs/cgroup/unified")]);
    }
}
