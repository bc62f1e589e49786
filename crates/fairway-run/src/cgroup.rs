//! Control groups of our own, apart from that of the starter: systemd, for one, ends all processes in the group of a
//! unit, a session or a CI job with it (cgroups(7)).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fairway_model::ResourceLimits;
use rustix::fs::{Access, access};

/// The group that holds those of all sandboxes and relays.
const PARENT: &str = "fairway";
/// The file that moves a process into a group when its number is written there; 0 is the writer.
const PROCESSES: &str = "cgroup.procs";
/// The file by which a group of version 2 hands controllers on to the groups below it.
const CONTROLLERS: &str = "cgroup.subtree_control";
/// The period of processor quotas in microseconds: the default of both versions, and Docker's.
const CPU_PERIOD: u64 = 100_000;
/// The least quota that the kernel accepts, in microseconds.
const LEAST_CPU_QUOTA: u64 = 1000;
/// `f_type` of cgroup and cgroup2 file systems, `linux/magic.h`.
const MAGIC: [u64; 2] = [0x27_e0eb, 0x6367_7270];

/// Where a group of this name belongs, in each hierarchy that is mounted here.
pub fn places(name: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let hierarchies = mount_points(&mounts).filter(|(point, _)| is_hierarchy(point));
    hierarchies.map(|(point, _)| point.join(PARENT).join(name)).collect()
}

/// The controllers of the hierarchies in which this process may make groups, such as `memory`.
pub fn controllers() -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let hierarchies = mount_points(&mounts)
        .filter(|(point, _)| is_hierarchy(point) && access(point, Access::WRITE_OK).is_ok());
    let controllers = hierarchies.flat_map(|(point, options)| {
        // Of version 2, the file has them; of version 1, the options of the mount.
        let listed = fs::read_to_string(point.join("cgroup.controllers"));
        listed.unwrap_or(options).split([' ', ',', '\n']).map(str::to_owned).collect::<Vec<_>>()
    });
    controllers.filter(|controller| !controller.is_empty()).collect()
}

/// The mount points of cgroup file systems with their options, of the text of `/proc/PID/mountinfo`
/// (proc_pid_mountinfo(5)).
fn mount_points(mounts: &str) -> impl Iterator<Item = (PathBuf, String)> {
    mounts.lines().filter_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = file_system.split(' ');
        let is_cgroup = matches!(fields.next()?, "cgroup" | "cgroup2");
        let point = mount.split(' ').nth(4)?.into();
        is_cgroup.then(|| (point, fields.nth(1).unwrap_or_default().to_owned()))
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

/// Moves a process into those of the groups at these places that there are.
pub fn join(places: &[PathBuf], process: u32) {
    for place in places.iter().filter(|place| place.is_dir()) {
        if let Err(error) = fs::write(place.join(PROCESSES), process.to_string()) {
            tracing::debug!(place = %place.display(), %error, "failed to move process {process} into a group: {error}");
        }
    }
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

/// A limit that no mounted hierarchy can have.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// Its controller is in no hierarchy that this process may use.
    #[error(
        "cannot limit {what}: the cgroup controller {controller} is not available: mount it, or run without the limit"
    )]
    NoController {
        /// What is to be limited.
        what: &'static str,
        /// The controller.
        controller: &'static str,
    },
    /// The kernel refuses the value.
    #[error("cannot limit {what}: cannot write {text} to {path}: {source}")]
    Refused {
        /// What is to be limited.
        what: &'static str,
        /// The value.
        text: String,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Limits what the processes in the groups at these places use together. A limit that is none is left as it is, and
/// 0 removes the limit of processes.
///
/// # Errors
/// [`LimitError`]: the limits before it are in force then.
pub fn limit(places: &[PathBuf], limits: &ResourceLimits) -> Result<(), LimitError> {
    if let Some(bytes) = limits.memory {
        let files = [("memory.max", bytes.to_string()), ("memory.limit_in_bytes", bytes.to_string())];
        write_first(places, "memory", "memory", &files)?;
    }
    if let Some(nano) = limits.nano_cpus {
        let quota = (nano.saturating_mul(CPU_PERIOD) / 1_000_000_000).max(LEAST_CPU_QUOTA);
        let files = [("cpu.max", format!("{quota} {CPU_PERIOD}")), ("cpu.cfs_quota_us", quota.to_string())];
        write_first(places, "processors", "cpu", &files)?;
    }
    if let Some(number) = limits.pids {
        let text = if number == 0 { "max".to_owned() } else { number.to_string() };
        match write_first(places, "processes", "pids", &[("pids.max", text)]) {
            // There is none.
            Err(LimitError::NoController { .. }) if number == 0 => {}
            written => written?,
        }
    }
    Ok(())
}

/// Writes to the first of these files that there is: those of cgroup version 2 and 1.
fn write_first(
    places: &[PathBuf],
    what: &'static str,
    controller: &'static str,
    files: &[(&str, String)],
) -> Result<(), LimitError> {
    for place in places {
        // Of version 2, it is there only where the parents hand the controller on.
        for parent in place.ancestors().skip(1).take(2).collect::<Vec<_>>().into_iter().rev() {
            let _ = fs::write(parent.join(CONTROLLERS), format!("+{controller}"));
        }
        for (file, text) in files {
            let path = place.join(file);
            if path.exists() {
                return fs::write(&path, text).map_err(|source| LimitError::Refused {
                    what,
                    text: text.clone(),
                    path,
                    source,
                });
            }
        }
    }
    Err(LimitError::NoController { what, controller })
}

/// Whether the kernel killed a process in one of the groups at these places for lack of memory.
pub fn oom_killed(places: &[PathBuf]) -> bool {
    // Of version 2 and 1.
    let files = ["memory.events", "memory.oom_control"];
    let texts = places
        .iter()
        .flat_map(|place| files.map(|file| fs::read_to_string(place.join(file)).unwrap_or_default()));
    texts.into_iter().any(|text| {
        let counts = text.lines().filter_map(|line| line.strip_prefix("oom_kill "));
        counts.into_iter().any(|count| count != "0")
    })
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
    fn limits_are_written_to_the_files_of_either_version() {
        let directory = tempfile::tempdir().unwrap();
        let [unified, memory, cpu] = ["unified", "memory", "cpu"].map(|name| directory.path().join(name));
        let limits = ResourceLimits { memory: Some(7 << 20), nano_cpus: Some(1_500_000_000), pids: None };
        for (place, files) in [
            (&unified, &["memory.max", "cpu.max", "pids.max"][..]),
            (&memory, &["memory.limit_in_bytes"]),
            (&cpu, &["cpu.cfs_quota_us"]),
        ] {
            fs::create_dir(place).unwrap();
            files.iter().for_each(|file| fs::write(place.join(file), "").unwrap());
        }
        let read = |place: &Path, file: &str| fs::read_to_string(place.join(file)).unwrap();
        limit(std::slice::from_ref(&unified), &limits).unwrap();
        assert_eq!(read(&unified, "memory.max"), "7340032");
        assert_eq!(read(&unified, "cpu.max"), "150000 100000");
        assert_eq!(read(&unified, "pids.max"), "");
        limit(&[cpu.clone(), memory.clone()], &limits).unwrap();
        assert_eq!(read(&memory, "memory.limit_in_bytes"), "7340032");
        assert_eq!(read(&cpu, "cpu.cfs_quota_us"), "150000");
        let error = limit(&[cpu], &ResourceLimits { pids: Some(9), ..Default::default() }).unwrap_err();
        assert!(
            error.to_string().starts_with("cannot limit processes: the cgroup controller pids"),
            "{error}"
        );
    }

    #[test]
    fn kills_for_lack_of_memory_are_found_in_the_files_of_either_version() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().to_owned();
        let found = |file: &str, text: &str| {
            fs::write(place.join(file), text).unwrap();
            oom_killed(std::slice::from_ref(&place))
        };
        assert!(!oom_killed(std::slice::from_ref(&place)));
        assert!(!found("memory.events", "low 0\noom 1\noom_kill 0\noom_group_kill 1\n"));
        assert!(found("memory.events", "low 0\noom 1\noom_kill 2\noom_group_kill 0\n"));
        fs::remove_file(place.join("memory.events")).unwrap();
        assert!(!found("memory.oom_control", "oom_kill_disable 1\nunder_oom 1\n"));
        assert!(found("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"));
    }

    #[test]
    fn hierarchies_of_both_versions_are_found() {
        let mounts = "\
23 1 0:21 / /sys rw,nosuid - sysfs sysfs rw
30 23 0:26 / /sys/fs/cgroup/systemd rw,nosuid shared:9 - cgroup cgroup rw,name=systemd
31 23 0:27 / /sys/fs/cgroup/unified rw shared:10 master:2 - cgroup2 cgroup2 rw
32 23 0:28 / /mnt/cgroup2 rw - tmpfs tmpfs rw
";
        let found: Vec<_> = mount_points(mounts).collect();
        let expected = [("/sys/fs/cgroup/systemd", "rw,name=systemd"), ("/sys/fs/cgroup/unified", "rw")];
        assert_eq!(found, expected.map(|(point, options)| (point.into(), options.to_owned())));
    }
}
