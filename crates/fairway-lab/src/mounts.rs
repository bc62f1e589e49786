//! The file systems of a lab and of its hosts.
//!
//! All of the machine's files are there, but what a daemon writes lands in memory: /run, /var/lib and /etc of a
//! host are its own. The lab's scratch directory is the same for the lab and all its hosts.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind_recursive, mount_change};

use crate::error::{LabError, Trying};
use crate::userns_denied::Cause;

/// A directory in memory that the lab and all its hosts see, also the default for temporary files.
pub const SCRATCH: &str = "/run/lab";

/// Where the machine's /etc can be seen from a host, the first that is an empty directory. It is one level deep as
/// /etc is, so that relative links in it (`../usr/share/...`) still lead where they should.
const OLD_ETC: [&str; 4] = ["/mnt", "/media", "/srv", "/opt"];

/// Makes the file system of the lab, once, for the whole process.
pub(crate) fn make_lab() -> Result<(), LabError> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .trying(|| "part the lab's mounts from the machine's".to_owned())?;
    let hardened = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    match mount("proc", "/proc", "proc", hardened, None) {
        Err(errno @ rustix::io::Errno::PERM) => {
            return Err(LabError::Forbidden { cause: Cause::MaskedProc, source: errno.into() });
        }
        mounted => mounted.trying(|| "mount a /proc for the lab".to_owned())?,
    }
    cover("/run", &kept())?;
    create_directory(SCRATCH)
}

/// Makes the file system of a host, for the calling thread, which is alone in its mount namespace.
pub(crate) fn make_host(name: &str) -> Result<(), LabError> {
    // Where a part of /sys is covered no new one may be mounted, and the lab's is good enough: what a host's
    // programs look up in it, its links, they can ask the kernel for.
    let _ =
        mount("sysfs", "/sys", "sysfs", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None);
    let mut keep = kept();
    keep.push(PathBuf::from(SCRATCH));
    cover("/run", &keep)?;
    cover("/var/lib", &keep)?;
    make_etc(name)
}

/// What of /etc programs write in, and a host must not write in the machine's: the files of named namespaces, our own,
/// and those that `fairway install` writes.
const OWN_DIRECTORIES: [&str; 4] = ["netns", "fairway", "systemd", "NetworkManager"];

/// An /etc that can be written: each entry is a link to the machine's, but for those with the identity of a host.
fn make_etc(name: &str) -> Result<(), LabError> {
    let old = OLD_ETC.iter().map(Path::new).find(|path| is_empty_directory(path)).map_or_else(
        || {
            let below = PathBuf::from("/run/etc");
            create_directory("/run/etc").map(|()| below)
        },
        |path| Ok(path.to_owned()),
    )?;
    mount_bind_recursive("/etc", &old).trying(|| format!("show /etc at {}", old.display()))?;
    mount_memory("/etc")?;
    for entry in fs::read_dir(&old).trying(|| format!("read {}", old.display()))? {
        let entry = entry.trying(|| format!("read {}", old.display()))?;
        if OWN_DIRECTORIES.iter().any(|own| entry.file_name() == *own) {
            continue;
        }
        let (path, shown) = (entry.path(), Path::new("/etc").join(entry.file_name()));
        let target = fs::read_link(&path).unwrap_or(path);
        symlink(&target, &shown).trying(|| format!("link {} to {}", shown.display(), target.display()))?;
    }
    own_file("/etc/hostname", &format!("{name}\n"))?;
    own_file("/etc/resolv.conf", "")?;
    own_file("/etc/hosts", &format!("127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\t{name}\n"))
}

fn own_file(path: &str, content: &str) -> Result<(), LabError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).trying(|| format!("replace {path}"))
        }
        _ => fs::write(path, content).trying(|| format!("write {path}")),
    }
}

fn is_empty_directory(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// The program itself and what it was built from must stay to be seen, wherever a build server keeps them.
fn kept() -> Vec<PathBuf> {
    [std::env::current_exe(), std::env::current_dir()].into_iter().flatten().collect()
}

/// Puts an empty file system over a directory, in which only those entries are still shown that lead to `keep`.
fn cover(directory: &str, keep: &[PathBuf]) -> Result<(), LabError> {
    let first = |path: &PathBuf| {
        let below = path.strip_prefix(directory).ok()?.components().next()?;
        Some(Path::new(directory).join(below))
    };
    let entries: BTreeSet<PathBuf> = keep.iter().filter_map(first).filter(|entry| entry.is_dir()).collect();
    // Opened before they are covered, and in this mount namespace: no other's may be shown a second time.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = entries
        .into_iter()
        .map(|entry| {
            let directory = rustix::fs::open(&entry, flags, Mode::empty())
                .trying(|| format!("open {}", entry.display()))?;
            Ok((entry, directory))
        })
        .collect::<Result<Vec<_>, LabError>>()?;
    mount_memory(directory)?;
    for (entry, old) in opened {
        fs::create_dir(&entry).trying(|| format!("create {}", entry.display()))?;
        mount_bind_recursive(format!("/proc/thread-self/fd/{}", old.as_raw_fd()), &entry)
            .trying(|| format!("show {} in {directory}", entry.display()))?;
    }
    Ok(())
}

fn mount_memory(path: &str) -> Result<(), LabError> {
    mount("tmpfs", path, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=0755"))
        .trying(|| format!("mount a file system in memory on {path}"))
}

fn create_directory(path: &str) -> Result<(), LabError> {
    fs::create_dir_all(path).trying(|| format!("create {path}"))
}
